"""The Faust shell: one app a stage, a batch a message, parallel across partitions only."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust
import sqlalchemy as sa
from faust.contrib.asgi import faust_app_running
from faust.transport.drivers import aiokafka as driver

from events.kafka.connection import Broker, Security
from events.kafka.consumer import LOOK_FOR_TOPICS, Pace
from events.kafka.producers import Producer, partition_of
from events.kafka.same_broker import SameBroker
from events.topics import Record, stage_topic
from projections import timers
from projections.database import open_engine, reading
from services.artifacts import Artifacts, open_artifacts
from services.clock import now
from services.places import broker_of, read_model_url
from services.settings import Settings
from services.stage_workers.ai.choice import provider_of
from services.stage_workers.ai.local.embeddings import embedder
from services.stage_workers.ai.model import ProviderOf
from services.stage_workers.away import broker_there, said_again
from services.stage_workers.batch import Stage
from services.stage_workers.hearing import Hearing, patience_of
from services.stage_workers.quality.gates import Gates
from services.stage_workers.quality.grammar_process import GrammarProcess
from services.stage_workers.reading import Reader
from services.stage_workers.stage_1_clusters import MakeClusters
from services.stage_workers.stage_2_ideas import Embed, MakeIdeas, meaningless
from services.stage_workers.stage_3_tasks import MakeTasks
from services.stage_workers.stage_4_content import WriteDrafts
from services.stage_workers.stage_5_prompts import WritePrompts
from services.stage_workers.stage_6_images import RenderImages
from services.stage_workers.stage_7_review import HandOver
from services.stage_workers.threads import in_thread
from services.stage_workers.worker import Worker
from services.vault import open_vault

logger = logging.getLogger(__name__)

QUIET_WAIT = 800  # milliseconds
OF_THE_TIMEOUT = 0.9  # that a batch may take, so that its report comes before it is asked again
LISTEN_EVERY = 5.0  # seconds between looks whether each app still hears what it is asked


def group_of(stage: int) -> str:
    """Return the consumer group of a stage's workers."""
    return f"septet-stage-{stage}"


def gates_of(settings: Settings, reader: Reader) -> Gates | None:
    """Return what drafts are judged with: for benchmarks, which no reader ever sees, nothing."""
    if settings.ai_provider == "instant":
        return None
    return Gates(reader.neighbours, GrammarProcess())


