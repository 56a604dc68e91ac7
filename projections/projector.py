"""From Kafka to tables: the projector's transaction, and the loop of its process."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from events import dead_letters
from events.envelope import BadMessage, UnknownMessage
from events.kafka.connection import Broker
from events.kafka.consumer import consume
from events.kafka.producers import Producer
from events.reading import read_placed
from events.topics import RUN_EVENTS, Placed, Record, record_of
from projections.database import writing
from projections.fold import Overtaken, SetAside, fold
from projections.rebuild import state_of
from projections.releases import forget, is_folded_by_this, readable_now, remember

logger = logging.getLogger(__name__)

GROUP = "septet-projector"
CONSUMER = "projector"
ACKNOWLEDGED_WITHIN = 30.0  # seconds
LOOK_EVERY = 10.0  # seconds between looks for what an older release could not read
REST_WITHIN = 10.0  # seconds in which the rest of an append is waited for
HIGHEST = 2**46  # a position above it is nobody's: ordinals made of it would not fit

Refold = Callable[[SetAside], object]
"""Folds the whole store again and puts right what differs."""


def project(engine: sa.Engine, batch: Sequence[Placed], set_aside: SetAside) -> None:
    """Apply what is new. Rows and positions commit together. Raises Overtaken."""
    with writing(engine) as tx:
        fold(tx, batch, set_aside)


def project_or_refold(
    engine: sa.Engine, batch: Sequence[Placed], set_aside: SetAside, refold: Refold
) -> None:
    """Apply what is new; when an event comes too late to be applied, refold the store instead."""
    try:
        project(engine, batch, set_aside)
    except Overtaken as overtaken:
        logger.warning("refolding the read model", extra={"reason": str(overtaken)})
        refold(set_aside)
        _project_known(engine, batch, set_aside)


def _project_known(engine: sa.Engine, batch: Sequence[Placed], set_aside: SetAside) -> None:
    """Apply what is new, after a refold: what is still overtaken does not come from the store."""
    try:
        project(engine, batch, set_aside)
    except Overtaken as overtaken:
        for placed in overtaken.events:
            set_aside(placed, f"NotInStore: no event of the store is at {placed.position}")
        strange = {placed.position for placed in overtaken.events}
        project(engine, [one for one in batch if one.position not in strange], set_aside)


async def run(
    engine: sa.Engine,
    broker: Broker,
    stop: asyncio.Event,
    refold: Refold,
    now: Callable[[], datetime],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Project every event of the public topic until `stop`; new tables are refolded first."""
    producer = Producer(broker)
    worker = Worker(engine, producer, refold, now)
    try:
        await asyncio.to_thread(worker.begin, asyncio.get_running_loop())
        looking = asyncio.create_task(worker.keep_looking(stop))
        try:
            await consume(broker, [RUN_EVENTS], GROUP, worker.take, stop, ready=ready)
        finally:
            looking.cancel()
    finally:
        await producer.stop()


@dataclass(frozen=True, slots=True)
class Begun:
    """An event that was read, and when; of its append more may be to come."""

    placed: Placed
    record: Record
    at: float  # seconds of the monotonic clock


class Worker:
    """Takes records of the public topic; those that are no events of ours become dead letters."""

    def __init__(
        self,
        engine: sa.Engine,
        producer: Producer,
        refold: Refold,
        now: Callable[[], datetime],
    ) -> None:
        self._engine, self._producer, self._refold = engine, producer, refold
        self._now = now
        self._begun: dict[int, Begun] = {}

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fill tables that are empty, of another shape, or another release's, from the store.

        Consumers' offsets do not know of them.
        """
        is_whole = state_of(self._engine) == "filled" and is_folded_by_this(self._engine)
        self.catch_up(loop, all_of_it=not is_whole)

    def catch_up(self, loop: asyncio.AbstractEventLoop, *, all_of_it: bool = False) -> None:
        """Refold the store when an older release set events aside that this one can read.

        Their offsets are committed, so they do not come again by themselves.
        """
        names = readable_now(self._engine)
        if all_of_it or names:
            logger.info("filling the read model", extra={"could_not_be_read": sorted(names)})
            self._refold(self._set_aside({}, loop))
            forget(self._engine, names)
            logger.info("filled the read model")

    async def keep_looking(self, stop: asyncio.Event) -> None:
        """Catch up again and again: an older projector may work beside this one for a while."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            await asyncio.sleep(LOOK_EVERY)
            try:
                await asyncio.to_thread(self.catch_up, loop)
            except (sa.exc.SQLAlchemyError, OSError, TimeoutError) as error:
                logger.warning("cannot catch up now", extra={"error": repr(error)})

    async def take(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return when the tables hold what the records say, but for appends that are not whole.

        Those are returned, and wait for their rest: rows of one append become visible together.
        """
        came, now = dict(self._begun), time.monotonic()
        for record in records:
            try:
                placed = _placed_in(record)
            except (UnknownMessage, BadMessage) as error:
                logger.warning("record set aside", extra={"error": str(error)})
                await self._bury(record, error)
                if isinstance(error, UnknownMessage):
                    await asyncio.to_thread(self._remember, record)
                continue
            # A copy that comes later must not move the offset that is committed past the first.
            came.setdefault(placed.position, Begun(placed, record, now))
        overdue = {at for at, one in came.items() if now - one.at > REST_WITHIN}
        whole = whole_appends([one.placed for one in came.values()], overdue)
        origins = {placed.position: came[placed.position].record for placed in whole}
        bury = self._set_aside(origins, asyncio.get_running_loop())
        await asyncio.to_thread(project_or_refold, self._engine, whole, bury, self._refold)
        self._begun = {at: one for at, one in came.items() if at not in origins}
        return [one.record for one in self._begun.values()]

    def _remember(self, record: Record) -> None:
        with writing(self._engine) as tx:
            remember(tx, [record.header("ce_type") or ""])

    def _set_aside(self, origins: dict[int, Record], loop: asyncio.AbstractEventLoop) -> SetAside:
        def bury(placed: Placed, reason: str) -> None:
            record = origins.get(placed.position) or record_of(
                RUN_EVENTS, placed.key, placed.envelope, position=placed.position
            )
            sending = asyncio.run_coroutine_threadsafe(self._bury(record, reason), loop)
            sending.result(ACKNOWLEDGED_WITHIN)

        return bury

    async def _bury(self, record: Record, error: Exception | str) -> None:
        for one in dead_letters.set_aside(record, error, CONSUMER, self._now()):
            await self._producer.publish(one)


def whole_appends(came: Sequence[Placed], overdue: Collection[int]) -> list[Placed]:
    """Return the events without those at the end of each key of whose append more is to come.

    Positions that are `overdue` wait no longer: the relay always sends the rest, a forger may not.
    """
    last: dict[str, int] = {}
    for placed in came:
        if not placed.envelope.more or placed.position in overdue:
            last[placed.key] = max(placed.position, last.get(placed.key, 0))
    return [placed for placed in came if placed.position <= last.get(placed.key, 0)]


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
