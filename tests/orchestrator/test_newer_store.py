"""An orchestrator that meets events of a newer release decides nothing, and loses nothing."""

import asyncio

import pytest

from events.commands import PauseRequested, RunRequested
from events.kafka import consumer
from events.kafka.connection import Broker
from events.message import KNOWN
from events.topics import COMMANDS
from services.orchestrator import service
from services.orchestrator.handler import Handler
from services.orchestrator.store import StoreIsNewer
from tests.orchestrator.test_consumer import Desk

NEWER = "septet.RunStarted.v1"


def fresh(desk: Desk) -> Handler:
    """The handler of a process that has just started: it remembers nothing."""
    return Handler(desk.scene.store, lambda: desk.scene.now, 600)


def test_a_message_whose_streams_are_newer_gets_no_outcome_until_the_upgrade(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    desk.consume(desk.command(RunRequested(), "cmd-1"))
    before = desk.scene.last_position
    pause = desk.scene.envelope(PauseRequested(), id_="cmd-2", run="run-1")
    pause = pause.model_copy(
        update={"run_id": desk.scene.store.read("receipt-cmd-1")[0].envelope.run_id}
    )
    with monkeypatch.context() as older:
        older.delitem(KNOWN, NEWER)
        for _ in range(2):
            with pytest.raises(StoreIsNewer, match=f"the store has {NEWER}, which a newer release"):
                fresh(desk).handle([pause])
        assert desk.scene.last_position == before
        with pytest.raises(StoreIsNewer):
            list(desk.scene.store.stored())
    assert fresh(desk).handle([pause]) == []
    assert desk.scene.receipt("cmd-2").TYPE == "MessageAccepted"


def test_the_consumer_ends_and_leaves_its_partitions_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuses(*_: object) -> None:
        raise StoreIsNewer(NEWER)

    monkeypatch.setattr(consumer, "topics_made", refuses)
    nowhere = Broker("127.0.0.1:1", embedded=False)

    async def consume() -> None:
        ends = (StoreIsNewer,)
        async with asyncio.timeout(5):
            await consumer.consume(
                nowhere, [COMMANDS], service.GROUP, None, asyncio.Event(), ends_with=ends
            )

    with pytest.raises(StoreIsNewer):
        asyncio.run(consume())
