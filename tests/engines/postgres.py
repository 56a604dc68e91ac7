"""PostgreSQL in a temp folder: durable as in production, open to this machine only."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.engines.processes import EngineFailed, Server, free_port, group_of

START_WITHIN = 60.0  # seconds; usually one
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_min_messages": "warning",
}


class Postgres:
    """One server. It refuses to run as root, so root starts it as an unprivileged user."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.user = folder, free_port(), _user()
        self.programs = _programs()
        folder.mkdir(mode=0o700)
        if self.user is not None:
            shutil.chown(folder, self.user, group_of(self.user))
        self._init()
        self.start()

    def start(self) -> None:
        """Start it and return at once; also after it was ended, with the data that it has."""
        self.server = Server(
            f"PostgreSQL on 127.0.0.1:{self.port}",
            [str(self.programs / "postgres"), "-D", str(self.data), *self._settings()],
            self.folder / "postgres.log",
            user=self.user,
        )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str) -> str:
        return f"postgresql://septet@127.0.0.1:{self.port}/{database}"

    def wait(self) -> None:
        """Return when it answers. Raises EngineFailed."""
        self.server.wait(lambda: self._run("pg_isready", "-q").returncode == 0, START_WITHIN)

    def create(self, database: str) -> str:
        """Make an empty database and return its URL."""
        self._sql(f"CREATE DATABASE {database}")
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop the database, whoever is connected."""
        self._sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def end(self) -> None:
        """Stop it at once: SIGQUIT also frees the memory that it shares among its processes."""
        self.server.end(signal.SIGQUIT)

    def _init(self) -> None:
        arguments = ["-U", "septet", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [str(self.programs / "initdb"), "-D", str(self.data), *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            user=self.user,
            group=self.user and group_of(self.user),
            extra_groups=None if self.user is None else [],
            check=False,
        )
        if done.returncode:
            raise EngineFailed(f"initdb failed\n{done.stdout}{done.stderr}")
        (self.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")

    def _settings(self) -> list[str]:
        chosen = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.folder)}
        return [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]

    def _sql(self, statement: str) -> None:
        done = self._run("psql", "-Xqd", "postgres", "-v", "ON_ERROR_STOP=1", "-c", statement)
        if done.returncode:
            raise EngineFailed(f"{statement}: {done.stderr}\n{self.server.tail()}")

    def _run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "septet"]
        command = [str(self.programs / program), *where, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def _user() -> str | None:
    """Return whom to run it as: ourselves (none), or, for root, the package's user or nobody."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            group_of(name)
        except KeyError:
            continue
        return name
    raise EngineFailed("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _programs() -> Path:
    """Return the folder of the newest server; Debian keeps it off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_version)
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    if on_path is None:
        raise EngineFailed("there is no PostgreSQL server: install the package postgresql")
    return Path(on_path).resolve().parent


def _version(program: Path) -> float:
    return float(program.parent.parent.name)
