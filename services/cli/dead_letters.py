"""`septet dead-letters`: messages that were set aside, why, and how to send them again."""

from collections.abc import Iterable
from typing import Annotated

import typer

from events.topics import DEAD_LETTERS, TOPICS, Record
from services.cli.client import Json
from services.cli.environment import read_settings
from services.cli.kafka import publish, records_of
from services.cli.output import Code, Failed, command, emit, facts, group, table
from services.logs import printable

app = group("Dead letters: messages that nobody could handle.")

ADDED = ("septet-error", "septet-origin", "septet-consumer")
Letter = Annotated[str, typer.Argument(help="Id, as septet dead-letters list shows it")]


@command(app, "list")
def show_all() -> None:
    """List the messages that were set aside, oldest first."""
    letters = [about(record) for record in records_of(read_settings(), DEAD_LETTERS)]
    rows = [(one["id"], one["type"], one["consumer"], one["error"]) for one in letters]
    text = table(("id", "type", "consumer", "error"), rows) if rows else "No dead letters."
    emit({"dead_letters": letters}, text)


@command(app, "show")
def show(letter: Letter) -> None:
    """Show a message that was set aside, with its body."""
    record = _find(records_of(read_settings(), DEAD_LETTERS), letter)
    body = (record.value or b"").decode(errors="backslashreplace")
    found = about(record)
    emit(found | {"body": body}, f"{facts(found)}\n\n{printable(body)}")


@command(app, "replay")
def replay(
    letter: Annotated[str | None, typer.Argument(help="Id, as the list shows it")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All of them")] = False,
) -> None:
    """Send messages that were set aside to where they came from again.

    That is harmless: whoever has handled one knows its id. The letters stay in the list.
    """
    if every == (letter is not None):
        raise Failed("name one dead letter, or --all", Code.USAGE)
    settings = read_settings()
    letters = records_of(settings, DEAD_LETTERS)
    chosen = letters if letter is None else [_find(letters, letter)]
    publish(settings, [original(record) for record in chosen])
    emit({"replayed": [about(record)["id"] for record in chosen]}, f"{len(chosen)} sent again")


def about(record: Record) -> Json:
    """Return what is known of a dead letter, but for its body."""
    return {
        "id": f"{record.partition}-{record.offset}",
        "message_id": record.header("ce_id"),
        "type": record.header("ce_type"),
        "account_id": record.header("ce_accountid"),
        "site_id": record.header("ce_siteid"),
        "key": record.key.decode(errors="backslashreplace") if record.key else None,
        "consumer": record.header("septet-consumer"),
        "origin": record.header("septet-origin"),
        "error": record.header("septet-error"),
    }


def original(record: Record) -> Record:
    """Return the message as it was before it was set aside. Raises Failed when it cannot be had."""
    if record.header("septet-size"):
        raise Failed(
            f"dead letter {record.partition}-{record.offset} was too large and is kept cut, "
            "so it cannot be sent again"
        )
    topic = (record.header("septet-origin") or "").rsplit("/", 2)[0]
    if topic not in {known.name for known in TOPICS} - {DEAD_LETTERS}:
        raise Failed(f"dead letter {record.partition}-{record.offset} names no topic of ours")
    headers = tuple(pair for pair in record.headers if pair[0] not in ADDED)
    return Record(topic=topic, key=record.key, value=record.value, headers=headers)


def _find(letters: Iterable[Record], letter: str) -> Record:
    for record in letters:
        found = about(record)
        if letter in {found["id"], found["message_id"]}:
            return record
    raise Failed(f"there is no dead letter {letter}. See septet dead-letters list")
