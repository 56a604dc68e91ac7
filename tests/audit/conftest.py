"""A whole installation at rest: store, chain, read model, artifacts, and a topic as a list."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from events.topics import RUN_EVENTS, Record, published
from projections.database import create_tables, open_engine
from services.artifacts import open_artifacts
from services.audit import topic, verify
from services.audit.verify import CHECKS, KeptHead
from services.cli.refold import refold
from services.orchestrator import chain as chains
from services.orchestrator import store as stores
from services.places import read_model_url
from services.settings import Settings
from tests.whole_runs import kept_in, whole_run

DATABASE = os.environ.get("SEPTET_TEST_DATABASE_URL", "")  # a test's own switch
KINDS = ["sqlite", *(["postgres"] if DATABASE else [])]
FILES = {"stored_events": "store.db", "chain": "chain.db"}  # all other tables: the read model's


@dataclass
class Copies:
    """What is compared, and ways to alter it behind Septet's back."""

    settings: Settings
    topic: list[Record] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.settings.database_url.get_secret_value()

    def sql(self, table: str, statement: str, *given: Any) -> list[Any]:
        """Run a statement on the database that has the table; `at` is the store's position."""
        if self.url:
            with psycopg.connect(self.url, autocommit=True) as post:
                query = statement.replace("?", "%s").replace("[at]", "notification_id")
                cursor = post.execute(query.encode(), given or None)
                return [tuple(map(_plain, row)) for row in cursor] if cursor.description else []
        path = self.settings.data_dir / FILES.get(table, "read-model.db")
        lite = sqlite3.connect(path, isolation_level=None)
        try:
            return lite.execute(statement.replace("[at]", "rowid"), given).fetchall()
        finally:
            lite.close()

    def event(self, name: str, number: int = 0) -> tuple[int, str, str, bytes]:
        """Return position, stream, wire name and bytes of the number-th event of a type."""
        found = self.sql(
            "stored_events",
            "SELECT [at], originator_id, topic, state FROM stored_events"
            " WHERE topic = ? ORDER BY [at]",
            f"septet.{name}.v1",
        )
        position, stream, wire_name, body = found[number]
        return position, stream, wire_name, body

    def write(self, position: int, body: bytes) -> None:
        self.sql(
            "stored_events", "UPDATE stored_events SET state = ? WHERE [at] = ?", body, position
        )

    def link(self) -> None:
        """Have the chain continued, and the topic filled, as the relay does."""
        chain, store = chains.open_chain(self.settings), stores.open_store(self.settings)
        chain.begin()
        after = 0
        self.topic.clear()
        while page := store.page(after, 50):
            heads = chain.extend(page, after)
            for stored in page:
                placed = replace(stored.placed, head=heads.get(stored.placed.position))
                records = published(placed, stored.name, stored.body)
                self.topic += [one for one in records if one.topic == RUN_EVENTS]
            after = page[-1].placed.position
        chain.close()
        store.close()

    def heads(self) -> list[KeptHead]:
        """Return the newest heads, as somebody outside would have kept them."""
        chain = chains.open_chain(self.settings)
        found = [KeptHead(one.key, one.position, one.head.chain.hex()) for one in chain.newest()]
        chain.close()
        return found

    def found(self, *only: str, kept: tuple[KeptHead, ...] = ()) -> list[str]:
        return verify.verify(self.settings, only or CHECKS, kept).findings


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _build(settings: Settings) -> None:
    stores.migrate(settings)
    chains.migrate(settings)
    store = stores.open_store(settings)
    copies = Copies(settings)

    def leave_a_gap() -> None:
        """Positions have gaps on PostgreSQL; here too, so that something may be put into one."""
        if copies.url:
            copies.sql(
                "stored_events",
                "SELECT nextval(pg_get_serial_sequence('stored_events', 'notification_id'))",
            )
        else:
            copies.sql(
                "stored_events",
                "UPDATE stored_events SET [at] = [at] + 1"
                " WHERE [at] = (SELECT max([at]) FROM stored_events)",
            )

    whole_run(store, kept_in(open_artifacts(settings)), leave_a_gap)
    engine = open_engine(read_model_url(settings))
    create_tables(engine)
    copies.link()
    refold(settings, engine, store, lambda _, reason: pytest.fail(reason))
    engine.dispose()
    store.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Settings]]:
    """Make each kind once; tests alter copies of it."""
    made: dict[str, Settings] = {}
    folder = tmp_path_factory.mktemp("built")
    made["sqlite"] = Settings(_env_file=None, data_dir=folder / "sqlite")
    name = f"test_{uuid4().hex}"
    if DATABASE:
        with psycopg.connect(DATABASE, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        url = SecretStr(DATABASE.rsplit("/", 1)[0] + f"/{name}")
        made["postgres"] = Settings(_env_file=None, data_dir=folder / "postgres", database_url=url)
    for settings in made.values():
        _build(settings)
    yield made
    if DATABASE:
        with psycopg.connect(DATABASE, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(params=KINDS)
def copies(
    request: pytest.FixtureRequest,
    built: dict[str, Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Copies]:
    original = built[request.param]
    folder = tmp_path / "data"
    shutil.copytree(original.data_dir, folder)
    changed: dict[str, Any] = {"data_dir": folder}
    name = f"test_{uuid4().hex}"
    if request.param == "postgres":
        source = original.database_url.get_secret_value().rsplit("/", 1)[1]
        with psycopg.connect(DATABASE, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {source}".encode())
        changed["database_url"] = SecretStr(DATABASE.rsplit("/", 1)[0] + f"/{name}")
    one = Copies(original.model_copy(update=changed))
    one.link()
    monkeypatch.setattr(topic, "records", lambda _: iter(one.topic))
    monkeypatch.setattr(verify, "SETTLE_WITHIN", 0)
    yield one
    if request.param == "postgres":
        with psycopg.connect(DATABASE, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
