"""What audit and dead-letter commands make of records, without a broker."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from events.dead_letters import dead_letter
from events.envelope import Envelope
from events.run import RunPaused, RunResumed
from events.topics import COMMANDS, Placed, Record
from services.cli.audit import in_topic
from services.cli.dead_letters import about, original
from services.cli.output import Failed

AT = datetime(2026, 11, 21, tzinfo=UTC)


def placed(position: int, site: str = "site-1", *, paused: bool = True) -> Placed:
    message = RunPaused() if paused else RunResumed()
    identity = f"msg-{position}"
    envelope = Envelope(
        id=identity, account_id="a", site_id=site, at=AT, cause=identity, message=message
    )
    return Placed(position, envelope)


STORE = [placed(1), placed(2, "site-2"), placed(3)]


def test_a_topic_that_has_it_all_agrees_also_when_some_is_there_twice() -> None:
    assert in_topic(STORE, STORE) == []
    assert in_topic(STORE, [*STORE[:1], *STORE]) == []


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (STORE[:2], "topic: msg-3 at position 3 is missing"),
        ([*STORE, placed(4)], "topic: msg-4 at position 4 is not in the store"),
        (
            [STORE[2], STORE[1], STORE[0]],
            "topic: msg-1 at position 1 comes after 3 of site-1",
        ),
    ],
)
def test_each_difference_is_a_line(topic: list[Placed], expected: str) -> None:
    assert in_topic(STORE, topic) == [expected]


def test_a_changed_body_is_a_difference() -> None:
    changed = Placed(1, placed(1).envelope.model_copy(update={"actor": "somebody"}))
    (line,) = in_topic(STORE, [changed, *STORE[1:]])
    assert line == "topic: msg-1 at position 1 is not what the store has at 1"


def test_a_dead_letter_becomes_the_message_that_it_was() -> None:
    record = Record(COMMANDS, b"site-1", b"{", (("ce_id", b"cmd-1"),), partition=3, offset=14)
    letter = dead_letter(record, "the body is not JSON", "orchestrator")
    assert original(letter) == Record(COMMANDS, b"site-1", b"{", (("ce_id", b"cmd-1"),))
    assert about(letter)["error"] == "the body is not JSON"
    assert about(letter)["origin"] == "septet.commands/3/14"


def test_a_dead_letter_of_a_foreign_topic_is_not_sent_anywhere() -> None:
    record = Record("other.topic", None, b"{}", (), partition=0, offset=0)
    with pytest.raises(Failed, match="names no topic of ours"):
        original(dead_letter(record, "?", "?"))


def test_replay_knows_every_message_in_a_process_of_its_own() -> None:
    code = (
        "from services.cli.main import app\nfrom events.message import KNOWN\nprint(*sorted(KNOWN))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("AccountOpened", "SiteCreated", "RunStarted", "RunRequested", "MessageAccepted"):
        assert f"septet.{name}.v1" in done.stdout
