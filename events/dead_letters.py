"""A message set aside: the bytes as they came, with the error, the origin and who gave up."""

from events.topics import DEAD_LETTERS, Record


def dead_letter(record: Record, error: str, consumer: str) -> Record:
    """Return the dead letter: key, body and headers of the original, its origin, and why."""
    origin = f"{record.topic}/{record.partition}/{record.offset}"
    added = {
        "septet-error": error[:1000],
        "septet-origin": origin,
        "septet-consumer": consumer,
    }
    kept = tuple(pair for pair in record.headers if pair[0] not in added)
    return Record(
        topic=DEAD_LETTERS,
        key=b"" if record.key is None and record.value is None else record.key,  # one is needed
        value=record.value,
        headers=(*kept, *((name, text.encode()) for name, text in added.items())),
    )
