"""A read model in a real database: an SQLite file, and PostgreSQL where one is named."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from projections.database import create_tables, open_engine
from tests.projections.history import World, make_history

SERVER = os.getenv("SEPTET_TEST_DATABASE_URL")
BACKENDS = ["sqlite", "postgresql"] if SERVER else ["sqlite"]


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'read-model.db'}"
        return
    assert SERVER is not None
    name = f"septet_test_{os.getpid()}"
    driver = sa.make_url(SERVER).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(driver, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield sa.make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    opened = open_engine(url)
    create_tables(opened)
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def world() -> World:
    return make_history()
