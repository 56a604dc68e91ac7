"""One log format for every process: a record is one line of JSON that names whom it concerns."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

Level = str | int
BOUND: ContextVar[tuple[tuple[str, str | int], ...]] = ContextVar("septet_log_fields", default=())
STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
QUIET = ("aiokafka", "asyncio", "faust", "httpcore", "httpx", "mode", "uvicorn")


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
    logged text can forge a second record or move a terminal's cursor.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

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
        return json.dumps(fields, ensure_ascii=True, default=str).replace("\x7f", "\\u007f")


def configure(level: Level, service: str) -> None:
    """Send every logger of this process to stderr in the one format, from `level` on.

    The libraries that tell of each request or heartbeat are heard from WARNING on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    handler.addFilter(_demote)


def _demote(record: logging.LogRecord) -> bool:
    """Keep what the Kafka client says of attempts that it repeats by itself, as information.

    Our own lines around its calls name what is really lost, so its errors need wake nobody.
    """
    if record.name.startswith("aiokafka") and record.levelno > logging.INFO:
        record.levelno, record.levelname = logging.INFO, "INFO"
    return record.levelno >= logging.getLogger().level


def printable(text: str) -> str:
    """Return the text with control, format and escape characters spelled out."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
