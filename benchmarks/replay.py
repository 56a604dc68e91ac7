"""How fast is a long log read again: into the read model, and for its invariants.

    python -m benchmarks.replay --events 1000000 --accounts 50 [--database-url postgresql://…]

Prints one JSON object: the machine, the settings, and what was reached when the store held a
quarter, half and all of the events. `fill` is `septet projections rebuild` on empty tables,
`compare` the same on tables that are right; memory is the peak of the sum over its processes. A
PostgreSQL database that is named must be an empty one: the tables in it are dropped.
"""

import argparse
import json
import os
import platform
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import psycopg
import sqlalchemy as sa
from pydantic import SecretStr

from benchmarks.multiplied import Line, multiplied, one_account
from projections.database import about, create_tables, metadata, open_engine
from services.audit.log import verify_log
from services.orchestrator import chain
from services.orchestrator.chain import open_chain
from services.orchestrator.store import Store, migrate, open_store
from services.places import read_model_url
from services.settings import Settings

SHARES = (0.25, 0.5, 1.0)
LOOKS = 0.2  # seconds between two looks at the memory


def insert(settings: Settings, lines: Iterable[Line]) -> None:
    """Put events into the store's own table, in one transaction."""
    url = settings.database_url.get_secret_value()
    if not url:
        with closing(sqlite3.connect(settings.data_dir / "store.db")) as file, file:
            file.execute("PRAGMA synchronous=OFF")
            file.executemany("INSERT INTO stored_events VALUES (?, ?, ?, ?)", lines)
        return
    columns = "originator_id, originator_version, topic, state"
    with (
        psycopg.connect(url) as connection,
        connection.cursor() as cursor,
        cursor.copy(f"COPY stored_events ({columns}) FROM STDIN") as copy,
    ):
        for line in lines:
            copy.write_row(line)


def empty(settings: Settings) -> None:
    """Leave the read model without a row."""
    engine = open_engine(read_model_url(settings))
    metadata.drop_all(engine)
    about.drop_all(engine)
    if engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(engine.url.database))) as file:
            file.execute("VACUUM")
    create_tables(engine)
    engine.dispose()


def link(settings: Settings, store: Store) -> None:
    """Record the heads of the log, as the relay does while it publishes."""
    with closing(open_chain(settings)) as chain:
        reached = chain.begin()
        while page := store.page(reached):
            chain.extend(page, reached)
            reached = page[-1].placed.position


def verified(settings: Settings) -> dict[str, Any]:
    """Check log and chain as `septet audit verify` does, on all cores."""
    began, before = time.monotonic(), time.process_time() + cpu_of_children()
    found = verify_log(settings)
    return {
        "violations": found,
        "wall": time.monotonic() - began,
        "cpu": time.process_time() + cpu_of_children() - before,
    }


def rebuilt(settings: Settings) -> dict[str, Any]:
    """Run the command as an operator does; return what it says, and what it took."""
    began, before = time.monotonic(), cpu_of_children()
    with subprocess.Popen(
        [sys.executable, "-m", "services.cli.main", "projections", "rebuild", "--output", "json"],
        env={
            "SEPTET_DATA_DIR": str(settings.data_dir),
            "SEPTET_DATABASE_URL": settings.database_url.get_secret_value(),
        },
        stdout=subprocess.PIPE,
    ) as process:
        peak, family = 0, psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, resident(family))
            time.sleep(LOOKS)
        assert process.stdout is not None
        answer = json.loads(process.stdout.read())
    assert process.returncode == 0, answer
    spent = cpu_of_children() - before
    return {**answer, "wall": time.monotonic() - began, "cpu": spent, "peak": peak}


def cpu_of_children() -> float:
    """Return the seconds that processes which have ended have computed, with those below them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident(family: psutil.Process) -> int:
    """Return the bytes of memory that a process and all below it hold."""
    total = 0
    with suppress(psutil.Error):  # one of them has just ended
        for one in (family, *family.children(recursive=True)):
            total += one.memory_info().rss
    return total


def told(events: int, run: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one rebuild of so many stored events."""
    return {
        "tables": run["tables"],
        "rows_differed": sum(run["differences"].values()),
        "seconds": round(run["wall"], 1),
        "stored_events_per_second": round(events / run["wall"]),
        "cpu_seconds": round(run["cpu"], 1),
        "stored_events_per_cpu_second": round(events / run["cpu"]),
        "peak_memory_mb": round(run["peak"] / 2**20),
        "load_average": round(os.getloadavg()[0], 1),
    }


def measure(settings: Settings, events: int, accounts: int) -> Iterator[dict[str, Any]]:
    """Give the figures for each share of the log as it grows."""
    migrate(settings)
    chain.migrate(settings)
    log = multiplied(one_account(events // accounts), accounts)
    stored = 0
    for share in SHARES:
        rest = None if share == SHARES[-1] else round(events * share) - stored
        insert(settings, islice(log, rest))
        with closing(open_store(settings)) as store:
            stored = store.newest()
            empty(settings)
            figures = {"stored_events": stored, "fill": told(stored, rebuilt(settings))}
            if share == SHARES[-1]:
                figures["compare"] = told(stored, rebuilt(settings))
                link(settings, store)
                check = verified(settings)
                figures["verify"] = {
                    "violations": check["violations"],
                    "seconds": round(check["wall"], 1),
                    "stored_events_per_second": round(stored / check["wall"]),
                    "stored_events_per_cpu_second": round(stored / check["cpu"]),
                }
        yield figures


def main() -> None:
    """Measure, and print the figures."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--accounts", type=int, default=50)
    arguments.add_argument("--database-url", default="")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder) / "data", database_url=SecretStr(chosen.database_url)
        )
        measured = []
        for figures in measure(settings, chosen.events, chosen.accounts):
            print(json.dumps(figures), file=sys.stderr, flush=True)  # it may be a long time
            measured.append(figures)
    print(
        json.dumps(
            {
                "machine": {
                    "cores": os.cpu_count(),
                    "python": platform.python_version(),
                    "sqlite": sqlite3.sqlite_version,
                },
                "events": chosen.events,
                "accounts": chosen.accounts,
                "database": sa.make_url(chosen.database_url or "sqlite://").get_backend_name(),
                "measured": measured,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
