"""What the dead-letter commands make of letters, without a broker."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic_core import from_json, to_json
from typer.testing import Result

from events.commands import PauseRequested, ResumeRequested
from events.dead_letters import dead_letter, original
from events.envelope import Envelope
from events.message import Message
from events.topics import COMMANDS, DEAD_LETTERS, REPLAYS, STAGE_REPORTS, Record, command_record
from services.cli import dead_letters
from services.cli.dead_letters import about, since_of
from services.cli.output import Failed

Septet = Callable[..., Result]
AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@dataclass
class Topics:
    """The broker in lists: what is published on a topic of ours stands there."""

    records: dict[str, list[Record]] = field(default_factory=dict)
    sent: list[Record] = field(default_factory=list)

    def read(self, _: Any, topic: str) -> list[Record]:
        return list(self.records.get(topic, []))

    def publish(self, _: Any, records: Sequence[Record]) -> None:
        for record in records:
            self.add(record)
            if record.topic != REPLAYS:
                self.sent.append(record)

    def add(self, record: Record) -> Record:
        known = self.records.setdefault(record.topic, [])
        known.append(replace(record, partition=0, offset=len(known)))
        return known[-1]

    def bury(self, record: Record, why: str = "KeyError: 'x'", **how: Any) -> str:
        """Set a record aside and return its letter's id."""
        at, consumer = how.get("at", AT), how.get("consumer", "orchestrator")
        letter = self.add(dead_letter(record, why, consumer, at))
        return f"0-{letter.offset}"


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Topics:
    topics = Topics()
    monkeypatch.setattr(dead_letters, "records_of", topics.read)
    monkeypatch.setattr(dead_letters, "publish", topics.publish)
    return topics


def command(id_: str, message: Message | None = None, run: str = "run-a", **whom: Any) -> Record:
    known = {"account_id": "account-a", "site_id": "site-a", "run_id": run} | whom
    message = message or PauseRequested()
    envelope = Envelope(id=id_, at=AT, cause=id_, message=message, **known)
    return replace(command_record(envelope), partition=3, offset=14)


def told(done: Any) -> Any:
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def ids(septet: Septet, *filters: str) -> list[str]:
    found = told(septet("dead-letters", "list", *filters, "--output", "json"))
    return [one["id"] for one in found["dead_letters"]]


# --- list and show


def test_letters_are_listed_newest_first_and_filtered(septet: Septet, topics: Topics) -> None:
    old = topics.bury(command("cmd-1"), at=AT - timedelta(hours=5))
    site_b = topics.bury(command("cmd-2", run="run-b", site_id="site-b"), at=AT)
    resume = topics.bury(command("cmd-3", ResumeRequested()), at=AT - timedelta(hours=1))
    garbage = topics.bury(
        Record(STAGE_REPORTS, None, b"\xff", ()), at=AT - timedelta(days=9), consumer="projector"
    )
    assert ids(septet) == [site_b, resume, old, garbage]
    assert ids(septet, "--run", "run-b") == ids(septet, "--site", "site-b") == [site_b]
    assert ids(septet, "--type", "ResumeRequested") == [resume]
    assert ids(septet, "--type", "septet.ResumeRequested.v1") == [resume]
    assert ids(septet, "--type", "septet.ResumeRequested.v2") == []
    assert ids(septet, "--consumer", "projector") == [garbage]
    assert ids(septet, "--since", "2026-11-21T08:00:00Z") == [site_b, resume]
    assert ids(septet, "--run", "run-a", "--type", "PauseRequested") == [old]
    assert ids(septet, "--limit", "1") == [site_b]
    assert ids(septet, "--run", "run-none") == []


def test_causes_are_counted_over_all_also_those_that_are_not_shown(
    septet: Septet, topics: Topics
) -> None:
    for number in range(3):
        topics.bury(command(f"cmd-{number}"))
    topics.bury(command("cmd-9"), "another error")
    found = told(septet("dead-letters", "list", "--limit", "1", "--output", "json"))
    assert (len(found["dead_letters"]), found["total"]) == (1, 4)
    assert [(one["count"], one["error"]) for one in found["causes"]] == [
        (3, "KeyError: 'x'"),
        (1, "another error"),
    ]
    text = septet("dead-letters", "list", "--limit", "1").stdout
    assert "1 of 4 dead letters, newest first" in text


