"""The orchestrator's process: one consumer of commands and reports, and the relay beside it."""

import asyncio
from collections.abc import Callable

from events.kafka.consumer import consume
from events.kafka.producers import Producer
from events.topics import COMMANDS, STAGE_REPORTS
from services.clock import new_id, now
from services.orchestrator.chain import open_chain
from services.orchestrator.consumer import Consumer
from services.orchestrator.handler import Handler
from services.orchestrator.relay import Relay
from services.orchestrator.store import StoreIsNewer, open_store, relay_lock
from services.places import broker_of
from services.settings import Settings, models_of

GROUP = "septet-orchestrator"


async def run(settings: Settings, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Decide and relay until `stop`; `ready` when the topics are there. Raises WrongTopic,
    and StoreIsNewer when a newer release has been here: this one must not decide any more."""
    broker = broker_of(settings)
    store, chain = open_store(settings), open_chain(settings)
    producer = Producer(broker)
    appended = asyncio.Event()
    handler = Handler(store, now, settings.batch_timeout_seconds, models_of(settings))
    consumer = Consumer(handler, producer.publish, appended, now)
    relay = Relay(store, chain, broker, appended, new_id)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_relay(settings, relay, stop, ready))
            tasks.create_task(
                consume(
                    broker,
                    [COMMANDS, STAGE_REPORTS],
                    GROUP,
                    consumer,
                    stop,
                    ends_with=(StoreIsNewer,),
                )
            )
    finally:
        await producer.stop()
        chain.close()
        store.close()


async def _relay(
    settings: Settings, relay: Relay, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Of several orchestrators one relays; the others are ready to take its place."""
    with relay_lock(settings) as is_mine:
        while not stop.is_set() and not await asyncio.to_thread(is_mine):
            ready()
            await asyncio.sleep(1)
        await relay.run(stop, ready)
