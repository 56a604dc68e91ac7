"""Apache Kafka that asks who we are: every client gets in, or one line says why not."""

import asyncio
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from events.kafka.admin import Admin
from events.kafka.connection import Broker, NotLetIn
from events.kafka.consumer import consume
from events.kafka.producers import OrderedProducer, Producer
from events.kafka.reading import read_all
from events.topics import (
    COMMANDS,
    DEAD_LETTERS,
    RUN_EVENTS,
    STAGE_REPORTS,
    Record,
    stage_topic,
)
from projections.database import open_engine
from services.cli.environment import inherited
from services.cli.readiness import Readiness
from services.places import broker_of
from services.settings import Settings
from services.stage_workers import app
from tests.engines.processes import free_port
from tests.engines.secured import PASSWORD, USER, SecuredBroker
from tests.system.septet import KEYWORDS, running

BATCH = struct.Struct(">qiibIhiqqq")  # of a segment: offset, length, …, the producer's id
WRONG = "not-the-password"
CLOSED = "does not let septet in. Correct SEPTET_KAFKA_USERNAME or SEPTET_KAFKA_PASSWORD"


def by_password(broker: SecuredBroker, **other: str) -> dict[str, str]:
    return {
        "kafka_bootstrap_servers": broker.with_password,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_username": USER,
        "kafka_password": PASSWORD,
        "kafka_ca_file": str(broker.certificates.authority),
        **other,
    }


def by_certificate(broker: SecuredBroker) -> dict[str, str]:
    return {
        "kafka_bootstrap_servers": broker.with_certificate,
        "kafka_security_protocol": "SSL",
        "kafka_ca_file": str(broker.certificates.authority),
        "kafka_certificate_file": str(broker.certificates.client),
    }


def variables(settings: dict[str, str]) -> dict[str, str]:
    return {f"SEPTET_{name.upper()}": value for name, value in settings.items()}


def settings_of(given: dict[str, str]) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg,arg-type]


def producers_of(data: Path, topic: str) -> Iterator[int]:
    """Yield the producer's id of every batch that a topic has; -1 is none: not idempotent."""
    for segment in data.glob(f"{topic}-[0-9]*/*.log"):
        content = segment.read_bytes()
        at = 0
        while at + BATCH.size <= len(content):
            _, length, *_, producer = BATCH.unpack_from(content, at)
            if not length:
                break  # the file may be longer than what was written
            yield producer
            at += 12 + length


def written_below(folder: Path) -> str:
    files = [*folder.glob("logs/*"), *folder.glob("up.out")]
    return "".join(file.read_text(errors="replace") for file in files)


def test_a_whole_run_over_tls_with_a_password_that_no_log_tells(
    secured: SecuredBroker, tmp_path: Path
):
    given = variables(by_password(secured, log_level="DEBUG"))
    with running(tmp_path / "data", **given) as septet:
        run_id = septet.start_run(septet.new_site(KEYWORDS[:2]))
        assert septet.finished(run_id)["status"] == "completed"
        septet.check()
        everyone = septet.api.get("/readyz").json()
        assert set(everyone["checks"].values()) == {"ok"}
        assert septet.stop() == 0
    written = written_below(tmp_path / "data")
    assert "relay connected" in written
    assert PASSWORD not in written
    # Such a producer has acks=all: the client refuses any other.
    for topic in (COMMANDS, stage_topic(1), STAGE_REPORTS, RUN_EVENTS):
        found = list(producers_of(secured.data, topic))
        assert found, topic
        assert min(found) >= 0, topic


def test_a_certificate_of_ours_is_enough_where_it_is_asked_for(secured: SecuredBroker):
    broker = broker_of(settings_of(by_certificate(secured)))
    letter = Record(DEAD_LETTERS, b"key", b"by certificate", ())

    async def use() -> list[Record]:
        admin, producer, ordered = Admin(broker), Producer(broker), OrderedProducer(broker)
        try:
            await admin.start()
            await admin.make_topics()
            await producer.publish(letter)
            await ordered.start()
            await ordered.send([letter])
            return [record async for record in read_all(broker, DEAD_LETTERS)]
        finally:
            await producer.stop()
            await ordered.stop()
            await admin.stop()

    assert [record.value for record in asyncio.run(use())].count(b"by certificate") == 2


def test_a_wrong_password_stops_everything_with_one_line(secured: SecuredBroker, tmp_path: Path):
    given = {"data_dir": str(tmp_path), "port": str(free_port()), "kafka_password": WRONG}
    done = subprocess.run(
        [sys.executable, "-m", "services.cli.main", "up"],
        env=inherited(**by_password(secured, **given)),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    [line] = done.stderr.splitlines()
    assert line.startswith("error: orchestrator ended with code 2; see ")
    assert line.endswith(f"error: the broker at {secured.with_password} {CLOSED}")
    assert done.returncode == 1
    written = written_below(tmp_path) + done.stdout
    assert "Traceback" not in written
    assert WRONG not in written


def refusals(broker: Broker, settings: Settings, folder: Path) -> list[str]:
    """Return what each kind of service says at its start."""

    async def nothing(_: Sequence[Record]) -> None:
        return

    async def say() -> list[str]:
        stop = asyncio.Event()
        found = await asyncio.gather(
            consume(broker, [COMMANDS], "septet-test", nothing, stop),
            app.run(settings, [3], stop, lambda: None),
            return_exceptions=True,
        )
        assert all(isinstance(one, NotLetIn) for one in found), found
        readiness = Readiness(settings, open_engine(f"sqlite:///{folder / 'read-model.db'}"))
        looked = await readiness.look()
        await readiness.close()
        return [*(str(one) for one in found), looked["broker"]]

    return asyncio.run(say())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kafka_password": WRONG}, CLOSED),
        ({"kafka_username": "somebody"}, "does not let somebody in."),
        ({"kafka_sasl_mechanism": "SCRAM-SHA-256"}, "Correct SEPTET_KAFKA_SASL_MECHANISM"),
        ({"kafka_ca_file": ""}, "Correct SEPTET_KAFKA_CA_FILE"),
    ],
)
def test_services_end_and_readiness_tells_when_the_broker_refuses_us(
    secured: SecuredBroker, tmp_path: Path, wrong: dict[str, str], says: str
):
    given = by_password(secured, data_dir=str(tmp_path)) | wrong
    settings = settings_of({name: value for name, value in given.items() if value})
    consumer, worker, broker = refusals(broker_of(settings), settings, tmp_path)
    assert says in consumer
    assert says in worker
    assert broker == "does not let us in"
