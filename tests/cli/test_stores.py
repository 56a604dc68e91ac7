"""Databases that do not answer: where they are and what to set, and never their passwords."""

from collections.abc import Callable

import psycopg
import pytest
from typer.testing import Result

from services.cli.environment import read_settings
from services.cli.output import Failed
from services.cli.stores import address_of, answering


@pytest.mark.parametrize("command", [("migrate",), ("audit", "heads")])
def test_a_postgresql_that_cannot_be_reached_is_named_with_what_to_check(
    septet: Callable[..., Result], free_port: int, command: tuple[str, ...]
) -> None:
    url = f"postgresql://septet:planted@127.0.0.1:{free_port}/septet"
    done = septet(*command, env={"SEPTET_DATABASE_URL": url})
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: PostgreSQL at 127.0.0.1:{free_port} cannot be reached: ")
    assert line.endswith("Connection refused. Check SEPTET_DATABASE_URL")
    assert "planted" not in line


@pytest.mark.parametrize(
    "url",
    ["postgresql://septet:planted@[", "postgresql://septet:pla/nted@db/septet"],
)
def test_an_address_that_is_none_is_not_quoted(septet: Callable[..., Result], url: str) -> None:
    done = septet("migrate", env={"SEPTET_DATABASE_URL": url})
    assert (done.exit_code, done.stderr) == (
        2,
        "error: SEPTET_DATABASE_URL is no address that PostgreSQL understands. Correct it\n",
    )


def test_tables_that_are_missing_are_to_be_made() -> None:
    settings = read_settings(database_url="postgresql://septet:planted@db/septet")
    with pytest.raises(Failed) as failed, answering(settings):
        raise psycopg.errors.UndefinedTable('relation "events" does not exist')
    assert failed.value.sentence == (
        'PostgreSQL at db:5432 cannot be read: relation "events" does not exist. '
        "Make it with septet migrate, or set SEPTET_DATA_DIR or SEPTET_DATABASE_URL"
    )


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://user:p%40ss@db:6432/septet", "db:6432"),
        ("postgres://db/septet?user=me&password=p@ss", "db:5432"),
        ("postgresql://[2001:db8::1]/septet", "[2001:db8::1]:5432"),
        ("postgresql:///septet?host=/run/postgresql", "/run/postgresql:5432"),
        ("postgresql:///septet", "localhost:5432"),
    ],
)
def test_an_address_is_host_and_port_alone(url: str, address: str) -> None:
    assert address_of(url) == address
