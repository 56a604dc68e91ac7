"""Where each store lies, by the settings: SQLite files of one folder, or one PostgreSQL."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from events.kafka.connection import Broker, Security
from services.settings import Settings

STORE_LOCK = 7_305_001  # advisory lock: writers of the store one after another, so ids rise visibly
MIGRATE_LOCK = 7_305_003  # advisory lock: one process makes tables
RELAY_LOCK = 7_305_002  # advisory lock: of several orchestrators, one relays


def read_model_url(settings: Settings) -> str:
    """Return the SQLAlchemy-style URL of the read model."""
    return _postgres(settings) or f"sqlite:///{settings.data_dir / 'read-model.db'}"


def api_database_url(settings: Settings) -> str:
    """Return the URL of the API's own table of commands that it has sent."""
    return _postgres(settings) or f"sqlite:///{settings.data_dir / 'api.db'}"


def chain_url(settings: Settings) -> str:
    """Return the URL of the recorded heads: beside the store, with a write lock of their own."""
    return _postgres(settings) or f"sqlite:///{settings.data_dir / 'chain.db'}"


def vault_url(settings: Settings) -> str:
    """Return the URL of the accounts' sealed secrets: a file of their own, or a table."""
    return _postgres(settings) or f"sqlite:///{settings.data_dir / 'vault.db'}"


def secrets_key_file(settings: Settings) -> Path:
    """Return where the key to the vault lies when no setting says it."""
    return settings.data_dir / "secrets-key"


def rebuild_folder(settings: Settings) -> Path:
    """Return where a rebuild of the read model folds; whatever is in it may be deleted."""
    return settings.data_dir / "rebuild"


def store_environment(settings: Settings) -> dict[str, str]:
    """Return what the event store's library is configured with."""
    url = _postgres(settings)
    if not url:
        return {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(settings.data_dir / "store.db"),
            "SQLITE_LOCK_TIMEOUT": "10",
        }
    parts = urlsplit(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.lstrip("/"),
        "POSTGRES_HOST": parts.hostname or "127.0.0.1",
        "POSTGRES_PORT": str(parts.port or 5432),
        "POSTGRES_USER": unquote(parts.username or ""),
        "POSTGRES_PASSWORD": unquote(parts.password or ""),
        "POSTGRES_LOCK_TIMEOUT": "5",
        "POSTGRES_POOL_SIZE": "4",
        "POSTGRES_MAX_OVERFLOW": "4",
    }


def _postgres(settings: Settings) -> str:
    url = settings.database_url.get_secret_value()
    return url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url


def broker_of(settings: Settings) -> Broker:
    """Return the broker that the settings name."""
    if settings.embedded_broker:
        return Broker(settings.brokers, embedded=True)
    with_password = settings.kafka_security_protocol.startswith("SASL")
    security = Security(
        mechanism=settings.kafka_sasl_mechanism if with_password else None,
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        tls=settings.kafka_tls(),
    )
    return Broker(
        settings.brokers,
        embedded=False,
        replication=settings.kafka_replication_factor,
        security=security,
    )
