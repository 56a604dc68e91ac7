"""Three Apache Kafka brokers that keep three copies of everything, each of them killable."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.engines.kafka import CLUSTER, START_WITHIN, Process, properties_of, run_tool


class Cluster:
    """Brokers are numbered from 1, as the cluster itself numbers them. Used from one thread."""

    def __init__(self, folder: Path) -> None:
        self.brokers = {number: Process(folder / f"kafka-{number}") for number in range(1, 4)}
        voters = ",".join(
            f"{number}@127.0.0.1:{one.controller}" for number, one in self.brokers.items()
        )
        for number, one in self.brokers.items():
            (one.folder / "server.properties").write_text(
                properties_of(
                    one.port,
                    one.controller,
                    one.data,
                    number=number,
                    voters=voters,
                    copies=3,
                    in_sync=2,
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
