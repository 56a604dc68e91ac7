"""A message set aside: the bytes as they came, with the error, the origin and who gave up."""

from events.topics import DEAD_LETTERS, Headers, Record

# A topic takes 1 MiB a record by default. A larger letter could never be sent, and whoever wants to
# send it would stand still.
LARGEST_BODY, LARGEST_KEY, LARGEST_HEADERS = 900_000, 1_000, 16_000  # bytes


def dead_letter(record: Record, error: str, consumer: str) -> Record:
    """Return the dead letter: key, body and headers of the original, its origin, and why.

    What is too large to be sent is cut, and `septet-size` says how large the body was.
    """
    added = {
        "septet-error": error[:1000],
        "septet-origin": f"{record.topic}/{record.partition}/{record.offset}",
        "septet-consumer": consumer,
    }
    key, value = record.key, record.value
    if value is not None and len(value) > LARGEST_BODY:
        added["septet-size"] = str(len(value))
        value = value[:LARGEST_BODY]
    if key is None and value is None:
        key = b""  # Kafka clients want one of the two
    return Record(
        topic=DEAD_LETTERS,
        key=key if key is None else key[:LARGEST_KEY],
        value=value,
        headers=(*_kept(record.headers, added), *((n, text.encode()) for n, text in added.items())),
    )


def _kept(headers: Headers, added: dict[str, str]) -> Headers:
    """Return the original's headers, as many as may be, but for those that are added."""
    kept, size = [], 0
    for name, value in headers:
        size += len(name) + len(value)
        if name not in added and size <= LARGEST_HEADERS:
            kept.append((name, value))
    return tuple(kept)
