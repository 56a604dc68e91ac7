"""docker-compose.yml says what the tests on real engines run, and nothing that they do not."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from services.heartbeats import BEAT_EVERY
from tests.contracts.deployment import (
    ROOT,
    SECRETS,
    SERVICE,
    Missing,
    Tree,
    compose,
    containers,
    hosts_in,
    ours,
    parses,
    read,
    secrets_as_needed,
)
from tests.engines.kafka import properties_of
from tests.system.test_processes import SERVICES

# What names a place or a size of one machine; all else must be as on the broker of the tests.
OF_THE_PLACE = {
    "listeners",
    "advertised.listeners",
    "controller.quorum.voters",
    "log.dirs",
    "offsets.topic.num.partitions",
    "transaction.state.log.num.partitions",
    "log.cleaner.dedupe.buffer.size",
}


def seconds(text: str) -> int:
    return int(re.fullmatch(r"(\d+)s", text)[1])  # type: ignore[index]


def test_it_is_a_compose_file() -> None:
    schema = json.loads((ROOT / "tests/contracts/schemas/compose-spec.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(compose(**SECRETS))


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_no_secret_has_a_default(name: str) -> None:
    with pytest.raises(Missing, match=name):
        compose(**{other: value for other, value in SECRETS.items() if other != name})


def test_every_service_is_a_container_with_the_command_that_the_system_tests_run() -> None:
    started = {name: tuple(one["command"]) for name, one in ours().items()}
    assert started.pop("migrate") == ("migrate",)
    assert set(started.values()) <= set(SERVICES)
    assert sorted(started) == sorted(
        "-".join((command[0], *command[2:]))
        for command in set(SERVICES)
        if command.count("--stage") < 2  # no container does the work of two stages
    )
    for name, command in started.items():
        assert parses(list(command)) == command[0]
        assert SERVICE.fullmatch(name)


@pytest.mark.parametrize("name", sorted(ours()))
def test_every_variable_is_a_setting(name: str) -> None:
    settings = read(ours()[name]["environment"])
    assert not settings.embedded_broker
    assert settings.database_url.get_secret_value().startswith("postgresql://septet:a-password@")
    secrets_as_needed(settings, name)


def test_kafka_is_set_up_as_in_the_tests() -> None:
    given = {
        name.removeprefix("KAFKA_").replace("_", ".").lower(): str(value)
        for name, value in containers()["kafka"]["environment"].items()
    }
    settings = properties_of(9092, 9093, Path("/var/lib/kafka/data"))
    tested = dict(line.split("=", 1) for line in settings.splitlines())
    expected = {name: value for name, value in tested.items() if name not in OF_THE_PLACE}
    assert {name: given.get(name) for name in expected} == expected
    assert given.keys() - tested.keys() == {"cluster.id", "heap.opts", "inter.broker.listener.name"}
    assert given["advertised.listeners"] == "PLAINTEXT://kafka:9092"


def test_kafka_is_of_the_release_that_the_tests_run() -> None:
    pom = (ROOT / "tests/engines/pom.xml").read_text("utf-8")
    release = re.search(r"<kafka\.version>([\d.]+)<", pom)
    assert release is not None
    assert containers()["kafka"]["image"] == f"apache/kafka:{release[1]}"
    assert int(release[1].split(".")[0]) >= 4
    assert int(containers()["postgres"]["image"].removeprefix("postgres:")) >= 15


@pytest.mark.parametrize(("name", "container"), containers().items(), ids=list(containers()))
def test_a_container_is_kept_small_and_guarded(name: str, container: Tree) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d[\w.]*", container["image"]), "pinned"
    assert not hosts_in(container["image"])
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container.get("read_only", False) == (name not in {"kafka", "kafka-ui"})
    assert not {"privileged", "cap_add", "network_mode", "pid", "container_name"} & set(container)
    assert container.get("user", "") in ("", "postgres")
    assert {"cpus", "memory"} == set(container["deploy"]["resources"]["limits"])
    assert all(port.startswith("127.0.0.1:") for port in container.get("ports", ()))
    if name == "migrate":
        assert (container["restart"], container["healthcheck"]) == ("no", {"disable": True})
    else:
        assert container["restart"] == "unless-stopped"
        assert container["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


@pytest.mark.parametrize(("name", "container"), ours().items(), ids=list(ours()))
def test_a_container_of_ours_waits_writes_and_stops_as_it_must(name: str, container: Tree) -> None:
    waits = {on: how["condition"] for on, how in container["depends_on"].items()}
    expected = {"postgres": "service_healthy"}
    if name != "migrate":
        expected |= {"kafka": "service_healthy", "migrate": "service_completed_successfully"}
    if name not in ("migrate", "orchestrator"):
        expected |= {"orchestrator": "service_healthy"}
    assert waits == expected
    assert container["tmpfs"] == ["/tmp", "/data"]
    keeps = name == "api" or name.startswith("stage-worker-")
    assert container.get("volumes", []) == (["artifacts:/data/artifacts"] if keeps else [])
    # A worker gives its batch 30 seconds, and its producer five; uvicorn gives its answers three.
    patience = 40 if name.startswith("stage-worker-") else 15
    assert seconds(container["stop_grace_period"]) >= patience


def test_a_health_check_looks_at_the_file_that_the_service_touches() -> None:
    for name, container in ours().items():
        if name in ("migrate", "api"):
            continue
        settings = read(container["environment"])
        found = re.fullmatch(
            r'test -n "\$\(find (\S+) -newermt \'-(\d+) seconds\'\)"',
            container["healthcheck"]["test"][1],
        )
        assert found is not None
        assert found[1] == str(settings.alive_file)
        assert int(found[2]) >= 10 * BEAT_EVERY, "a busy machine is not a dead service"


def test_what_is_mounted_is_there_and_what_is_named_is_declared() -> None:
    tree = compose(**SECRETS)
    used = {
        volume.split(":")[0] for one in containers().values() for volume in one.get("volumes", ())
    }
    named = {name for name in used if not name.startswith("./")}
    assert named == set(tree["volumes"])
    for name in used - named:
        assert (ROOT / name).is_dir(), name
