"""What may be asked of a site and of an account beside its runs."""

from events.account import (
    AccountOpened,
    AiProviderChosen,
    AiProviderDropped,
    CreditsGranted,
    KeyIssued,
    KeyRevoked,
)
from events.commands import (
    AccountRequested,
    AiProviderDropRequested,
    AiProviderRequested,
    ApprovalRequested,
    ChangesRequested,
    ConfigUpdateRequested,
    CreditsRequested,
    KeyRequested,
    KeyRevocationRequested,
    KeywordsSubmitted,
    RejectionRequested,
    SiteRequested,
)
from events.config import Config
from events.content import MAX_KEYWORDS, Keyword, fault_of
from events.ids import keyword_id_of
from events.message import Event, Message
from events.site import (
    ConfigUpdated,
    ContentApproved,
    ContentRejected,
    ContentReturned,
    KeywordsAdded,
    SiteCreated,
)
from services.orchestrator.rules.schedule import next_run_at
from services.orchestrator.rules.start import give_up
from services.orchestrator.rules.state import UNKNOWN, Refused, State

IN_EVENT = 1_000  # keywords; ids make an event larger than its command, and it has to fit as well

OF_SCHEDULE = (
    "is_enabled",
    "frequency",
    "scheduled_time",
    "timezone",
    "schedule_weekday",
    "schedule_day",
)


def follow_site(state: State, message: Message) -> list[Event]:
    """Return what follows for the site. Raises Refused."""
    match message:
        case ConfigUpdateRequested():
            return update_config(state, message)
        case KeywordsSubmitted():
            return add_keywords(state, message)
        case ApprovalRequested(content_id=content):
            return [ContentApproved(content_id=_in_review(state, content))]
        case RejectionRequested(content_id=content, reason=reason):
            return [ContentRejected(content_id=_in_review(state, content), reason=reason)]
        case ChangesRequested(content_id=content, note=note):
            id_ = _in_review(state, content)
            return [ContentReturned(content_id=id_, task_id=state.site.task_of[id_], note=note)]
        case _:
            raise Refused("invalid_request", "This is not a command for a site.")


def update_config(state: State, message: ConfigUpdateRequested) -> list[Event]:
    """Change some fields; the schedule's next time is computed anew when one of its own changes.

    A slot that is due then is answered with that change. Other changes leave it due. A slot that
    was answered stays so, also when the clock has gone back since.
    """
    site = state.site
    config = Config.model_validate({**dict(site.config), **message.changes.chosen()})
    if any(getattr(config, name) != getattr(site.config, name) for name in OF_SCHEDULE):
        upcoming = next_run_at(config, max(state.now, site.answered or state.now))
        updated = ConfigUpdated(config=config, next_run_at=upcoming)
        return [updated, *give_up(state, upcoming)]
    return [ConfigUpdated(config=config, next_run_at=site.next_run_at)]


def add_keywords(state: State, message: KeywordsSubmitted) -> list[Event]:
    """Add those that the site does not have, in portions; what is no keyword is left out.

    Raises Refused for more than are read at once.
    """
    if len(message.keywords) > MAX_KEYWORDS:
        raise Refused("invalid_request", f"At most {MAX_KEYWORDS:,} keywords are taken at once.")
    good = [keyword for keyword in message.keywords if fault_of(keyword) is None]
    new: dict[str, Keyword] = {}
    for keyword in good:
        id_ = keyword_id_of(state.site.id, keyword.keyword)
        if id_ not in state.site.keywords and id_ not in new:
            text = " ".join(keyword.keyword.split())
            new[id_] = Keyword.model_validate({**dict(keyword), "id": id_, "keyword": text})
    added, duplicates = tuple(new.values()), len(good) - len(new)
    return [
        KeywordsAdded(
            keywords=added[start : start + IN_EVENT],
            duplicates=0 if start else duplicates,
        )
        for start in range(0, len(added), IN_EVENT)
    ]


def _in_review(state: State, content_id: str) -> str:
    status = state.site.contents.get(content_id)
    if status is None:
        raise Refused("not_found", "There is no such article.")
    if status != "review":
        detail = f"This is not possible: the article is {status}, not in review."
        raise Refused("invalid_transition", detail, {"content_status": status})
    return content_id


def follow_account(state: State, message: Message) -> list[Event]:
    """Return what follows for the account. Raises Refused."""
    account = state.account
    match message, account.is_open:
        case AccountRequested(), False:
            granted = (
                [CreditsGranted(amount=message.amount, reason="opening balance")]
                if message.amount
                else []
            )
            return [
                AccountOpened(name=message.name),
                KeyIssued(key=message.key),
                *granted,
            ]
        case _, False:
            raise Refused("not_found", UNKNOWN)
        case KeyRequested(key=key), True:
            return [KeyIssued(key=key)]
        case KeyRevocationRequested(key_id=key_id), True if key_id in account.keys:
            return [KeyRevoked(key_id=key_id)]
        case KeyRevocationRequested(), True:
            raise Refused("not_found", "There is no such key.")
        case AiProviderRequested(), True:
            return [choose_provider(message)]
        case AiProviderDropRequested(), True:
            return [AiProviderDropped()] if account.models else []
        case CreditsRequested(amount=amount, reason=reason), True:
            return [CreditsGranted(amount=amount, reason=reason)]
        case SiteRequested(), True if not state.site.id:
            raise Refused("invalid_request", "A new site needs an id.")
        case SiteRequested(), True if not state.site.is_created:
            return [
                SiteCreated(name=message.name, domain=message.domain, timezone=message.timezone)
            ]
        case _:
            raise Refused("invalid_transition", "This exists already.")


def choose_provider(message: AiProviderRequested) -> AiProviderChosen:
    """Take the account's choice; its models are its own, whatever the command says of them."""
    return AiProviderChosen(
        base_url=message.base_url,
        models=message.models.model_copy(update={"own": True}),
        secret_id=message.secret_id,
    )
