"""What may be asked of a site and an account: config, keywords, reviews, keys, credits."""

from typing import Any

import pytest
from pydantic import ValidationError

from events.account import AccountOpened, CreditsGranted, KeyIssued, KeyRevoked
from events.commands import (
    AccountRequested,
    ApprovalRequested,
    ChangesRequested,
    ConfigUpdateRequested,
    CreditsRequested,
    Key,
    KeyRequested,
    KeyRevocationRequested,
    KeywordsSubmitted,
    RejectionRequested,
    SiteRequested,
)
from events.config import Config, ConfigChanges
from events.content import NewKeyword, fault_of
from events.ids import fold, keyword_id_of
from events.message import Message
from events.receipts import MessageRefused
from events.site import (
    ConfigUpdated,
    ContentApproved,
    ContentRejected,
    ContentReturned,
    KeywordsAdded,
    SiteCreated,
)
from events.topics import COMMANDS, LARGEST_BATCH
from services.api.csv_import import from_list
from services.orchestrator.consumer import LARGEST
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.state import State
from tests.builders import (
    CREATED,
    KEY,
    OPENED,
    READY,
    SITE,
    after,
    drive,
    given,
    refusal,
    tell,
    waiting,
)
from tests.builders import started as start

# --- config


def test_the_defaults_are_those_of_the_contract() -> None:
    config = given(*OPENED, CREATED).site.config
    sizes = [config.batch_size(stage) for stage in range(1, 7)]
    assert (config.is_enabled, config.frequency, config.scheduled_time) == (False, "daily", "02:00")
    assert sizes == [20, 1, 20, 1, 1, 1]
    assert (config.within_stage_delay, config.between_stage_delay) == (3, 5)
    assert (config.max_items_per_stage, config.max_parallel_batches) == (500, 1)


def test_the_zone_is_the_sites_at_first() -> None:
    site = SiteCreated(name="x", domain="x", timezone="Europe/Berlin")
    assert given(*OPENED, site).site.config.timezone == "Europe/Berlin"


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    changes = ConfigChanges(stage_4_batch_size=7)
    (updated,) = tell(given(*READY), ConfigUpdateRequested(changes=changes))
    assert isinstance(updated, ConfigUpdated)
    assert updated.config == given(*READY).site.config.model_copy(update={"stage_4_batch_size": 7})


