"""Three Apache Kafka brokers that keep three copies of everything, each of them killable."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.engines.kafka import CLUSTER, START_WITHIN, Process, run_tool

PROPERTIES = """\
process.roles=broker,controller
node.id={number}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters={voters}
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
"""


class Cluster:
    """Brokers are numbered from 1, as the cluster itself numbers them. Used from one thread."""

    def __init__(self, folder: Path) -> None:
        self.brokers = {number: Process(folder / f"kafka-{number}") for number in range(1, 4)}
        voters = ",".join(
            f"{number}@127.0.0.1:{one.controller}" for number, one in self.brokers.items()
        )
        for number, one in self.brokers.items():
            (one.folder / "server.properties").write_text(
                PROPERTIES.format(
                    number=number,
                    port=one.port,
                    controller=one.controller,
                    voters=voters,
                    data=one.data,
                )
            )
        with ThreadPoolExecutor() as tools:
            list(tools.map(_format, self.brokers.values()))

    @property
    def address(self) -> str:
        return ",".join(one.address for one in self.brokers.values())

    def start(self, *numbers: int) -> None:
        """Start these brokers, or all, and return when they answer. Raises EngineFailed."""
        chosen = [self.brokers[number] for number in numbers or self.brokers]
        for one in chosen:
            one.start()
        for one in chosen:
            one.server.wait(one.answers, START_WITHIN)

    def kill(self, *numbers: int) -> None:
        """SIGKILL these brokers at once. They keep their data and their addresses."""
        for number in numbers:
            self.brokers[number].server.process.send_signal(signal.SIGKILL)
        for number in numbers:
            self.brokers[number].server.end()

    @property
    def controller(self) -> int:
        """The number of the broker that leads the controllers, as the newest vote says."""
        votes = [
            json.loads((one.data / "__cluster_metadata-0" / "quorum-state").read_text())
            for one in self.brokers.values()
        ]
        newest = max(votes, key=lambda vote: (vote["leaderEpoch"], vote["leaderId"]))
        return int(newest["leaderId"])

    def end(self) -> None:
        """SIGKILL all that was started."""
        for one in self.brokers.values():
            if hasattr(one, "server"):
                one.server.end()


def _format(broker: Process) -> None:
    properties = str(broker.folder / "server.properties")
    run_tool("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", properties)
