"""Every SEPTET_ variable, once: its name, default, limits and what it is for."""

import base64
import binascii
import re
import ssl
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from events.prices import LOCAL, Models
from services.allowed_hosts import Allowed, allowed_hosts

KEY_BYTES = 32
A_KEY = "must be 32 random bytes in Base64, as openssl rand -base64 32 makes them"
A_SERVER = (
    "must be host:port, with commas between several, the port from 1 to 65535 and an IPv6 address "
    "in [ ]; or be empty for the embedded broker"
)
SERVER = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
HIGHEST_PORT = 65_535
PRINTABLE = re.compile(r"[!-~]*")
Port = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]


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
        1, description="Copies of each topic that is made, on Apache Kafka; 3 on three brokers"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SSL: over TLS; SASL: with a name and a password"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How the password is proved, where the protocol is SASL"
    )
    kafka_username: str = Field("", description="Name of this process on Apache Kafka")
    kafka_password: SecretStr = Field(SecretStr(""), description="Its password")
    kafka_ca_file: Path | None = Field(
        None,
        description="PEM of who signs the brokers' certificates; empty: whom the system trusts",
    )
    kafka_certificate_file: Path | None = Field(
        None, description="PEM of our own certificate, where brokers ask for one"
    )
    kafka_key_file: Path | None = Field(
        None, description="PEM of its key, without a password; empty: it is in the same file"
    )
    database_url: SecretStr = Field(
        SecretStr(""), description="postgresql://…; empty: SQLite in the data folder"
    )
    embedded_broker_port: Port = Field(19092, description="Port of the embedded broker")
    ai_provider: Literal["local", "openai", "instant"] = Field(
        "local",
        description="local: no network; openai: whatever speaks OpenAI's API at the base URL; "
        "instant: empty content at no cost, for benchmarks",
    )
    ai_base_url: str = Field(
        "https://api.openai.com/v1",
        description="Where the openai provider is asked, up to and with /v1",
    )
    ai_api_key: SecretStr = Field(
        SecretStr(""), description="Its key; empty where none is asked for, as on one's own machine"
    )
    ai_text_model: str = Field("", description="Model that writes; the openai provider needs it")
    ai_image_model: str = Field(
        "", description="Model that draws; empty: cards are drawn here, at no cost of a provider"
    )
    ai_embedding_model: str = Field(
        "", description="Model that compares keywords; empty: the one that comes with Septet"
    )
    ai_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        60, description="Longest that one provider call may take"
    )
    ai_calls_at_once: Annotated[int, Field(ge=1, le=1000)] = Field(
        8, description="Calls that a worker process has under way with one provider's key"
    )
    ai_allowed_hosts: str = Field(
        "api.openai.com",
        description="Hosts that accounts may choose for providers of their own, with commas: a "
        "host, *.name for all below it, host:port, or http://host:port; none: they may choose none",
    )
    secrets_key: SecretStr = Field(
        SecretStr(""),
        description="Key to the accounts' stored keys: 32 random bytes in Base64, the same for "
        "every process; with commas also older ones, the newest first; empty: on one machine "
        "one is made in the data folder",
    )
    batch_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        600, description="After that a batch that nobody answers is asked for again"
    )
    requests_per_minute: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        6000,
        description="Requests a minute that an API process answers each key, and each address "
        "without one; 0: no limit",
    )
    streams_per_key: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        20, description="Live streams of a key at once on an API process; 0: no limit"
    )
    alive_file: Path | None = Field(
        None,
        description="File that a service touches every second once it does its work, for the "
        "health check of a container; empty: none",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log lines that are written"
    )

    @field_validator("admin_token")
    @classmethod
    def _fits_a_header(cls, token: SecretStr | None) -> SecretStr | None:
        if token and not PRINTABLE.fullmatch(token.get_secret_value()):
            raise ValueError("must be printable ASCII without blanks: others fit into no header")
        return token

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _brokers(cls, text: str) -> str:
        if not text.strip():
            return ""
        servers = [part.strip() for part in text.split(",")]
        if not all(map(_is_server, servers)):
            raise ValueError(A_SERVER)
        return ",".join(servers)

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

    @field_validator("ai_base_url")
    @classmethod
    def _web_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise ValueError("must be an address such as https://api.openai.com/v1")
        return url.rstrip("/")

    @field_validator("ai_allowed_hosts")
    @classmethod
    def _listed(cls, text: str) -> str:
        allowed_hosts(text)
        return text

    @field_validator("secrets_key")
    @classmethod
    def _keys(cls, text: SecretStr) -> SecretStr:
        _keys_in(text)
        return text

    @model_validator(mode="after")
    def _model_named(self) -> Self:
        if self.ai_provider == "openai" and not self.ai_text_model:
            raise ValueError("SEPTET_AI_PROVIDER is openai, which needs SEPTET_AI_TEXT_MODEL")
        return self

    @model_validator(mode="after")
    def _kafka_security(self) -> Self:
        protocol, name = self.kafka_security_protocol, "SEPTET_KAFKA_SECURITY_PROTOCOL"
        given = (bool(self.kafka_username), bool(self.kafka_password.get_secret_value()))
        if protocol.startswith("SASL") and not all(given):
            raise ValueError(
                f"{name} is {protocol}, which needs SEPTET_KAFKA_USERNAME and SEPTET_KAFKA_PASSWORD"
            )
        if not protocol.startswith("SASL") and any(given):
            raise ValueError(
                f"SEPTET_KAFKA_USERNAME and SEPTET_KAFKA_PASSWORD need {name} to be SASL_SSL or "
                f"SASL_PLAINTEXT, and it is {protocol}"
            )
        if self.kafka_key_file and not self.kafka_certificate_file:
            raise ValueError("SEPTET_KAFKA_KEY_FILE needs SEPTET_KAFKA_CERTIFICATE_FILE")
        if not protocol.endswith("SSL") and (self.kafka_ca_file or self.kafka_certificate_file):
            raise ValueError(
                "SEPTET_KAFKA_CA_FILE and SEPTET_KAFKA_CERTIFICATE_FILE need "
                f"{name} to be SSL or SASL_SSL, and it is {protocol}"
            )
        self.kafka_tls()
        return self

    def kafka_tls(self) -> ssl.SSLContext | None:
        """Return with whom we speak TLS and as whom, none where Kafka is spoken to in the clear.

        The brokers' certificates and the names in them are checked. Raises ValueError.
        """
        if not self.kafka_security_protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.kafka_ca_file)
        except (OSError, ValueError) as error:  # OSError: what TLS itself says, too
            raise ValueError(f"SEPTET_KAFKA_CA_FILE: {_unusable(error)}") from error
        if self.kafka_certificate_file:
            try:
                context.load_cert_chain(
                    self.kafka_certificate_file, self.kafka_key_file, password=""
                )  # without a password the terminal would be asked for one
            except (OSError, ValueError) as error:
                both = "SEPTET_KAFKA_CERTIFICATE_FILE or SEPTET_KAFKA_KEY_FILE"
                raise ValueError(f"{both}: {_unusable(error)}") from error
        return context

    @property
    def allowed_hosts(self) -> tuple[Allowed, ...]:
        """The hosts that accounts may choose for providers of their own."""
        return allowed_hosts(self.ai_allowed_hosts)

    @property
    def secrets_keys(self) -> list[bytes]:
        """The keys to the vault that are set, the newest first."""
        return _keys_in(self.secrets_key)

    @property
    def embedded_broker(self) -> bool:
        """Whether Septet starts the broker itself."""
        return not self.kafka_bootstrap_servers

    @property
    def brokers(self) -> str:
        """Where Kafka clients connect to."""
        return self.kafka_bootstrap_servers or f"127.0.0.1:{self.embedded_broker_port}"


def models_of(settings: Settings) -> Models:
    """Return the models that runs ask which begin now."""
    match settings.ai_provider:
        case "openai":
            return Models(
                text=settings.ai_text_model,
                image=settings.ai_image_model or LOCAL.image,
                embedding=settings.ai_embedding_model or LOCAL.embedding,
            )
        case "instant":
            return Models(text="instant", image="instant", embedding="instant")
        case "local":
            return LOCAL


def _is_server(text: str) -> bool:
    found = SERVER.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= HIGHEST_PORT:
        return False
    try:
        return found["ipv6"] is None or bool(IPv6Address(found["ipv6"]))
    except AddressValueError:
        return False


def _keys_in(text: SecretStr) -> list[bytes]:
    """Return the keys of a list with commas. Raises ValueError, which quotes none of them."""
    parts = [part.strip() for part in text.get_secret_value().split(",") if part.strip()]
    plain = [part.translate(str.maketrans("-_", "+/")) for part in parts]
    try:
        keys = [base64.b64decode(part, validate=True) for part in plain]
    except (binascii.Error, ValueError) as error:
        raise ValueError(A_KEY) from error
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(A_KEY)
    return keys


def _unusable(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return "is not the PEM that it should be"
