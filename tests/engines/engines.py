"""Real engines for one command: `python -m tests.engines.engines COMMAND …`.

The command gets an Apache Kafka in SEPTET_TEST_KAFKA and a PostgreSQL in SEPTET_TEST_DATABASE_URL;
its exit code is ours. A Septet's topics and its database belong together and to nobody else, so a
command that starts several asks for a new pair for each: `fresh()`. The database is a new one on
the same server. The broker is a process of its own, because all Septets name their topics and
groups alike, and the groups of a killed one stay until their session times out; so tests may also
kill it. The next one is started while a test runs.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tests.engines.kafka import Broker, format_storage
from tests.engines.postgres import Postgres
from tests.engines.processes import EngineFailed, end_with_parent

CONTROL = "SEPTET_TEST_ENGINES"  # names the socket on which `fresh` and the others ask
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GOODBYE_WITHIN = 60.0  # seconds that the command has to end after a signal


# --- for the command's own processes


def fresh() -> tuple[str, str]:
    """Return the address of a new, empty Kafka and the URL of a new, empty database."""
    answer = _ask("fresh")
    return answer["kafka"], answer["database"]


def release(kafka: str) -> None:
    """End the Kafka and drop the database that `fresh` gave with it."""
    _ask("release", kafka)


def kill_kafka(kafka: str) -> None:
    """SIGKILL the Kafka. It keeps its data and its address."""
    _ask("kill", kafka)


def start_kafka(kafka: str, *, empty: bool = False) -> None:
    """Start a killed Kafka again, without any of its data when `empty`. Returns when it answers."""
    _ask("start_empty" if empty else "start", kafka)


def _ask(what: str, kafka: str = "") -> dict[str, str]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(180)
        connection.connect(os.getenv(CONTROL, ""))
        connection.sendall(json.dumps({"ask": what, "kafka": kafka}).encode() + b"\n")
        answer: dict[str, str] = json.loads(connection.makefile().readline())
    if "error" in answer:
        raise EngineFailed(answer["error"])
    return answer


# --- the process that holds the engines


class Stopped(BaseException):
    """A signal asked us to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Engines:
    """One PostgreSQL, and a Kafka for everybody who asks for one. It is used from one thread."""

    def __init__(self, folder: Path, formatted: Path, postgres: Postgres) -> None:
        self.folder, self.formatted, self.postgres = folder, formatted, postgres
        self.brokers: list[Broker] = []
        self.leases: dict[str, tuple[Broker, str]] = {}
        self.spare: Broker | None = None

    def start(self) -> None:
        """Return when the pair that everybody shares answers. Raises EngineFailed."""
        shared = self._start_broker()
        self.postgres.wait()
        self.database_url = self.postgres.create("septet")
        shared.wait()
        self.kafka = shared.address

    def fresh(self) -> dict[str, str]:
        """Give a broker and a database that nobody used, and begin to start the next broker."""
        broker = self.spare or self._start_broker()
        self.spare = None
        broker.wait()
        name = f"septet_{secrets.token_hex(6)}"
        url = self.postgres.create(name)
        self.leases[broker.address] = broker, name
        self.spare = self._start_broker()
        return {"kafka": broker.address, "database": url}

    def release(self, kafka: str) -> None:
        """End the broker and drop its database."""
        broker, database = self.leases.pop(kafka)
        broker.end()
        self.brokers.remove(broker)
        self.postgres.drop(database)

    def answer(self, request: dict[str, str]) -> dict[str, str]:
        """Do what a process of the command asks for."""
        kafka = request["kafka"]
        if request["ask"] == "fresh":
            return self.fresh()
        if kafka not in self.leases:
            return {"error": f"{kafka} is not one that fresh() gave and nobody released"}
        broker, _ = self.leases[kafka]
        match request["ask"]:
            case "release":
                self.release(kafka)
            case "kill":
                broker.server.end()
            case "start" | "start_empty" as how:
                broker.server.end()
                if how == "start_empty":
                    broker.empty()
                broker.start()
                broker.wait()
        return {}

    def end(self) -> None:
        """End every Kafka."""
        for broker in self.brokers:
            broker.server.end()

    def _start_broker(self) -> Broker:
        broker = Broker(self.folder / f"kafka-{secrets.token_hex(4)}", self.formatted)
        self.brokers.append(broker)
        return broker


@contextmanager
def engines() -> Iterator[Engines]:
    """Have the engines running inside, in a temp folder that is deleted at the end.

    SIGINT, SIGTERM and SIGHUP raise Stopped inside.
    """
    folder = Path(tempfile.mkdtemp(prefix="septet-engines-"))
    folder.chmod(0o711)  # so that PostgreSQL's user reaches its part
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        for number in SIGNALS:
            cleanup.callback(signal.signal, number, signal.signal(number, _stop))
        postgres = Postgres(folder / "postgres")
        cleanup.callback(postgres.end)
        held = Engines(folder, format_storage(folder / "formatted"), postgres)
        cleanup.callback(held.end)
        cleanup.callback(_no_more_signals)
        held.start()
        yield held


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def _no_more_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def run(command: Sequence[str]) -> int:
    """Run the command with engines and return its exit code."""
    with engines() as held, socket.socket(socket.AF_UNIX) as control:
        address = str(held.folder / "control")
        control.bind(address)
        control.listen()
        control.settimeout(0.1)
        print(f"engines: Kafka {held.kafka}, {held.database_url}", file=sys.stderr)  # noqa: T201
        child = subprocess.Popen(
            command,
            env={
                **os.environ,  # the command inherits ours
                "SEPTET_TEST_KAFKA": held.kafka,
                "SEPTET_TEST_DATABASE_URL": held.database_url,
                CONTROL: address,
            },
            start_new_session=True,  # a signal reaches it once, from us
            preexec_fn=end_with_parent(signal.SIGINT),  # noqa: PLW1509  # we have one thread
        )
        try:
            while child.poll() is None:
                _answer_one(held, control)
        except BaseException:
            _no_more_signals()
            _say_goodbye(child)
            raise
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _answer_one(held: Engines, control: socket.socket) -> None:
    """Answer a request, if one comes soon; what goes wrong is told to who asked."""
    try:
        connection, _ = control.accept()
    except TimeoutError:
        return
    with connection:
        connection.settimeout(5)
        try:
            answer = held.answer(json.loads(connection.makefile().readline()))
        except EngineFailed as error:
            answer = {"error": str(error)}
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _say_goodbye(child: "subprocess.Popen[Any]") -> None:
    """Interrupt the command, as Ctrl-C does, and give it time to stop what it started."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
    try:
        child.wait(GOODBYE_WITHIN)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def main() -> None:
    """Run the command line's command."""
    command = sys.argv[1:]
    if not command:
        sys.exit("usage: python -m tests.engines.engines COMMAND …")
    try:
        code = run(command)
    except EngineFailed as error:
        sys.exit(f"engines: {error}")
    except Stopped as stopped:
        code = 128 + stopped.number
    sys.exit(code)


if __name__ == "__main__":
    main()
