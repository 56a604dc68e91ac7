"""The databases as commands see them: they answer, or one sentence says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.cli.output import Code, Failed
from services.settings import Settings

MAKE_IT = "Make it with septet migrate, or set SEPTET_DATA_DIR or SEPTET_DATABASE_URL"
CHECK = "Check SEPTET_DATA_DIR and SEPTET_DATABASE_URL"  # for who was just making it


@contextmanager
def answering(settings: Settings, remedy: str = MAKE_IT) -> Iterator[None]:
    """Turn whatever a database that is away or not made yet raises into one sentence."""
    import psycopg
    import sqlalchemy as sa
    from eventsourcing import persistence

    from services.orchestrator.store import StoreAway, StoreIsNewer

    away = (
        StoreAway,
        *(persistence.OperationalError, persistence.InterfaceError),
        *(sa.exc.OperationalError, sa.exc.InterfaceError),
        *(psycopg.OperationalError, psycopg.InterfaceError),
    )
    try:
        yield
    except StoreIsNewer as error:
        raise Failed(str(error)) from error
    except (StoreAway, persistence.PersistenceError, sa.exc.DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        reason = str(cause).strip().partition("\n")[0]
        raise _failed(settings, reason, remedy, is_away=isinstance(error, away)) from error


def address_of(url: str) -> str | None:
    """Return host and port of a PostgreSQL, none where the URL does not say them properly."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return None
    host, port = str(parts.get("host") or "localhost"), str(parts.get("port") or 5432)
    if not port.isdecimal():  # part of a password, where that holds a slash
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_empty(settings: Settings) -> bool:
    """Tell whether nothing is stored yet."""
    from services.orchestrator.store import open_store

    store = open_store(settings)
    try:
        return store.newest() == 0
    finally:
        store.close()


def _failed(settings: Settings, reason: str, remedy: str, *, is_away: bool) -> Failed:
    url = settings.database_url.get_secret_value()
    if not url:  # SQLite calls a table that is missing an operational error as well
        return Failed(f"the data in {settings.data_dir} cannot be read: {reason}. {remedy}")
    address = address_of(url)
    if address is None:  # the reason could quote it, password and all
        said = "SEPTET_DATABASE_URL is no address that PostgreSQL understands. Correct it"
        return Failed(said, Code.USAGE)
    where = f"PostgreSQL at {address}"
    if is_away:
        return Failed(f"{where} cannot be reached: {reason}. Check SEPTET_DATABASE_URL")
    return Failed(f"{where} cannot be read: {reason}. {remedy}")
