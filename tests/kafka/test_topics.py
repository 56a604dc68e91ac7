"""Topics of Apache Kafka: made as we need them, and those that would lose events stop the start."""

import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from events.kafka.admin import Admin, topics_made
from events.kafka.connection import Broker, WrongTopic
from events.topics import BROKER_EPOCH, COMMANDS, RUN_EVENTS, TOPICS
from services.cli.environment import inherited
from tests.engines.processes import free_port
from tests.system.septet import KEYWORDS, running, wait_for


def on(address: str, work: Any) -> Any:
    """Return what `work` returns, which gets a client of the administrator."""

    async def run() -> Any:
        client = AIOKafkaAdminClient(bootstrap_servers=address)
        await client.start()
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


def make_topics(address: str, replication: int = 1) -> None:
    """Do what the relay does when it connects."""

    async def make() -> None:
        admin = Admin(Broker(address, embedded=False, replication=replication))
        try:
            await admin.start()
            await admin.make_topics()
        finally:
            await admin.stop()

    asyncio.run(make())


def topic(name: str, partitions: int = 16, **configs: str) -> Any:
    """Return what makes a topic before us."""
    dotted = {key.replace("_", "."): value for key, value in configs.items()}

    def make(client: AIOKafkaAdminClient) -> Coroutine[Any, Any, Any]:
        return client.create_topics(
            [NewTopic(name, num_partitions=partitions, replication_factor=1, topic_configs=dotted)]
        )

    return make


def alter(address: str, name: str, **configs: str) -> None:
    """Give a topic these settings and take all others; return when the broker goes by them."""
    dotted = {key.replace("_", "."): value for key, value in configs.items()}
    wanted = ConfigResource(ConfigResourceType.TOPIC, name, dotted)
    on(address, lambda client: client.alter_configs([wanted]))

    async def is_so(client: AIOKafkaAdminClient) -> bool:
        [answer] = await client.describe_configs([wanted])
        [(*_, entries)] = answer.resources
        return {entry[0]: entry[1] for entry in entries} == dotted

    wait_for(f"{name} is altered", lambda: on(address, is_so), within=10)


def test_topics_are_made_with_every_setting_that_keeps_events(kafka: str):
    make_topics(kafka)

    async def described(client: AIOKafkaAdminClient) -> dict[str, dict[str, tuple[str, int]]]:
        asked = [ConfigResource(ConfigResourceType.TOPIC, one.name) for one in TOPICS]
        [answer] = await client.describe_configs(asked)
        return {
            name: {entry[0]: (entry[1], entry[3]) for entry in entries}
            for _, _, _, name, entries in answer.resources
        }

    by_topic = 1  # the source of a setting that was given with the topic itself
    found = on(kafka, described)
    for one in TOPICS:
        for setting, value in one.configs(1).items():
            assert found[one.name][setting] == (value, by_topic), (one.name, setting)
    kept = {name: found[RUN_EVENTS][name][0] for name in ("retention.ms", "retention.bytes")}
    assert kept == {"retention.ms": "-1", "retention.bytes": "-1"}
    assert found[RUN_EVENTS]["cleanup.policy"][0] == "delete"
    make_topics(kafka)  # what we made is what we want


OURS = {
    "retention_ms": "-1",
    "retention_bytes": "-1",
    "min_insync_replicas": "1",
    "max_message_bytes": "1048588",
    "unclean_leader_election_enable": "false",
}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cleanup_policy": "compact"}, "cleanup.policy is compact and must be delete"),
        (
            {"cleanup_policy": "compact,delete"},
            "cleanup.policy is compact,delete and must be delete",
        ),
        ({"retention_ms": "31536000000"}, "retention.ms is 31536000000 and must be -1"),
        ({"retention_bytes": "1073741824"}, "retention.bytes is 1073741824 and must be -1"),
        ({"min_insync_replicas": "2"}, "min.insync.replicas is 2 and must be 1"),
        ({"max_message_bytes": "1000"}, "max.message.bytes is 1000 and must be 1048588"),
        (
            {"unclean_leader_election_enable": "true"},
            "unclean.leader.election.enable is true and must be false",
        ),
    ],
)
def test_a_topic_that_would_lose_or_block_events_stops_the_start(
    shared_kafka: str, wrong: dict[str, str], says: str
):
    make_topics(shared_kafka)
    alter(shared_kafka, RUN_EVENTS, **OURS | wrong)
    try:
        with pytest.raises(WrongTopic) as stopped:
            make_topics(shared_kafka)
    finally:
        alter(shared_kafka, RUN_EVENTS, **OURS)
    setting = next(iter(wrong)).replace("_", ".")
    expected = says.rpartition(" ")[2]
    assert str(stopped.value) == (
        f"septet.run-events: {says} (kafka-configs.sh --bootstrap-server {shared_kafka} --alter "
        f"--entity-type topics --entity-name septet.run-events --add-config {setting}={expected})"
    )
    make_topics(shared_kafka)


