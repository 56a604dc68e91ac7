"""Where the broker is, who we are to it, and what can go wrong with either."""

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

logger = logging.getLogger(__name__)

LOST = (KafkaError, TimeoutError, OSError)  # the broker is away: nobody's message is to blame


class NothingSent(Exception):
    """The broker cannot be reached, and surely nothing has been sent."""


class AnswerLost(Exception):
    """It is unknown whether the broker has the record; it may still arrive."""


class OtherBroker(Exception):
    """Another broker, or one that lost everything, answers at the address."""


class Misconfigured(Exception):
    """Only an operator can put this right; the sentence says what and how. Waiting does not."""


class WrongTopic(Misconfigured):
    """A topic exists with other settings than ours, or cannot be made."""


class NotLetIn(Misconfigured):
    """The broker answers, and refuses our name, password, certificate or kind of connection."""


@dataclass(frozen=True, slots=True)
class Security:
    """How a connection is secured, and who we are. TLS where there is a context."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def options(self) -> dict[str, Any]:
        """Return what every client of aiokafka takes."""
        encrypted = self.tls is not None
        if self.mechanism is None:
            protocol = "SSL" if encrypted else "PLAINTEXT"
            return {"security_protocol": protocol, "ssl_context": self.tls}
        return {
            "security_protocol": "SASL_SSL" if encrypted else "SASL_PLAINTEXT",
            "ssl_context": self.tls,
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
        }


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and how to treat it.

    The embedded broker's joins take half a session time-out and its fetches look for new data only
    at half of the fetch wait, so both are short there; idempotent producers fail on it.
    """

    bootstrap_servers: str
    embedded: bool
    replication: int = 1
    security: Security = Security()

    @property
    def session_ms(self) -> int:
        return 2_000 if self.embedded else 10_000

    @property
    def connection(self) -> dict[str, Any]:
        """Return what every client of aiokafka connects with."""
        return {"bootstrap_servers": self.bootstrap_servers, **self.security.options}


async def require_entry(broker: Broker) -> None:
    """Raise NotLetIn when a broker answers and refuses us; the client calls that "cannot connect".

    Return when nobody answers, or when now all is well.
    """
    security = broker.security
    for host, port, _ in AIOKafkaClient(**broker.connection).hosts:
        where = f"the broker at {host}:{port}"
        try:
            async with asyncio.timeout(3):
                connection = await create_conn(
                    host, port, request_timeout_ms=3_000, **security.options
                )
        except SaslAuthenticationFailed as error:
            raise NotLetIn(
                f"{where} does not let {security.username} in. Correct SEPTET_KAFKA_USERNAME or "
                "SEPTET_KAFKA_PASSWORD"
            ) from error
        except UnsupportedSaslMechanismError as error:
            raise NotLetIn(
                f"{where} does not take {security.mechanism}. Correct SEPTET_KAFKA_SASL_MECHANISM"
            ) from error
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message.rstrip(".")
            raise NotLetIn(
                f"the certificate of {where} is not to be trusted: {why}. "
                "Correct SEPTET_KAFKA_CA_FILE, or the names in that certificate"
            ) from error
        except ssl.SSLError as error:
            raise NotLetIn(
                f"{where} and we do not agree on TLS: {error.reason or error}. Correct "
                "SEPTET_KAFKA_SECURITY_PROTOCOL or SEPTET_KAFKA_CERTIFICATE_FILE"
            ) from error
        except (KafkaConnectionError, ConnectionResetError):
            logger.warning(
                "a broker closes the connection at once: is its listener of this protocol, "
                "and does it ask for a certificate?",
                extra={"at": f"{host}:{port}", "protocol": security.options["security_protocol"]},
            )
            continue
        except LOST:
            continue
        with suppress(*LOST):
            connection.close()
        return


async def close(stopping: Coroutine[Any, Any, None], within: float = 5) -> None:
    """Stop a client in a task of its own, as aiokafka's stop may raise CancelledError."""
    task = asyncio.create_task(stopping)
    await asyncio.wait({task}, timeout=within)
    if not task.done():
        task.cancel()
    elif not task.cancelled() and (error := task.exception()):
        logger.info("a client did not stop cleanly", extra={"error": repr(error)})