@pytest.mark.parametrize(
    "field",
    [
        {"stage_1_batch_size": 0},
        {"stage_6_batch_size": 101},
        {"stage_2_batch_size": "5"},
        {"stage_2_batch_size": True},
        {"stage_7_batch_size": 5},
        {"within_stage_delay": -1},
        {"between_stage_delay": 3601},
        {"between_stage_delay": 1.5},
        {"scheduled_time": "24:00"},
        {"scheduled_time": "2:00"},
        {"scheduled_time": "02:00\n"},
        {"scheduled_time": "02:60"},
        {"timezone": "Mars/Olympus"},
        {"timezone": ""},
        {"timezone": "../../etc/passwd"},
        {"frequency": "hourly"},
        {"schedule_weekday": 7},
        {"schedule_day": 29},
        {"schedule_day": 0},
        {"max_items_per_stage": 0},
        {"max_parallel_batches": 11},
        {"language": "English"},
        {"language": ""},
        {"brand_voice": "x" * 501},
        {"audience": 7},
        {"banned_words": "delve"},
        {"banned_words": ["x" * 61]},
        {"banned_words": [str(n) for n in range(51)]},
        {"is_enabled": "yes"},
        {"next_run_at": "2026-01-01T00:00:00Z"},
    ],
)
def test_what_a_config_cannot_be(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ConfigChanges(**field)


@pytest.mark.parametrize(
    "field",
    [
        {"stage_1_batch_size": 1},
        {"stage_6_batch_size": 100},
        {"within_stage_delay": 0},
        {"between_stage_delay": 3600},
        {"scheduled_time": "23:59"},
        {"timezone": "America/Argentina/Buenos_Aires"},
        {"schedule_day": 28},
        {"max_parallel_batches": 10},
        {"is_enabled": False},
    ],
)
def test_what_a_config_can_be(field: dict[str, Any]) -> None:
    (name, value), changes = next(iter(field.items())), ConfigChanges(**field)
    (updated,) = tell(given(*READY), ConfigUpdateRequested(changes=changes))
    assert getattr(updated.config, name) == value


def test_changes_and_config_have_the_same_fields() -> None:
    assert set(ConfigChanges.model_fields) == set(Config.model_fields)


# --- keywords


def submit(*texts: str) -> KeywordsSubmitted:
    return KeywordsSubmitted(keywords=tuple(NewKeyword(keyword=text) for text in texts))


def test_a_keyword_is_unique_per_site_with_case_and_spaces_folded() -> None:
    (added,) = tell(given(*READY), submit("Cold Brew", "cold  brew", " COLD   BREW ", "latte"))
    assert isinstance(added, KeywordsAdded)
    assert [one.keyword for one in added.keywords] == ["Cold Brew", "latte"]
    assert added.duplicates == 2


def test_keywords_that_the_site_has_are_duplicates() -> None:
    state = after(given(*READY), submit("cold brew"))
    *events, receipt = decide(state, submit("COLD BREW"))
    assert events == []
    assert receipt.numbers == {"imported": 0, "duplicates": 1}
    assert decide(state, submit("Cold brew", "latte"))[-1].numbers == {
        "imported": 1,
        "duplicates": 1,
    }


def test_new_keywords_wait_for_stage_1_in_the_order_of_the_file() -> None:
    state = after(given(*READY), submit("b", "a", "c"))
    assert state.site.waiting(1) == tuple(keyword_id_of(SITE, text) for text in "bac")


@pytest.mark.parametrize(
    "bad",
    [
        {"keyword": ""},
        {"keyword": " \t "},
        {"keyword": "x" * 201},
        {"keyword": "cold\x00brew"},
        {"keyword": "cold\tbrew"},
        {"volume": -1},
        {"volume": 10**30},
        {"difficulty": 101},
        {"intent": "x" * 51},
        {"intent": "a\x07"},
    ],
)
def test_what_is_no_keyword_is_left_out_and_the_others_go_on(bad: dict[str, Any]) -> None:
    """The API has looked already; whoever puts the command on Kafka has not."""
    wrong = NewKeyword.model_validate({"keyword": "brew"} | bad)
    good = submit("x" * 200, f" {'y' * 200} ", "k").keywords
    state, message = given(*READY), KeywordsSubmitted(keywords=(wrong, *good, good[0]))
    added, receipt = decide(state, message)
    assert isinstance(added, KeywordsAdded)
    assert [one.keyword for one in added.keywords] == ["x" * 200, "y" * 200, "k"]
    assert receipt.numbers == {"imported": 3, "duplicates": 1, "rejected": 1}
    nothing = decide(state, KeywordsSubmitted(keywords=(wrong,)))
    assert [event.TYPE for event in nothing] == ["MessageAccepted"]
    assert nothing[0].numbers == {"imported": 0, "duplicates": 0, "rejected": 1}


def test_the_api_and_the_rule_reject_the_same_with_the_same_words() -> None:
    long = "x" * 200
    texts = ["", " ", long, f"{long}x", f" {long} ", "a\tb", "a\x7f", "☕", "a\u200bb", "\x1f"]
    rows: list[dict[str, Any]] = [{"keyword": text} for text in texts]
    rows += [{"keyword": "a", "intent": text} for text in texts]
    rows += [
        {"keyword": "a", name: number}
        for name in ("volume", "difficulty")
        for number in (-1, 0, 100, 101, 10**9, 10**9 + 1)
    ]
    _, rejected = from_list(rows)
    faults = {row: fault_of(NewKeyword(**one)) for row, one in enumerate(rows, start=1)}
    assert {one.row: one.reason for one in rejected} == {
        row: fault for row, fault in faults.items() if fault
    }


def test_more_keywords_than_are_read_at_once_are_refused() -> None:
    (refused,) = decide(given(*READY), submit(*(f"k{number}" for number in range(10_001))))
    assert isinstance(refused, MessageRefused)
    assert (refused.code, refused.detail) == (
        "invalid_request",
        "At most 10,000 keywords are taken at once.",
    )


def test_as_many_keywords_as_a_command_may_have_make_events_that_a_topic_takes() -> None:
    """An event that no broker takes would hold up the relay, and with it every site."""
    command = submit(*(f"{number:05} cold brew" for number in range(10_000)))
    assert len(command.model_dump_json(exclude_none=True)) < LARGEST[COMMANDS]
    *added, receipt = decide(given(*READY), command)
    assert max(len(event.model_dump_json()) for event in added) < LARGEST_BATCH / 2
    assert receipt.numbers == {"imported": 10_000, "duplicates": 0}
    ids = [one.id for event in added for one in event.keywords]  # type: ignore[attr-defined]
    assert len(set(ids)) == 10_000
    twice = decide(given(*READY, *added), command)
    assert twice[-1].numbers == {"imported": 0, "duplicates": 10_000}


@pytest.mark.parametrize(
    ("one", "other"), [("Straße", "STRASSE"), ("İstanbul", "i̇stanbul"), ("a\u00a0b", "a b")]
)
def test_folding_knows_more_than_ascii(one: str, other: str) -> None:
    assert fold(one) == fold(other)


def test_the_same_keyword_on_another_site_is_another() -> None:
    assert keyword_id_of("site-a", "latte") != keyword_id_of("site-b", "latte")


# --- reviews


def in_review() -> State:
    return drive(start(*waiting(7, "d1"))[1])


REVIEWS: list[tuple[Message, Message, str]] = [
    (ApprovalRequested(content_id="d1"), ContentApproved(content_id="d1"), "approved"),
    (
        RejectionRequested(content_id="d1", reason="off topic"),
        ContentRejected(content_id="d1", reason="off topic"),
        "rejected",
    ),
    (
        ChangesRequested(content_id="d1", note="shorter"),
        ContentReturned(content_id="d1", task_id="x", note="shorter"),
        "changes_requested",
    ),
]


@pytest.mark.parametrize(("command", "event", "status"), REVIEWS)
def test_an_article_in_review_is_reviewed_once(
    command: Message, event: Message, status: str
) -> None:
    state = in_review()
    assert tell(state, command) == [event]
    assert after(state, command).site.contents == {"d1": status}
    for again, _, _ in REVIEWS:
        code, numbers = refusal(after(state, command), again)
        assert (code, numbers) == ("invalid_transition", {"content_status": status})


@pytest.mark.parametrize(("command", "_event", "_status"), REVIEWS)
def test_only_what_is_in_review_can_be_reviewed(
    command: Message, _event: Message, _status: str
) -> None:
    assert refusal(given(*READY), command) == ("not_found", {})
    drafted = drive(start(*waiting(4, "d1"))[1], until=5)
    named = command.model_copy(update={"content_id": "d1/4"})
    assert refusal(drafted, named) == ("invalid_transition", {"content_status": "drafted"})


# --- account and keys


OPEN = AccountRequested(name="Daily Grind", amount=100, key=KEY)
OTHER = Key(key_id="key-b", digest="1" * 64, role="viewer")


def test_an_account_opens_with_its_key_and_credits() -> None:
    assert tell(given(), OPEN) == [
        AccountOpened(name="Daily Grind"),
        KeyIssued(key=KEY),
        CreditsGranted(amount=100, reason="opening balance"),
    ]


def test_an_account_without_credits_is_granted_none() -> None:
    free = OPEN.model_copy(update={"amount": 0})
    assert [event.TYPE for event in tell(given(), free)] == ["AccountOpened", "KeyIssued"]


def test_an_account_opens_once() -> None:
    assert refusal(after(given(), OPEN), OPEN)[0] == "invalid_transition"


@pytest.mark.parametrize(
    "message",
    [
        KeyRequested(key=OTHER),
        KeyRevocationRequested(key_id="key-a"),
        CreditsRequested(amount=1, reason="x"),
        SiteRequested(name="x", domain="x", timezone="UTC"),
    ],
)
def test_without_an_account_there_is_nothing(message: Message) -> None:
    assert refusal(given(), message) == ("not_found", {})


def test_keys_are_issued_and_revoked_once() -> None:
    state = after(given(*OPENED), KeyRequested(key=OTHER))
    assert dict(state.account.keys) == {"key-a": "admin", "key-b": "viewer"}
    revoke = KeyRevocationRequested(key_id="key-b")
    assert tell(state, revoke) == [KeyRevoked(key_id="key-b")]
    assert refusal(after(state, revoke), revoke) == ("not_found", {})


def test_credits_are_granted_in_whole_positive_amounts() -> None:
    assert after(given(*OPENED), CreditsRequested(amount=5, reason="x")).account.balance == 1005
    for amount in (0, -1):
        with pytest.raises(ValidationError):
            CreditsRequested(amount=amount, reason="x")


def test_a_site_is_created_once() -> None:
    ask = SiteRequested(name="Daily Grind", domain="grind.example", timezone="UTC")
    assert tell(given(*OPENED), ask) == [CREATED]
    assert refusal(after(given(*OPENED), ask), ask)[0] == "invalid_transition"


@pytest.mark.parametrize(
    "message",
    [submit("a"), ConfigUpdateRequested(changes=ConfigChanges()), *(c for c, _, _ in REVIEWS)],
)
def test_an_unknown_site_has_nothing(message: Message) -> None:
    assert refusal(given(*OPENED), message) == ("not_found", {})