def test_shorter_retention_of_commands_stops_and_a_longer_one_is_told(
    shared_kafka: str, caplog: pytest.LogCaptureFixture
):
    make_topics(shared_kafka)
    week = 7 * 24 * 60 * 60 * 1000
    alter(shared_kafka, COMMANDS, **OURS | {"retention_ms": str(week - 1)})
    with pytest.raises(WrongTopic, match=f"retention.ms is {week - 1} and must be {week}"):
        make_topics(shared_kafka)
    alter(shared_kafka, COMMANDS, **OURS | {"retention_ms": "-1"})
    make_topics(shared_kafka)
    told = [one for one in caplog.records if getattr(one, "topic", "") == COMMANDS]
    assert [(getattr(one, "setting", ""), getattr(one, "is", "")) for one in told] == [
        ("retention.ms", "-1")
    ]


def test_fewer_copies_than_configured_and_too_few_brokers_stop_the_start(
    kafka: str, shared_kafka: str
):
    make_topics(shared_kafka)
    with pytest.raises(WrongTopic, match="every topic of Septet: replication is 1 and must be 3"):
        make_topics(shared_kafka, replication=3)
    with pytest.raises(WrongTopic, match=r"cannot make septet\..* replication factor"):
        make_topics(kafka, replication=3)


def test_another_number_of_partitions_stops_everything_with_one_line_and_the_remedy_works(
    kafka: str, tmp_path: Path
):
    given = {"SEPTET_KAFKA_BOOTSTRAP_SERVERS": kafka}
    with running(tmp_path / "data", **given) as septet:
        run_id = septet.start_run(septet.new_site(KEYWORDS[:1]))
        assert septet.finished(run_id)["status"] == "completed"
        before = {record.header("ce_id") for record in septet.records(RUN_EVENTS)}
        septet.stop()
        on(kafka, lambda client: client.delete_topics([RUN_EVENTS]))
        wait_for("it is gone", lambda: RUN_EVENTS not in on(kafka, lambda c: c.list_topics()))
        on(kafka, topic(RUN_EVENTS, partitions=12))

        done = subprocess.run(
            [sys.executable, "-m", "services.cli.main", "up"],
            env=inherited(data_dir=str(tmp_path / "data"), port=str(free_port()))
            | {"SEPTET_KAFKA_BOOTSTRAP_SERVERS": kafka},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        [line] = done.stderr.splitlines()
        assert done.returncode == 1
        assert line.startswith("error: orchestrator ended with code 2; see ")
        assert "septet.run-events: partitions is 12 and must be 16 (keys would live else" in line
        assert f"--delete --topic {RUN_EVENTS} and kafka-topics.sh" in line

        on(kafka, lambda client: client.delete_topics([RUN_EVENTS, BROKER_EPOCH]))
        septet.start()
        wait_for(
            "all events are there again",
            lambda: before <= {record.header("ce_id") for record in septet.records(RUN_EVENTS)},
        )
        second = septet.start_run(septet.new_site(KEYWORDS[:1]))
        assert septet.finished(second)["status"] == "completed"
        septet.check()


def test_a_service_that_waits_for_topics_says_for_which(
    kafka: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("events.kafka.admin.TELL_AFTER", 0.2)
    on(kafka, topic(COMMANDS))

    async def wait() -> None:
        stop = asyncio.Event()
        waiting = asyncio.create_task(
            topics_made(Broker(kafka, embedded=False), [COMMANDS, RUN_EVENTS], stop)
        )
        await asyncio.sleep(1)
        assert not waiting.done()
        stop.set()
        await waiting

    asyncio.run(wait())
    [told] = [one for one in caplog.records if one.name == "events.kafka.admin"]
    assert told.getMessage().startswith("waiting for topics that the orchestrator makes")
    assert getattr(told, "topics", None) == [RUN_EVENTS]
