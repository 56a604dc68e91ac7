"""The one door to the rules: a state and a message in, events out, the receipt last."""

from events.commands import (
    AccountRequested,
    AiProviderDropRequested,
    AiProviderRequested,
    BatchTimedOut,
    CancelRequested,
    CreditsRequested,
    KeyRequested,
    KeyRevocationRequested,
    KeywordsSubmitted,
    PauseRequested,
    ResumeRequested,
    RunRequested,
    SiteRequested,
    TimerElapsed,
)
from events.content import fault_of
from events.message import Event, Message
from events.receipts import MessageAccepted, MessageRefused
from events.run import (
    BatchFailed,
    BatchReturned,
    MessageReplayed,
    MessageSetAside,
    RunStarted,
    StageBatchCompleted,
    StageCompleted,
)
from events.site import KeywordsAdded
from services.orchestrator.rules.run import follow_run, is_early
from services.orchestrator.rules.site import follow_account, follow_site
from services.orchestrator.rules.state import UNKNOWN, Refused, State

OF_RUN = (
    RunRequested,
    PauseRequested,
    ResumeRequested,
    CancelRequested,
    TimerElapsed,
    BatchTimedOut,
    StageBatchCompleted,
    BatchFailed,
    BatchReturned,
    StageCompleted,
    MessageSetAside,
    MessageReplayed,
)
OF_ACCOUNT = (
    AccountRequested,
    KeyRequested,
    KeyRevocationRequested,
    AiProviderRequested,
    AiProviderDropRequested,
    CreditsRequested,
    SiteRequested,
)


def decide(state: State, message: Message) -> list[Event]:
    """Return all that follows from the message; its receipt comes last. Never raises Refused.

    Nothing follows from a report that is early, not even a receipt: it will come again.
    """
    if is_early(state, message):
        return []
    try:
        events = follow(state, message)
    except Refused as no:
        receipt = MessageRefused(
            kind=message.TYPE, code=no.code, detail=no.detail, numbers=no.numbers
        )
        return [*no.events, receipt]
    return [
        *events,
        MessageAccepted(kind=message.TYPE, numbers=_numbers(message, events)),
    ]


def follow(state: State, message: Message) -> list[Event]:
    """Return what follows from the message. Raises Refused.

    What belongs to another account is refused exactly as what does not exist.
    """
    if state.is_foreign:
        raise Refused("not_found", UNKNOWN)
    if isinstance(message, OF_ACCOUNT):
        return follow_account(state, message)
    if not state.site.is_created:
        raise Refused("not_found", UNKNOWN)
    return (
        follow_run(state, message) if isinstance(message, OF_RUN) else follow_site(state, message)
    )


def _numbers(message: Message, events: list[Event]) -> dict[str, int | str]:
    match message:
        case KeywordsSubmitted(keywords=keywords):
            added = sum(len(event.keywords) for event in events if isinstance(event, KeywordsAdded))
            bad = sum(fault_of(keyword) is not None for keyword in keywords)
            told: dict[str, int | str] = {"rejected": bad} if bad else {}
            return {"imported": added, "duplicates": len(keywords) - added - bad, **told}
        case RunRequested():
            started = next(event for event in events if isinstance(event, RunStarted))
            return {
                "estimated_credits": started.estimated_credits,
                "required_credits": started.required_credits,
            }
        case _:
            return {}