def stages_of(
    reader: Reader,
    provider: ProviderOf,
    embed: Embed,
    artifacts: Artifacts,
    gates: Gates | None = None,
) -> tuple[Stage, ...]:
    """Return the seven, in order; without gates no draft is judged."""
    return (
        MakeClusters(
            read=reader.keywords,
            read_stage=reader.stage_keywords,
            read_names=reader.cluster_names,
            provider=provider,
        ),
        MakeIdeas(read=reader.clusters, provider=provider, embed=embed),
        MakeTasks(read=reader.ideas),
        WriteDrafts(read=reader.tasks, provider=provider, put=artifacts.put, gates=gates),
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


def credentials_of(security: Security) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """Return the same security as Faust takes it."""
    if security.mechanism is not None:
        return faust.SASLCredentials(
            mechanism=security.mechanism,
            username=security.username,
            password=security.password,
            ssl_context=security.tls,
        )
    return faust.SSLCredentials(security.tls) if security.tls is not None else None


def stage_app(
    worker: Worker,
    stage: int,
    broker: Broker,
    group: str,
    batch_timeout: float,
    data_dir: Path,
    pace: Pace,
    hearing: Hearing,
) -> Any:
    """Return the app of one stage. Build it in the loop that runs it, else Faust refuses."""
    session = broker.session_ms / 1000
    rebalance = 30.0 if broker.embedded else batch_timeout + 60  # a longer batch is evicted
    app: Any = faust.App(
        group,
        broker=";".join(f"kafka://{one}" for one in broker.bootstrap_servers.split(",")),
        broker_credentials=credentials_of(broker.security),
        broker_session_timeout=session,
        broker_heartbeat_interval=session / 5,
        broker_rebalance_timeout=rebalance,
        broker_request_timeout=max(90.0, rebalance + 30),
        broker_max_poll_interval=86_400.0,  # else a full buffer ends membership for ever
        broker_commit_interval=1.0,
        consumer_metadata_max_age_ms=LOOK_FOR_TOPICS,
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
            hearing.begin(event.message.partition)
            try:
                await worker.answer(_record_of(event))
            except Exception:
                # Not acknowledged, so the next process gets the request; an exception that left
                # this loop would have Faust commit it as done.
                logger.exception("cannot answer, ending the process")
                os._exit(os.EX_TEMPFAIL)
            finally:  # a rebalance cancels this: what is cut off is not in hand any more
                hearing.end(event.message.partition, time.monotonic())
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


@dataclass(frozen=True, slots=True)
class Listener:
    """A stage's running app, and whether it hears."""

    stage: int
    app: Any
    hearing: Hearing

    def require_hearing(self, engine: sa.Engine) -> None:
        """Raise Deaf when the app has crashed, or hears nothing of what its stage is asked.

        Faust keeps a crashed app's process alive, and groups that stand still after a rebalance
        are known upstream: a fresh process joins anew, and what was not answered comes again.
        """
        if self.app.crashed:
            raise Deaf(f"the consumer of stage {self.stage} crashed: {self.app.crash_reason!r}")
        topic = stage_topic(self.stage)
        mine = {place.partition for place in self.app.consumer.assignment()}
        with reading(engine) as tx:
            rows = timers.unanswered(tx, self.stage)
        # Without a partition it may be one worker too many, until an attempt has timed out.
        waiting = {
            row.timer_id: partition
            for row in rows
            if (partition := partition_of(topic, row.run_id.encode())) in mine
            or (not mine and (row.attempt or 1) > 1)
        }
        if unheard := self.hearing.unheard(waiting, time.monotonic()):
            raise Deaf(f"the consumer of stage {self.stage} does not hear {unheard}")


class Deaf(Exception):
    """A consumer will not be handed what waits for it."""


async def _watch(same: SameBroker) -> None:
    """End the process, which is started anew, when the broker has lost what it is a member of."""
    reason = await same.lost()
    logger.critical("ending the process", extra={"reason": str(reason)})
    os._exit(os.EX_TEMPFAIL)


async def _listen(listeners: Sequence[Listener], engine: sa.Engine) -> None:
    """End the process, which is started anew, when one of the apps is deaf."""
    while True:
        await asyncio.sleep(LISTEN_EVERY)
        for listener in listeners:
            try:
                await in_thread(listener.require_hearing, engine)
            except Deaf as reason:
                logger.critical("ending the process", extra={"reason": str(reason)})
                os._exit(os.EX_TEMPFAIL)
            except sa.exc.OperationalError:
                logger.info("the read model cannot be asked who waits")


async def _until(stop: asyncio.Event, pace: Pace) -> None:
    while not stop.is_set():
        pace.set()
        try:
            async with asyncio.timeout(1):
                await stop.wait()
        except TimeoutError:
            continue


def _listener(
    worker: Worker, stage: int, broker: Broker, same: SameBroker, settings: Settings, pace: Pace
) -> Listener:
    timeout = settings.batch_timeout_seconds
    hearing = Hearing(patience_of(timeout))
    group = same.group(group_of(stage))
    app = stage_app(worker, stage, broker, group, timeout, settings.data_dir, pace, hearing)
    return Listener(stage, app, hearing)


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
    vault = await in_thread(open_vault, settings)
    provider = provider_of(settings, engine, vault)
    is_measured = settings.ai_provider == "instant"  # which compares no meanings
    embed = meaningless if is_measured else embedder()
    every = stages_of(reader, provider, embed, artifacts, gates_of(settings, reader))
    chosen = [one for one in every if one.number in stages]
    within = settings.batch_timeout_seconds * OF_THE_TIMEOUT
    try:
        same = await broker_there(broker, [stage.number for stage in chosen], stop)
        if same is None:
            return
        async with AsyncExitStack() as running:
            running.push_async_callback(same.stop)
            listeners = [
                _listener(
                    Worker(stage, reader, said_again(producer.publish), now, within),
                    stage.number,
                    broker,
                    same,
                    settings,
                    pace,
                )
                for stage in chosen
            ]
            await asyncio.gather(
                *(
                    running.enter_async_context(faust_app_running(one.app, stop_timeout=30))
                    for one in listeners
                )
            )
            ready()
            async with asyncio.TaskGroup() as tasks:  # a bug in one of them ends the process
                looking_on = [
                    tasks.create_task(_listen(listeners, engine)),
                    tasks.create_task(_watch(same)),
                ]
                await _until(stop, pace)
                for one in looking_on:
                    one.cancel()
    finally:
        await producer.stop()
        vault.close()
        engine.dispose()