def test_a_letter_is_shown_by_its_place_or_by_its_message(septet: Septet, topics: Topics) -> None:
    first = topics.bury(command("cmd-1"))
    record = topics.records[DEAD_LETTERS][0]
    again = topics.bury(original(record, COMMANDS), "again", at=AT + timedelta(minutes=1))
    for named, id_, attempt in ((first, first, 1), (again, again, 2), ("cmd-1", again, 2)):
        shown = told(septet("dead-letters", "show", named, "--output", "json"))
        assert (shown["id"], shown["attempt"], shown["run_id"]) == (id_, attempt, "run-a")
        assert json.loads(shown["body"])["id"] == "cmd-1"
    missing = septet("dead-letters", "show", "cmd-2")
    assert (missing.exit_code, "no dead letter cmd-2" in missing.stderr) == (1, True)


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{", b"\xff\xfe", b'{"run_id": 7}', b"null"])
def test_whatever_was_set_aside_can_be_listed_and_shown(
    septet: Septet, topics: Topics, value: bytes | None
) -> None:
    headers = (("ce_id", b"\xff"), ("ce_subject", b"\xff"), ("x", b""))
    id_ = topics.bury(Record(COMMANDS, None, value, headers))
    assert ids(septet) == [id_]
    assert septet("dead-letters", "list").exit_code == 0
    assert septet("dead-letters", "show", id_).exit_code == 0


def test_a_letter_of_an_older_release_is_one_too(septet: Septet, topics: Topics) -> None:
    topics.bury(command("cmd-1"))
    (letter,) = topics.records[DEAD_LETTERS]
    new = ("septet-attempt", "septet-at")
    bare = tuple(pair for pair in letter.headers if pair[0] not in new)
    topics.records[DEAD_LETTERS] = [replace(letter, headers=bare)]
    assert about(topics.records[DEAD_LETTERS][0])["attempt"] == 1
    assert told(septet("dead-letters", "replay", "--all", "--yes", "--output", "json"))["replayed"]
    assert topics.sent[0].header("septet-attempt") == "1"


# --- replay


def replay(septet: Septet, *arguments: str) -> Any:
    return told(septet("dead-letters", "replay", *arguments, "--output", "json"))


def test_a_preview_shows_what_would_be_sent_and_sends_nothing(
    septet: Septet, topics: Topics
) -> None:
    for number in range(7):
        topics.bury(command(f"cmd-{number}"))
    shown = septet("dead-letters", "replay", "--all", "--dry-run").stdout
    for text in ("7 messages would be sent again", COMMANDS, "septet.PauseRequested.v1", "0-4"):
        assert text in shown
    assert "and 2 more" in shown
    dry = replay(septet, "--all", "--dry-run")
    assert (dry["replayed"], len(dry["would_replay"]), topics.sent) == ([], 7, [])
    assert dry["messages"] == [{"topic": COMMANDS, "type": "septet.PauseRequested.v1", "count": 7}]


@pytest.mark.parametrize(("said", "sent"), [("y\n", 1), ("n\n", 0), ("\n", 0)])
def test_who_sits_at_a_terminal_is_asked(
    septet: Septet, topics: Topics, monkeypatch: pytest.MonkeyPatch, said: str, sent: int
) -> None:
    topics.bury(command("cmd-1"))
    monkeypatch.setattr(dead_letters, "can_be_asked", lambda: True)
    done = septet("dead-letters", "replay", "--all", input=said)
    assert (done.exit_code, len(topics.sent)) == (0, sent)
    assert "1 message would be sent again" in done.stdout


def test_what_is_sent_is_the_message_as_it_was(septet: Septet, topics: Topics) -> None:
    record = command("cmd-1")
    topics.bury(record)
    assert replay(septet, "--all", "--yes")["replayed"] == ["0-0"]
    (sent,) = topics.sent
    assert (sent.topic, sent.key, sent.value) == (COMMANDS, record.key, record.value)
    assert sent.headers == (*record.headers, ("septet-attempt", b"1"))


def test_a_message_that_was_set_aside_several_times_is_sent_once(
    septet: Septet, topics: Topics
) -> None:
    record = command("cmd-1")
    topics.bury(record)
    topics.bury(replace(record, offset=99))  # the consumer crashed before its commit
    last = topics.bury(original(topics.records[DEAD_LETTERS][0], COMMANDS))
    assert replay(septet, "--all", "--yes")["replayed"] == [last]
    assert len(topics.sent) == 1


def test_what_was_sent_again_waits_until_it_has_failed_again(
    septet: Septet, topics: Topics
) -> None:
    topics.bury(command("cmd-1"))
    replay(septet, "--all", "--yes")
    second = replay(septet, "--all", "--yes")
    assert (second["replayed"], second["replayed_before"]) == ([], ["0-0"])
    assert replay(septet, "0-0", "--again", "--yes")["replayed"] == ["0-0"]
    assert len(topics.sent) == 2
    again = topics.bury(topics.sent[-1])
    assert replay(septet, "--all", "--yes")["replayed"] == [again]
    assert topics.sent[-1].header("septet-attempt") == "2"
    assert replay(septet, "--all", "--yes")["replayed"] == []
    (newest, oldest) = told(septet("dead-letters", "list", "--output", "json"))["dead_letters"]
    assert all(one["replayed_at"] for one in (newest, oldest))


def test_two_messages_with_one_id_are_two_messages(septet: Septet, topics: Topics) -> None:
    """Poison may bear the id of something else."""
    good = command("cmd-1")
    bad = replace(good, value=to_json(from_json(good.value or b"") | {"note": 7}))
    topics.bury(good)
    replay(septet, "--all", "--yes")
    poison = topics.bury(bad)
    assert replay(septet, "--all", "--yes")["replayed"] == [poison]


def test_the_oldest_go_first_and_a_limit_says_how_many_are_left(
    septet: Septet, topics: Topics
) -> None:
    for number in range(5):
        topics.bury(command(f"cmd-{number}"), at=AT - timedelta(minutes=number))
    first = replay(septet, "--all", "--limit", "2", "--yes")
    assert (first["replayed"], first["left"]) == (["0-4", "0-3"], 3)
    text = septet("dead-letters", "replay", "--all", "--limit", "2", "--yes").stdout
    assert "2 sent again" in text
    assert "1 message left beyond --limit" in text
    assert replay(septet, "--all", "--yes")["replayed"] == ["0-0"]


def test_what_cannot_be_sent_is_named_and_stops_nothing(septet: Septet, topics: Topics) -> None:
    cut = topics.bury(Record(COMMANDS, b"site-a", b"x" * 950_000, ()))
    foreign = topics.bury(Record("other.topic", None, b"{}", ()))
    loop = topics.bury(Record(DEAD_LETTERS, None, b"{}", ()))
    good = topics.bury(command("cmd-1"))
    done = replay(septet, "--all", "--yes")
    assert (done["replayed"], len(topics.sent)) == ([good], 1)
    assert {one["id"]: one["why"] for one in done["cannot"]} == {
        cut: "its body was too large and is kept cut",
        foreign: "it names no topic of ours",
        loop: "it names no topic of ours",
    }
    alone = septet("dead-letters", "replay", cut, "--yes")
    assert (alone.exit_code, "kept cut" in alone.stderr) == (1, True)


def test_filters_choose_what_is_sent(septet: Septet, topics: Topics) -> None:
    topics.bury(command("cmd-1"))
    other = topics.bury(command("cmd-2", run="run-b"))
    assert replay(septet, "--run", "run-b", "--yes")["replayed"] == [other]
    assert [record.header("ce_id") for record in topics.sent] == ["cmd-2"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("0-0", "--all"),
        ("0-0", "--run", "run-a"),
        ("--all", "--yes", "--dry-run"),
        ("--all", "--since", "yesterday"),
        ("--all", "--limit", "0"),
    ],
)
def test_what_is_not_clear_is_not_sent(
    septet: Septet, topics: Topics, arguments: tuple[str, ...]
) -> None:
    topics.bury(command("cmd-1"))
    assert septet("dead-letters", "replay", *arguments).exit_code == 2
    assert topics.sent == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("30m", AT - timedelta(minutes=30)),
        ("12h", AT - timedelta(hours=12)),
        ("7d", AT - timedelta(days=7)),
        ("2026-11-20T09:00:00+01:00", datetime(2026, 11, 20, 8, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
    ],
)
def test_since_is_so_long_ago_or_a_time(text: str | None, expected: datetime | None) -> None:
    assert since_of(text, AT) == expected


@pytest.mark.parametrize("text", ["", "soon", "0m", "5", "-1h", "9999999d"])
def test_since_is_nothing_else(text: str) -> None:
    with pytest.raises(Failed, match="--since takes"):
        since_of(text, AT)
