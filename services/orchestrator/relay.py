"""Publishes the store in its order, and all of it again to a broker that has lost it."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from events.kafka.admin import Admin
from events.kafka.connection import LOST, AnswerLost, Broker, NothingSent, OtherBroker
from events.kafka.producers import OrderedProducer
from events.kafka.reading import epoch_of
from events.topics import Record, published
from services.orchestrator.chain import Chain
from services.orchestrator.store import Store, Stored

logger = logging.getLogger(__name__)

CHECK_EVERY = 0.5  # seconds between looks at who answers, and between savings of the position
IDLE_WAIT = 0.05  # seconds between looks at the store while no append of ours wakes the relay
AWAY = (*LOST, NothingSent, AnswerLost, OtherBroker)


class Relay:
    """One life of it is one connection: topics, epoch, then the store from where the epoch stands.

    The position is saved only after every acknowledgement and a look at who gave it, so a broker
    that came back empty under an open connection is noticed before anything is taken for sent.

    As it reads the store in its order, it continues the chain of every key, and each public record
    carries its head. Events that are published again are compared with what was recorded of them.
    """

    def __init__(
        self,
        store: Store,
        chain: Chain,
        broker: Broker,
        appended: asyncio.Event,
        new_id: Callable[[str], str],
    ) -> None:
        self._store, self._chain, self._broker = store, chain, broker
        self._appended, self._new_id = appended, new_id

    async def run(self, stop: asyncio.Event, connected: Callable[[], None]) -> None:
        """Relay until `stop`. Raises WrongTopic when a topic is not ours to use."""
        while not stop.is_set():
            try:
                await self._life(stop, connected)
            except AWAY as error:
                logger.warning(
                    "relay lost the broker, connecting again",
                    extra={"error": repr(error)},
                )
                await asyncio.sleep(0.3)

    async def _life(self, stop: asyncio.Event, connected: Callable[[], None]) -> None:
        admin = Admin(self._broker)
        producer = OrderedProducer(self._broker)
        try:
            await admin.start()
            cluster = await admin.cluster()
            await admin.make_topics()
            reader = f"relay:{await epoch_of(self._broker, self._new_id('epoch'))}"
            await producer.start()
            position = await asyncio.to_thread(self._store.position_of, reader)
            await self._link_up_to(position, stop)
            logger.info("relay connected", extra={"reader": reader, "position": position})
            connected()
            await self._relay(admin, producer, cluster, reader, position, stop)
        finally:
            await producer.stop()
            await admin.stop()

    async def _relay(
        self,
        admin: Admin,
        producer: OrderedProducer,
        cluster: str,
        reader: str,
        position: int,
        stop: asyncio.Event,
    ) -> None:
        saved, checked_at = position, time.monotonic()
        while not stop.is_set():
            self._appended.clear()
            page = await asyncio.to_thread(self._store.page, position)
            if page:
                await producer.send(await asyncio.to_thread(self._records, page, position))
                position = page[-1].placed.position
            if time.monotonic() - checked_at >= CHECK_EVERY:
                await admin.require_same(cluster)
                if position > saved:
                    await asyncio.to_thread(self._store.track, reader, position)
                    saved = position
                checked_at = time.monotonic()
            if not page:
                await self._wait()

    async def _link_up_to(self, position: int, stop: asyncio.Event) -> None:
        """Link what was published before there was a chain, or before a power cut took its end."""
        reached = await asyncio.to_thread(self._chain.begin)
        while reached < position and not stop.is_set():
            page = await asyncio.to_thread(self._store.page, reached)
            if not page:  # the store has lost its end; what takes its place will not agree
                break
            await asyncio.to_thread(self._chain.extend, page, reached)
            reached = page[-1].placed.position
        await asyncio.to_thread(self._chain.begin)

    def _records(self, page: Sequence[Stored], after: int) -> list[Record]:
        heads = self._chain.extend(page, after)
        return [
            record
            for stored in page
            for record in published(
                replace(stored.placed, head=heads.get(stored.placed.position)),
                stored.name,
                stored.body,
            )
        ]

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(IDLE_WAIT):
                await self._appended.wait()
        except TimeoutError:
            return
