"""A whole Septet of single processes, with its own broker and database, that faults are done to."""

import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from tests.chaos.brokers import EmbeddedBroker
from tests.chaos.clients import Said
from tests.chaos.processes import Deployment
from tests.chaos.proxy import SOUND, Network, Proxy
from tests.engines.kafka import Broker as Kafka
from tests.engines.kafka import format_storage
from tests.engines.postgres import Postgres
from tests.engines.processes import free_port
from tests.system.septet import KEYWORDS, ON_REAL_ENGINES, Septet, wait_for

# plain: nothing between the processes; proxied: all that goes to broker and database goes through
# proxies; clock: every service reads its time from a file; small: all data lie on a small disk.
Kind = Literal["plain", "proxied", "clock", "small"]
SERVICES = ("orchestrator", "projector", "scheduler", "api", "stage-worker")
DISK = "512m" if ON_REAL_ENGINES else "64m"
CLOCK = Path(__file__).with_name("clock.c")
BATCH_TIMEOUT = 30  # seconds


class World(Septet):
    """One process of every service (two stage workers on Kafka), restarted when they end."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self.root = Path(tempfile.mkdtemp(prefix="septet-chaos-"))
        self.root.chmod(0o711)  # so that PostgreSQL's user reaches its part
        disk = self.root / "disk"
        disk.mkdir(mode=0o711)
        if kind == "small":
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=711", "none", str(disk)]
            subprocess.run(mount, check=True)
        self.disk = disk
        self.letters = 0  # how many dead letters there should be
        self.begin()
        self.postgres: Postgres | None = None
        self.kafka_proxy: Proxy | None = None
        self.database_proxy: Proxy | None = None
        self.server: Kafka | EmbeddedBroker
        super().__init__(disk / "data", SEPTET_BATCH_TIMEOUT_SECONDS=str(BATCH_TIMEOUT))
        self.folder.mkdir(parents=True)
        self.deployment = Deployment(self.root)

    def _engines(self, _environment: dict[str, str]) -> tuple[str, str]:
        proxy = free_port() if self.kind == "proxied" else None
        if ON_REAL_ENGINES:
            self.server = Kafka(self.root / "kafka", format_storage(self.root / "format"), proxy)
            self.postgres = Postgres(self.disk / "postgres")
            database = self._database(self.postgres)
        else:
            self.server, database = EmbeddedBroker(self.root, proxy), ""
        self.broker_port = self.server.advertised
        self.server.wait()
        if proxy is not None:
            self.kafka_proxy = Proxy(proxy, self.server.port, self.seed)
        return (f"127.0.0.1:{self.broker_port}" if ON_REAL_ENGINES else ""), database

    def _database(self, postgres: Postgres) -> str:
        postgres.wait()
        url = postgres.create("septet")
        if self.kind != "proxied":
            return url
        self.database_proxy = Proxy(free_port(), postgres.port, self.seed)
        return url.replace(f":{postgres.port}/", f":{self.database_proxy.port}/")

    def start(self) -> None:
        """Make the tables, start every service and an account; return when all answer."""
        migrate = [sys.executable, "-m", "services.cli.main", "migrate"]
        subprocess.run(migrate, env=self.environment, check=True, capture_output=True)
        for name in self._names():
            arguments = [name if name in SERVICES else name.rpartition("-")[0]]
            self.deployment.add(name, arguments, self.environment | self._clock_of(name))
        self.deployment.start()
        wait_for("every service answers", self.is_ready, within=150)
        self.new_account(100_000_000)

    def _names(self) -> list[str]:
        workers = ["stage-worker-1", "stage-worker-2"] if ON_REAL_ENGINES else ["stage-worker"]
        return ["orchestrator", "projector", "scheduler", "api", *workers]

    def begin(self) -> None:
        """Forget the sites and the commands of the scenario before."""
        self.sites: list[str] = []
        self.said: list[Said] = []

    def new_site(self, keywords: tuple[str, ...] = KEYWORDS, **config: Any) -> str:
        site = super().new_site(keywords, **config)
        self.sites.append(site)
        return site

    @contextmanager
    def more_workers(self, *names: str) -> Iterator[None]:
        """Have more stage workers inside."""
        for name in names:
            self.deployment.add(name, ["stage-worker"], self.environment)
        self.deployment.start(*names)
        try:
            yield
        finally:
            self.deployment.remove(*names)

    def is_ready(self) -> bool:
        """Tell whether every service answers."""
        try:
            return bool(self.api.get("/readyz", timeout=5).status_code == 200)
        except Exception:  # noqa: BLE001  # whatever keeps it from answering
            return False

    def close(self) -> None:
        """End everything and delete it."""
        self.deployment.close()
        for proxy in (self.kafka_proxy, self.database_proxy):
            if proxy is not None:
                proxy.stop()
        self.server.server.end()
        if self.postgres is not None:
            self.postgres.end()
        if self.kind == "small":
            subprocess.run(["umount", "-l", str(self.disk)], check=True)
        shutil.rmtree(self.root, ignore_errors=True)
        self.api.close()

    # --- what can be done to it

    def lose_broker(self) -> None:
        """SIGKILL the broker; it comes back at the same address without any of its data."""
        self.server.server.end()
        self.server.empty()
        self.server.start()
        self.server.wait()

    def restart_broker(self, away: float) -> None:
        """SIGKILL the broker, and start it again with what it had."""
        self.server.server.end()
        time.sleep(away)
        self.server.start()
        self.server.wait()

    @contextmanager
    def broker_stopped(self) -> Iterator[None]:
        """SIGSTOP the broker inside."""
        with _stopped(self.server.server.process.pid):
            yield

    @contextmanager
    def database_stopped(self) -> Iterator[None]:
        """SIGSTOP PostgreSQL inside, all its processes."""
        assert self.postgres is not None
        with _stopped(*_family(self.postgres.server.process.pid)):
            yield

    def restart_database(self, number: signal.Signals) -> None:
        """Stop PostgreSQL by this signal (SIGINT: fast, SIGQUIT: immediate) and start it."""
        assert self.postgres is not None
        self.postgres.server.end(number, within=30)
        self.postgres.start()
        self.postgres.wait()

    def set_network(self, network: Network, *, kafka: bool, database: bool) -> None:
        """Have connections to broker or database, or both, treated so from now on."""
        for proxy, chosen in ((self.kafka_proxy, kafka), (self.database_proxy, database)):
            if proxy is not None:
                proxy.network = network if chosen else SOUND

    def cut(self, *, kafka: bool, database: bool) -> None:
        """Reset all connections to broker or database, or both."""
        for proxy, chosen in ((self.kafka_proxy, kafka), (self.database_proxy, database)):
            if proxy is not None and chosen:
                proxy.cut()

    def set_clock(self, wrong_by: timedelta, *kinds: str) -> None:
        """Put the clocks of these services (all, when none is named) wrong from now on."""
        chosen = [one for kind in kinds for one in self.deployment.matching(kind)]
        for process in chosen or self.deployment.processes.values():
            with self._clock_file(process.name).open("r+b") as file:
                file.write(_seconds(wrong_by))

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        """Leave not a byte of the disk inside."""
        filler = self.disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65_536))
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1))
        try:
            yield
        finally:
            filler.unlink()
            if self.postgres is not None and self.postgres.server.process.poll() is not None:
                self.postgres.start()  # it ends itself when it cannot write its log
                self.postgres.wait()

    def _clock_file(self, name: str) -> Path:
        return self.root / f"{name}.clock"

    def _clock_of(self, name: str) -> dict[str, str]:
        if self.kind != "clock":
            return {}
        library = self.root / "clock.so"
        if not library.exists():
            compile_it = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(CLOCK), "-ldl"]
            subprocess.run(compile_it, check=True)
        self._clock_file(name).write_bytes(_seconds(timedelta()))
        return {"LD_PRELOAD": str(library), "SEPTET_TEST_CLOCK": str(self._clock_file(name))}


def _seconds(duration: timedelta) -> bytes:
    return struct.pack("q", round(duration.total_seconds()))


@contextmanager
def _stopped(*processes: int) -> Iterator[None]:
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _family(pid: int) -> list[int]:
    import psutil  # noqa: PLC0415  # only here

    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
