"""One log format for every process: a record is one line of JSON that names whom it concerns."""

import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from math import inf

Level = str | int
BOUND: ContextVar[tuple[tuple[str, str | int], ...]] = ContextVar("septet_log_fields", default=())
STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
# Where a secret would be: an exception's text may quote a header, a URL or an answer.
SECRET = re.compile(
    r"(?i)\bsk[_-][a-z0-9_-]{8,}|(?<=\bbearer )[^\s\"',\\]+|(?<=://)[^\s/@\"]+(?=@)"
)
MASK = "[secret]"
LEAST_SECRET = 6  # characters; a shorter one would blot out words
SAY_AGAIN = 10.0  # seconds after which the Kafka client may repeat itself
QUIET = (
    "aiokafka",
    "asyncio",
    "faust",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "mode",
    "openai",  # logs what it sends, with all that a prompt says
    "uvicorn",
)


@contextmanager
def bound(
    *,
    account: str | None = None,
    site: str | None = None,
    run: str | None = None,
    stage: int | None = None,
) -> Iterator[None]:
    """Put these ids on every record that is logged inside, beside those bound outside."""
    given = {"account": account, "site": site, "run": run, "stage": stage}
    chosen = {name: value for name, value in given.items() if value is not None}
    token = BOUND.set(tuple({**dict(BOUND.get()), **chosen}.items()))
    try:
        yield
    finally:
        BOUND.reset(token)


class OneLine(logging.Formatter):
    """A record as one line of ASCII JSON.

    JSON's escapes leave no carriage return, line feed or escape character in the line, so no
    logged text can forge a second record or move a terminal's cursor. API keys, credentials in
    URLs and Authorization headers, and the given secrets are blotted out wherever they stand.
    """

    def __init__(self, service: str, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self.service = service
        self.secrets = _spelled(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        extra = {name: value for name, value in vars(record).items() if name not in STANDARD}
        fields = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "service": self.service,
            "logger": record.name,
            "message": record.getMessage(),
            **dict(BOUND.get()),
            **extra,
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return self._masked(_json(fields))

    def _masked(self, line: str) -> str:
        for secret in self.secrets:
            line = line.replace(secret, MASK)
        return SECRET.sub(MASK, line)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, default=str).replace("\x7f", "\\u007f")


def _spelled(secrets: Iterable[str]) -> list[str]:
    """Return the secrets as a line of JSON would spell them, those within others after these."""
    found = {_json(secret)[1:-1] for secret in secrets if len(secret) >= LEAST_SECRET}
    return sorted(found, key=len, reverse=True)


def configure(level: Level, service: str, secrets: Iterable[str] = ()) -> None:
    """Send every logger of this process to stderr in the one format, from `level` on.

    The secrets are never written.

    The libraries that tell of each request or heartbeat are heard from WARNING on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(service, secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    handler.addFilter(KafkaClient())


class KafkaClient(logging.Filter):
    """Keeps what the Kafka client says of attempts that it repeats by itself, as information.

    Our own lines around its calls name what is really lost, so its errors need wake nobody. While
    a broker is away it says the same hundreds of times a second; once in a while is enough.
    """

    def __init__(self) -> None:
        super().__init__("aiokafka")
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True
        if record.levelno > logging.INFO:
            record.levelno, record.levelname = logging.INFO, "INFO"
        text = f"{record.name} {record.msg}"  # without the arguments
        if record.created - self._said.get(text, -inf) < SAY_AGAIN:
            return False
        self._said[text] = record.created
        return record.levelno >= logging.getLogger().level


def printable(text: str) -> str:
    """Return the text with control, format and escape characters spelled out."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
