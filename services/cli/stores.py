"""The databases as commands see them: they answer, or one sentence says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.cli.output import Failed
from services.settings import Settings


@contextmanager
def answering(settings: Settings) -> Iterator[None]:
    """Turn whatever a database that is away or not made yet raises into one sentence."""
    import psycopg
    import sqlalchemy as sa
    from eventsourcing.persistence import PersistenceError

    from services.orchestrator.store import StoreIsNewer

    try:
        yield
    except StoreIsNewer as error:
        raise Failed(str(error)) from error
    except (PersistenceError, sa.exc.DBAPIError, psycopg.Error) as error:
        url = settings.database_url.get_secret_value()
        where = (
            "the PostgreSQL of SEPTET_DATABASE_URL" if url else f"the data in {settings.data_dir}"
        )
        reason = str(error).strip().partition("\n")[0]
        raise Failed(
            f"{where} cannot be read: {reason}. "
            "Make it with septet migrate, or set SEPTET_DATA_DIR or SEPTET_DATABASE_URL"
        ) from error


def is_empty(settings: Settings) -> bool:
    """Tell whether nothing is stored yet."""
    from services.orchestrator.store import open_store

    store = open_store(settings)
    try:
        return store.newest() == 0
    finally:
        store.close()
