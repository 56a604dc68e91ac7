"""A worker waits for its broker, and repeats a report that the broker did not take."""

import asyncio

import pytest

from events.kafka.connection import AnswerLost, Broker, NothingSent
from events.topics import STAGE_REPORTS, Record
from services.stage_workers import away
from services.stage_workers.away import PAUSES, broker_there, said_again
from tests.engines.processes import free_port

REPORT = Record(STAGE_REPORTS, b"site-1", b"{}", ())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(away, "PAUSES", (0.0,) * len(PAUSES))


def tries(*errors: Exception) -> tuple[int, Exception | None]:
    """Publish at a broker that fails so; return how often it was asked, and what was raised."""
    failing, asked = list(errors), 0

    async def publish(_: Record) -> None:
        nonlocal asked
        asked += 1
        if failing:
            raise failing.pop(0)

    try:
        asyncio.run(said_again(publish)(REPORT))
    except Exception as error:  # noqa: BLE001  # it is what the test looks at
        return asked, error
    return asked, None


def test_a_report_is_said_again_until_the_broker_has_it():
    assert tries() == (1, None)
    assert tries(AnswerLost("x"), NothingSent("y")) == (3, None)


def test_a_broker_that_stays_away_is_left_to_the_next_process():
    asked, raised = tries(*[AnswerLost("x")] * 9)
    assert (asked, type(raised)) == (len(PAUSES) + 1, AnswerLost)


def test_a_bug_is_not_repeated():
    asked, raised = tries(ValueError("a bug"))
    assert (asked, type(raised)) == (1, ValueError)


def test_a_worker_that_is_started_first_waits_for_the_broker(caplog: pytest.LogCaptureFixture):
    nobody = Broker(f"127.0.0.1:{free_port()}", embedded=True)

    async def waited() -> object:
        stop = asyncio.Event()
        waiting = asyncio.create_task(broker_there(nobody, [1], stop))
        while "waiting for the broker" not in caplog.text:
            assert not waiting.done()
            await asyncio.sleep(0.05)
        stop.set()
        return await waiting

    assert asyncio.run(waited()) is None
