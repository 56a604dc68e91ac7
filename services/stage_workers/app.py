"""The Faust shell: one app a stage, a batch a message, parallel across partitions only."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import faust
from faust.contrib.asgi import faust_app_running
from faust.transport.drivers import aiokafka as driver

from events.kafka import Broker, Pace, Producer, topics_made
from events.pipeline import STAGES
from events.topics import BROKER_EPOCH, STAGE_REPORTS, Record, stage_topic
from projections.database import open_engine
from services.artifacts import Artifacts, open_artifacts
from services.clock import now
from services.places import broker_of, read_model_url
from services.settings import Settings
from services.stage_workers.ai.instant import InstantProvider
from services.stage_workers.ai.local.provider import LocalProvider
from services.stage_workers.ai.model import Provider
from services.stage_workers.batch import Stage
from services.stage_workers.reading import Reader
from services.stage_workers.stage_1_clusters import MakeClusters
from services.stage_workers.stage_2_ideas import MakeIdeas
from services.stage_workers.stage_3_tasks import MakeTasks
from services.stage_workers.stage_4_content import WriteDrafts
from services.stage_workers.stage_5_prompts import WritePrompts
from services.stage_workers.stage_6_images import RenderImages
from services.stage_workers.stage_7_review import HandOver
from services.stage_workers.worker import Worker

logger = logging.getLogger(__name__)

QUIET_WAIT = 800  # milliseconds


def group_of(stage: int) -> str:
    """Return the consumer group of a stage's workers."""
    return f"septet-stage-{stage}"


def stages_of(reader: Reader, provider: Provider, artifacts: Artifacts) -> tuple[Stage, ...]:
    """Return the seven, in order."""
    return (
        MakeClusters(read=reader.keywords, read_stage=reader.stage_keywords, provider=provider),
        MakeIdeas(read=reader.clusters, provider=provider),
        MakeTasks(read=reader.ideas),
        WriteDrafts(read=reader.tasks, provider=provider, put=artifacts.put),
        WritePrompts(read=reader.drafts, provider=provider),
        RenderImages(read=reader.prompts, provider=provider, put=artifacts.put),
        HandOver(),
    )


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        pace: Pace = self.app.septet_pace  # type: ignore[attr-defined]  # set by stage_app
        consumer._fetch_max_wait_ms = pace.wait_ms  # Faust hard-codes 1500
        pace.keep(consumer)
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> Any:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):
    Consumer = _Consumer


def stage_app(
    worker: Worker, stage: int, broker: Broker, batch_timeout: float, data_dir: Path, pace: Pace
) -> Any:
    """Return the app of one stage. Build it in the loop that runs it, else Faust refuses."""
    session = broker.session_ms / 1000
    rebalance = 30.0 if broker.embedded else batch_timeout + 60  # a longer batch is evicted
    app: Any = faust.App(
        group_of(stage),
        broker=";".join(f"kafka://{one}" for one in broker.bootstrap_servers.split(",")),
        broker_session_timeout=session,
        broker_heartbeat_interval=session / 5,
        broker_rebalance_timeout=rebalance,
        broker_request_timeout=max(90.0, rebalance + 30),
        broker_max_poll_interval=86_400.0,  # else a full buffer ends membership for ever
        broker_commit_interval=1.0,
        stream_wait_empty=True,
        producer_request_timeout=20.0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        store="memory://",
        datadir=data_dir / "faust" / group_of(stage),
        web_enabled=False,
        autodiscover=False,
        worker_redirect_stdouts=False,
    )
    app.septet_pace = pace
    if broker.embedded:
        app.transport = _Transport(app.conf.broker_consumer, app)
    requests = app.topic(
        stage_topic(stage),
        value_type=bytes,
        value_serializer="raw",
        key_type=bytes,
        key_serializer="raw",
    )

    async def answer_requests(stream: Any) -> None:
        async for event in stream.noack().events():
            pace.touch()
            try:
                await worker.answer(_record_of(event))
            except Exception:
                # Not acknowledged, so the next process gets the request; an exception that left
                # this loop would have Faust commit it as done.
                logger.exception("cannot answer, ending the process")
                os._exit(os.EX_TEMPFAIL)
            event.ack()

    app.agent(requests, isolated_partitions=True, name=group_of(stage))(answer_requests)
    return app


def _record_of(event: Any) -> Record:
    message = event.message
    headers = event.headers or {}
    pairs = headers.items() if isinstance(headers, dict) else headers
    return Record(
        topic=message.topic,
        key=message.key,
        value=message.value,
        headers=tuple((name, value or b"") for name, value in pairs),
        partition=message.partition,
        offset=message.offset,
    )


async def _until(stop: asyncio.Event, pace: Pace) -> None:
    while not stop.is_set():
        pace.set()
        try:
            async with asyncio.timeout(1):
                await stop.wait()
        except TimeoutError:
            continue


def provider_of(settings: Settings) -> Provider:
    """Return the provider that the settings name."""
    return InstantProvider() if settings.ai_provider == "instant" else LocalProvider()


async def run(
    settings: Settings,
    stages: Sequence[int],
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    """Work for these stages until `stop`; a batch in hand is finished first."""
    broker = broker_of(settings)
    engine = open_engine(read_model_url(settings))
    artifacts = open_artifacts(settings)
    (settings.data_dir / "faust").mkdir(parents=True, exist_ok=True)
    producer = Producer(broker)
    pace = Pace(broker, QUIET_WAIT)
    reader = Reader(engine, artifacts.get)
    chosen = [
        one for one in stages_of(reader, provider_of(settings), artifacts) if one.number in stages
    ]
    try:
        names = [stage_topic(stage.number) for stage in STAGES]
        await topics_made(broker, [BROKER_EPOCH, STAGE_REPORTS, *names], stop)
        async with AsyncExitStack() as running:
            apps = [
                stage_app(
                    Worker(stage, reader, producer.publish, now),
                    stage.number,
                    broker,
                    settings.batch_timeout_seconds,
                    settings.data_dir,
                    pace,
                )
                for stage in chosen
            ]
            await asyncio.gather(
                *(
                    running.enter_async_context(faust_app_running(app, stop_timeout=30))
                    for app in apps
                )
            )
            ready()
            await _until(stop, pace)
    finally:
        await producer.stop()
        engine.dispose()
