"""Apache Kafka from its own jars: one process is broker and controller, its data a temp folder."""

import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
from pathlib import Path

from tests.engines.processes import EngineFailed, Server, free_port

JARS = Path(__file__).parent / "target" / "kafka"
START_WITHIN = 120.0  # seconds; usually three, on a busy machine of two cores ten
API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # size, key, version, correlation, client

# Small and quick to start; what decides how Kafka behaves is left at Kafka's own defaults.
CLUSTER = "AAAAAAAAQUW0mYk9fZkmQw"
JVM = ("-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
PROPERTIES = """\
process.roles=broker,controller
node.id={number}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters={voters}
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=8
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
"""


def properties_of(
    port: int,
    controller: int,
    data: Path,
    *,
    advertised: int | None = None,
    number: int = 1,
    voters: str = "",
    copies: int = 1,
    in_sync: int = 1,
) -> str:
    """Return a broker's settings; without `voters` and `copies` it is a cluster of one.

    `advertised` is the port that clients are sent to, none: its own.
    """
    return PROPERTIES.format(
        port=port,
        controller=controller,
        data=data,
        advertised=advertised or port,
        number=number,
        voters=voters or f"{number}@127.0.0.1:{controller}",
        copies=copies,
        in_sync=in_sync,
    )


class Process:
    """One broker in a folder of its own, which is controller too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.controller = free_port(), free_port()
        self.folder.mkdir()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start it and return at once."""
        properties = str(self.folder / "server.properties")
        self.server = Server(
            f"Kafka on {self.address}",
            [*java(), "kafka.Kafka", properties],
            self.folder / "kafka.log",
        )

    def wait(self) -> None:
        """Return when it answers. Raises EngineFailed."""
        self.server.wait(self.answers, START_WITHIN)

    def answers(self) -> bool:
        """Ask which requests it knows: it answers once it is registered and open for clients."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(API_VERSIONS)
                answer = connection.recv(10)
        except OSError:
            return False
        return answer[8:10] == b"\0\0"

    def end(self) -> None:
        """SIGKILL it and delete what it had."""
        self.server.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class Broker(Process):
    """A whole cluster of one. `formatted` is an empty data folder to begin with.

    `advertised` is the port that clients are sent to, none: its own; a proxy that stands before
    it has to be named, as clients follow it.
    """

    def __init__(self, folder: Path, formatted: Path, advertised: int | None = None) -> None:
        super().__init__(folder)
        self.formatted, self.advertised = formatted, advertised or self.port
        self.cluster = secrets.token_urlsafe(16)
        (folder / "server.properties").write_text(
            properties_of(self.port, self.controller, self.data, advertised=self.advertised)
        )
        self.empty()
        self.start()

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.advertised}"

    def empty(self) -> None:
        """Lay an empty data folder. It keeps the cluster's id, as a wiped cluster may."""
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(self.formatted, self.data)
        meta = self.data / "meta.properties"
        meta.write_text(re.sub(r"cluster\.id=.*", f"cluster.id={self.cluster}", meta.read_text()))


def java() -> list[str]:
    """Return the command that runs a class of Kafka. Raises EngineFailed when jars are missing."""
    if not any(JARS.glob("kafka_*.jar")):
        raise EngineFailed("Kafka's jars are missing: tests/engines/run.sh resolves them")
    home = os.getenv("JAVA_HOME")
    return [f"{home}/bin/java" if home else "java", *JVM, "-cp", f"{JARS}/*"]


def format_storage(folder: Path) -> Path:
    """Return an empty data folder as Kafka's own tool formats it. Raises EngineFailed."""
    folder.mkdir()
    properties = folder / "server.properties"
    properties.write_text(properties_of(1, 2, folder / "data"))
    run_tool("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(properties))
    return folder / "data"


def run_tool(name: str, *arguments: str) -> str:
    """Run one of Kafka's own tools and return what it says. Raises EngineFailed."""
    command = [*java(), name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineFailed(f"{name} failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
