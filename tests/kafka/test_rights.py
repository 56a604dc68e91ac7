"""The rights that docs/kafka.md gives each service are enough for a pipeline, and no more."""

import asyncio
import shlex
import socket
import struct
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from events.kafka.connection import AnswerLost, NothingSent
from events.kafka.producers import Producer
from events.topics import COMMANDS, RUN_EVENTS, Record
from services.places import broker_of
from tests.engines.secured import PASSWORD, SERVICES, SecuredBroker
from tests.kafka.test_security import by_password, settings_of, variables
from tests.system.septet import KEYWORDS, Septet, wait_for

PAGE = Path(__file__).parents[2] / "docs" / "kafka.md"
CREATE_ACLS = 30
TOPIC, GROUP, LITERAL, PREFIXED, ALLOW = 2, 3, 3, 4, 3
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
Right = tuple[int, str, int, str, int]  # kind, name, pattern, principal, operation


def documented() -> Iterator[Right]:
    """Yield every right of the page, as kafka-acls.sh would read it."""
    parser = ArgumentParser()
    parser.add_argument("--allow-principal")
    parser.add_argument("--resource-pattern-type", default="literal")
    for name in ("--operation", "--topic", "--group"):
        parser.add_argument(name, action="append", default=[])
    block = PAGE.read_text(encoding="utf-8").split("```acls\n")[1].split("```")[0]
    for line in block.splitlines():
        given = parser.parse_args(shlex.split(line))
        pattern = {"literal": LITERAL, "prefixed": PREFIXED}[given.resource_pattern_type]
        named = [*((TOPIC, one) for one in given.topic), *((GROUP, one) for one in given.group)]
        for kind, name in named:
            for operation in given.operation:
                yield kind, name, pattern, given.allow_principal, OPERATIONS[operation]


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def grant(address: str, rights: list[Right]) -> None:
    """Send CreateAcls, version 1, which our client library does not have."""
    body = struct.pack(">i", len(rights))
    for kind, name, pattern, principal, operation in rights:
        body += struct.pack(">b", kind) + text(name) + struct.pack(">b", pattern)
        body += text(principal) + text("*") + struct.pack(">bb", operation, ALLOW)
    request = struct.pack(">hhi", CREATE_ACLS, 1, 1) + text("septet-tests") + body
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        stream = connection.makefile("rb")
        answer = stream.read(struct.unpack(">i", stream.read(4))[0])
    _, _, count = struct.unpack_from(">iii", answer)
    assert count == len(rights)
    at = 12
    for _ in range(count):
        code, length = struct.unpack_from(">hh", answer, at)
        at += 4 + max(length, 0)
        assert code == 0, answer


@contextmanager
def apart(broker: SecuredBroker, folder: Path) -> Iterator[Septet]:
    """Run every service under its own name; end them all."""
    septet = Septet(folder, **variables(by_password(broker)))
    subprocess.run(
        [sys.executable, "-m", "services.cli.main", "migrate"], env=septet.environment, check=True
    )
    with (folder / "out").open("ab") as out:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "services.cli.main", one.removeprefix("septet-")],
                env=septet.environment | {"SEPTET_KAFKA_USERNAME": one},
                stdout=out,
                stderr=out,
            )
            for one in SERVICES
        ]
    try:
        wait_for("every service answers", lambda: _is_ready(septet), within=90)
        yield septet
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _is_ready(septet: Septet) -> bool:
    try:
        return septet.api.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_the_documented_rights_are_enough_for_a_pipeline_and_no_more(
    secured: SecuredBroker, tmp_path: Path
):
    grant(secured.address, list(documented()))
    with apart(secured, tmp_path / "data") as septet:
        septet.new_account()
        run_id = septet.start_run(septet.new_site(KEYWORDS[:2]))
        assert septet.finished(run_id)["status"] == "completed"
        septet.check()

    async def publish(name: str, topic: str) -> None:
        given = by_password(secured, kafka_username=name, kafka_password=PASSWORD)
        producer = Producer(broker_of(settings_of(given)))
        try:
            await producer.publish(Record(topic, b"key", b"forged", ()))
        finally:
            await producer.stop()

    for name, topic in (("septet-stage-worker", COMMANDS), ("septet-api", RUN_EVENTS)):
        with pytest.raises((AnswerLost, NothingSent)):
            asyncio.run(publish(name, topic))
