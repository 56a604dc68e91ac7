"""From Kafka to tables: the projector's transaction, and the loop of its process."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa

from events.dead_letters import dead_letter
from events.envelope import BadMessage, UnknownMessage
from events.kafka import Broker, Producer, consume
from events.reading import read_placed
from events.topics import RUN_EVENTS, Placed, Record, record_of
from projections.database import positions, reading, writing
from projections.fold import Overtaken, SetAside, fold
from projections.rebuild import rebuild

logger = logging.getLogger(__name__)

GROUP = "septet-projector"
CONSUMER = "projector"
ACKNOWLEDGED_WITHIN = 30.0  # seconds
HIGHEST = 2**46  # a position above it is nobody's: ordinals made of it would not fit

ReadStore = Callable[[], Iterator[Placed]]


class NotInStore(Exception):
    """An event on the topic is not one of the store: nobody of ours published it."""


def project(engine: sa.Engine, batch: Sequence[Placed], set_aside: SetAside) -> None:
    """Apply what is new. Rows and positions commit together. Raises Overtaken."""
    with writing(engine) as tx:
        fold(tx, batch, set_aside)


def project_or_refold(
    engine: sa.Engine, batch: Sequence[Placed], set_aside: SetAside, read_store: ReadStore
) -> None:
    """Apply what is new; when an event comes too late to be applied, refold the store instead."""
    try:
        project(engine, batch, set_aside)
    except Overtaken as overtaken:
        logger.warning("refolding the read model", extra={"reason": str(overtaken)})
        rebuild(engine, read_store(), set_aside)
        _project_known(engine, batch, set_aside)


def _project_known(engine: sa.Engine, batch: Sequence[Placed], set_aside: SetAside) -> None:
    """Apply what is new, after a refold: what is still overtaken does not come from the store."""
    try:
        project(engine, batch, set_aside)
    except Overtaken as overtaken:
        for placed in overtaken.events:
            set_aside(placed, NotInStore(f"no event of the store is at {placed.position}"))
        strange = {placed.position for placed in overtaken.events}
        project(engine, [one for one in batch if one.position not in strange], set_aside)


async def run(
    engine: sa.Engine,
    broker: Broker,
    stop: asyncio.Event,
    read_store: ReadStore,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Project every event of the public topic until `stop`; new tables are refolded first."""
    producer = Producer(broker)
    worker = Worker(engine, producer, read_store)
    try:
        await asyncio.to_thread(worker.begin, asyncio.get_running_loop())
        await consume(broker, [RUN_EVENTS], GROUP, worker.take, stop, ready=ready)
    finally:
        await producer.stop()


class Worker:
    """Takes records of the public topic; those that are no events of ours become dead letters."""

    def __init__(self, engine: sa.Engine, producer: Producer, read_store: ReadStore) -> None:
        self._engine, self._producer, self._read_store = engine, producer, read_store

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fill tables that are empty from the store: consumers' offsets do not know of them."""
        with reading(self._engine) as tx:
            is_new = tx.execute(sa.select(positions).limit(1)).first() is None
        if is_new:
            count = rebuild(self._engine, self._read_store(), self._set_aside({}, loop))
            logger.info("filled the read model", extra={"events": count})

    async def take(self, records: Sequence[Record]) -> None:
        """Return when the tables hold what the records say."""
        batch: list[Placed] = []
        origins: dict[int, Record] = {}
        for record in records:
            try:
                placed = _placed_in(record)
            except (UnknownMessage, BadMessage) as error:
                logger.warning("record set aside", extra={"error": str(error)})
                await self._producer.publish(dead_letter(record, str(error), CONSUMER))
                continue
            batch.append(placed)
            origins[placed.position] = record
        set_aside = self._set_aside(origins, asyncio.get_running_loop())
        await asyncio.to_thread(project_or_refold, self._engine, batch, set_aside, self._read_store)

    def _set_aside(self, origins: dict[int, Record], loop: asyncio.AbstractEventLoop) -> SetAside:
        def set_aside(placed: Placed, error: Exception) -> None:
            record = origins.get(placed.position) or record_of(
                RUN_EVENTS, placed.key, placed.envelope, position=placed.position
            )
            letter = dead_letter(record, f"{type(error).__name__}: {error}", CONSUMER)
            sending = asyncio.run_coroutine_threadsafe(self._producer.publish(letter), loop)
            sending.result(ACKNOWLEDGED_WITHIN)

        return set_aside


def _placed_in(record: Record) -> Placed:
    """Return the event in a record. Raises UnknownMessage or BadMessage."""
    placed = read_placed(record)
    envelope = placed.envelope
    if not 0 < placed.position <= HIGHEST:
        raise BadMessage(f"no event can be at position {placed.position}")
    ids = (envelope.id, envelope.account_id, envelope.site_id, envelope.run_id, envelope.cause)
    if any("\x00" in (id_ or "") for id_ in ids):
        raise BadMessage("an id has a character that no table can hold")
    return placed
