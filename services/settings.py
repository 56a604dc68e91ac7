"""Every SEPTET_ variable, once: its name, default, limits and what it is for."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """Read from the environment and `.env`; the defaults let everything run on one machine."""

    model_config = SettingsConfigDict(
        env_prefix="SEPTET_", env_file=".env", env_ignore_empty=True, extra="ignore"
    )

    data_dir: Path = Field(Path(".septet"), description="Folder for databases, artifacts and logs")
    host: str = Field("127.0.0.1", description="Address that the API listens on")
    port: Port = Field(8000, description="Port that the API listens on")
    admin_token: SecretStr | None = Field(
        None,
        description="Token for the admin endpoints; empty: one is made in the data folder",
    )
    kafka_bootstrap_servers: str = Field(
        "",
        description="Apache Kafka as host:port,…; empty: the embedded broker is started",
    )
    kafka_replication_factor: Annotated[int, Field(ge=1, le=9)] = Field(
        1, description="Copies of each topic that is made, on Apache Kafka"
    )
    database_url: SecretStr = Field(
        SecretStr(""), description="postgresql://…; empty: SQLite in the data folder"
    )
    embedded_broker_port: Port = Field(19092, description="Port of the embedded broker")
    ai_provider: Literal["local", "instant"] = Field(
        "local",
        description="local: no network; instant: empty content at no cost, for benchmarks",
    )
    ai_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        60, description="Longest that one provider call may take"
    )
    batch_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        600, description="After that a batch that nobody answers is asked for again"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log lines that are written"
    )

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text and not text.startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://, or be empty for SQLite")
        return url

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @property
    def embedded_broker(self) -> bool:
        """Whether Septet starts the broker itself."""
        return not self.kafka_bootstrap_servers

    @property
    def brokers(self) -> str:
        """Where Kafka clients connect to."""
        return self.kafka_bootstrap_servers or f"127.0.0.1:{self.embedded_broker_port}"
