"""`septet dead-letters`: messages that were set aside, why, and how to send them again."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from pydantic_core import from_json, to_json

from events.dead_letters import attempts, fingerprint, original
from events.message import bare_name
from events.topics import DEAD_LETTERS, PRIVATE, REPLAYS, TOPICS, Record
from services.cli.client import Json
from services.cli.environment import read_settings
from services.cli.kafka import publish, records_of
from services.cli.output import (
    Code,
    Failed,
    as_json,
    command,
    emit,
    facts,
    group,
    local,
    note,
    say,
    table,
)
from services.cli.shown import count
from services.clock import now
from services.logs import printable
from services.settings import Settings

app = group("Dead letters: messages that nobody could handle.")

AT_MOST = 100  # letters that a command shows or sends, unless it is told
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = 5  # messages that a preview names
SENDABLE = {topic.name for topic in TOPICS} - {DEAD_LETTERS, *PRIVATE}
SPAN = re.compile(r"^([1-9]\d{0,5})([smhd])$")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Named = Annotated[str, typer.Argument(help="Id as the list shows it, or the message's id")]
Run = Annotated[str | None, typer.Option(help="Only those of this run")]
Site = Annotated[str | None, typer.Option(help="Only those of this site")]
By = Annotated[
    str | None, typer.Option(help="Only those of: orchestrator, projector, stage-worker-N")
]
Kind = Annotated[
    str | None,
    typer.Option("--type", help="Only messages of this name; septet.NAME.v1 is one version"),
]
Since = Annotated[
    str | None, typer.Option(help="Only those set aside since: 30m, 12h, 7d, or a time (RFC 3339)")
]
AtMost = Annotated[int, typer.Option(min=1, help="How many at most")]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant: those that agree with all that is given."""

    run: str | None = None
    site: str | None = None
    consumer: str | None = None
    kind: str | None = None
    since: datetime | None = None

    def takes(self, letter: Json) -> bool:
        wanted = (
            (self.run, letter["run_id"]),
            (self.site, letter["site_id"]),
            (self.consumer, letter["consumer"]),
            (self.kind, _named_as(self.kind, letter["type"] or "")),
        )
        if any(asked is not None and asked != has for asked, has in wanted):
            return False
        return self.since is None or _at(letter) >= self.since


def _named_as(asked: str | None, name: str) -> str:
    """Return a type as it was asked for: the whole wire name with its version, or the bare one."""
    return name if asked and "." in asked else bare_name(name)


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter with what is known of it: its message, if it can be sent, and what became of it.

    `attempt` is how often the message had failed, `sent` after which of these it was sent again.
    """

    record: Record
    about: Json
    message: Record | None
    obstacle: str | None
    attempt: int
    sent: int

    @property
    def is_sent(self) -> bool:
        return self.sent >= self.attempt


@dataclass(frozen=True, slots=True)
class Plan:
    """What a replay does: `send` oldest first, each message once; `left` is beyond the limit."""

    send: tuple[Letter, ...]
    known: tuple[Letter, ...]
    stuck: tuple[Letter, ...]
    left: int


@command(app, "list")
def show_all(
    run: Run = None,
    site: Site = None,
    consumer: By = None,
    kind: Kind = None,
    since: Since = None,
    limit: AtMost = AT_MOST,
) -> None:
    """List the messages that were set aside, newest first, and count them by cause."""
    wanted = Filter(run, site, consumer, kind, since_of(since, now()))
    letters = [one for one in _letters(read_settings()) if wanted.takes(one.about)][::-1]
    shown = [one.about for one in letters[:limit]]
    causes = causes_of(one.about for one in letters)
    answer = {"dead_letters": shown, "total": len(letters), "causes": causes}
    emit(answer, _listed(shown, causes, len(letters)))


@command(app, "show")
def show(letter: Named) -> None:
    """Show a message that was set aside, with its body; of several with one id the newest."""
    found = _find(_letters(read_settings()), letter)
    body = (found.record.value or b"").decode(errors="backslashreplace")
    emit(found.about | {"body": body}, f"{facts(found.about)}\n\n{printable(body)}")


@command(app, "replay")
def replay(
    letter: Annotated[str | None, typer.Argument(help="Id, as the list shows it")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All of them")] = False,
    run: Run = None,
    site: Site = None,
    consumer: By = None,
    kind: Kind = None,
    since: Since = None,
    limit: AtMost = AT_MOST,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was sent before and has not failed since")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, send nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Send without asking")] = False,
) -> None:
    """Send messages that were set aside to where they came from again, oldest first.

    On a terminal it shows them first and asks. It is harmless: who has handled one knows its id.
    A message that was set aside several times is sent once, and the letters stay in the list.
    """
    wanted = Filter(run, site, consumer, kind, since_of(since, now()))
    if (letter is not None) + (every or wanted != Filter()) != 1:
        raise Failed("name one dead letter, or --all, or whose with --run, --site …", Code.USAGE)
    if dry_run and yes:
        raise Failed("either --dry-run or --yes", Code.USAGE)
    settings = read_settings()
    letters = _letters(settings)
    if letter is not None:
        chosen = _find(letters, letter)
        if chosen.obstacle is not None:
            raise Failed(
                f"dead letter {chosen.about['id']} cannot be sent again: {chosen.obstacle}"
            )
        letters = [chosen]
    plan = planned((one for one in letters if wanted.takes(one.about)), limit, again=again)
    if dry_run:
        emit(preview(plan, sent=False), preview_text(plan))
        return
    if plan.send and not yes and can_be_asked() and not _is_wanted(plan):
        return
    _send(settings, plan)
    emit(preview(plan, sent=True), "\n".join([f"{len(plan.send)} sent again", *_besides(plan)]))


def _is_wanted(plan: Plan) -> bool:
    """Show what would be sent and ask."""
    say(preview_text(plan))
    if typer.confirm(f"Send {count(len(plan.send), 'message')}?"):
        return True
    note("nothing was sent")
    return False


def can_be_asked() -> bool:
    """Tell whether somebody sits at a terminal; a script has said what it wants."""
    return sys.stdin.isatty() and not as_json()


def _send(settings: Settings, plan: Plan) -> None:
    at = now()
    pairs = [(one.message, mark_of(one, at)) for one in plan.send if one.message is not None]
    publish(settings, [record for pair in pairs for record in pair])


# --- what is known of letters


def about(record: Record) -> Json:
    """Return what is known of a dead letter, but for its body."""
    body = _body(record)
    return {
        "id": f"{record.partition}-{record.offset}",
        "at": record.header("septet-at"),
        "message_id": record.header("ce_id") or body.get("id"),
        "type": record.header("ce_type"),
        "account_id": record.header("ce_accountid") or body.get("account_id"),
        "site_id": record.header("ce_siteid") or body.get("site_id"),
        "run_id": body.get("run_id") or _subject(record),
        "key": record.key.decode(errors="backslashreplace") if record.key else None,
        "consumer": record.header("septet-consumer"),
        "origin": record.header("septet-origin"),
        "attempt": max(1, attempts(record)),
        "error": record.header("septet-error"),
        "cut": record.header("septet-cut"),
        "size": record.header("septet-size"),
        "sha256": record.header("septet-sha256"),
    }


def _body(record: Record) -> Mapping[str, str]:
    """Return the texts of the body, as far as it is one: what is set aside may be anything."""
    try:
        fields = from_json(record.value or b"")
    except ValueError:
        return {}
    found = fields if isinstance(fields, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _subject(record: Record) -> str | None:
    subject = record.header("ce_subject") or ""
    return subject if subject.startswith("run-") else None


def obstacle_of(record: Record) -> str | None:
    """Return why a letter cannot be sent again, nothing when it can."""
    cut = record.header("septet-cut")
    if cut:
        return f"its {cut.replace(',', ' and ')} was too large and is kept cut"
    if _topic(record) not in SENDABLE:
        return "it names no topic of ours"
    return None


def _topic(record: Record) -> str:
    return (record.header("septet-origin") or "").rsplit("/", 2)[0]


def letters_of(records: Iterable[Record], marks: Iterable[Record]) -> list[Letter]:
    """Return letters with what became of them, oldest first."""
    sent: dict[str, tuple[int, str]] = {}
    for mark in marks:
        name, told = (mark.key or b"").decode(errors="replace"), _body(mark)
        sent[name] = max(sent.get(name, (0, "")), (attempts(mark), told.get("at", "")))
    found = []
    for record in records:
        obstacle = obstacle_of(record)
        message = None if obstacle else original(record, _topic(record))
        upto, when = sent.get(fingerprint(message), (0, "")) if message else (0, "")
        known = about(record)
        one = Letter(record, known, message, obstacle, known["attempt"], upto)
        known["replayed_at"] = when if one.is_sent else None
        found.append(one)
    return sorted(found, key=_age)


def _age(letter: Letter) -> tuple[datetime, int, int]:
    return _at(letter.about), letter.record.partition, letter.record.offset


def _at(letter: Json) -> datetime:
    """Return when it was set aside; a letter that does not say is as old as can be."""
    try:
        at = datetime.fromisoformat(letter["at"] or "")
    except ValueError:
        return BEGINNING
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def mark_of(letter: Letter, at: datetime) -> Record:
    """Return the note that a letter was sent again: which message, and after which attempt."""
    assert letter.message is not None
    told = {"letter": letter.about["id"], "at": at.isoformat().replace("+00:00", "Z")}
    return Record(
        topic=REPLAYS,
        key=fingerprint(letter.message).encode(),
        value=to_json(told),
        headers=tuple(pair for pair in letter.message.headers if pair[0] == "septet-attempt"),
    )


def causes_of(letters: Iterable[Json]) -> list[Json]:
    """Return how many letters each cause has, most first: who, over what, with which error."""
    counts = Counter((one["consumer"], one["type"], one["error"]) for one in letters)
    return [
        {"count": number, "consumer": consumer, "type": kind, "error": error}
        for (consumer, kind, error), number in counts.most_common()
    ]


def since_of(text: str | None, at: datetime) -> datetime | None:
    """Return the time that is meant: so long before now, or the time itself. Raises Failed."""
    if text is None:
        return None
    if span := SPAN.match(text):
        return at - timedelta(**{UNITS[span[2]]: int(span[1])})
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise Failed("--since takes 30m, 12h, 7d, or a time (RFC 3339)", Code.USAGE) from None
    return told if told.tzinfo else told.replace(tzinfo=UTC)


# --- what a replay would do


def planned(letters: Iterable[Letter], limit: int, *, again: bool) -> Plan:
    """Return what to send: of each message the newest letter, unless it was sent since.

    A message that failed again has an attempt more than its last replay, so its turn has come.
    """
    newest: dict[str, Letter] = {}
    stuck = []
    for one in letters:
        if one.message is None:
            stuck.append(one)
            continue
        name = fingerprint(one.message)
        before = newest.pop(name, one)
        newest[name] = max(before, one, key=lambda letter: letter.attempt)
    open_ = [one for one in newest.values() if again or not one.is_sent]
    known = tuple(one for one in newest.values() if one.is_sent and not again)
    return Plan(tuple(open_[:limit]), known, tuple(stuck), max(0, len(open_) - limit))


def preview(plan: Plan, *, sent: bool) -> Json:
    """Return a plan as JSON; `replayed` is empty unless it was followed."""
    ids = [one.about["id"] for one in plan.send]
    return {
        "replayed": ids if sent else [],
        "would_replay": [] if sent else ids,
        "messages": [
            {"topic": topic, "type": kind, "count": number}
            for (topic, kind), number in _kinds(plan.send)
        ],
        "replayed_before": [one.about["id"] for one in plan.known],
        "cannot": [{"id": one.about["id"], "why": one.obstacle} for one in plan.stuck],
        "left": plan.left,
    }


def preview_text(plan: Plan) -> str:
    """Return what would be sent where: how many of what, and the first of them."""
    kinds = [(topic, kind, number) for (topic, kind), number in _kinds(plan.send)]
    first = [
        (one.about["id"], one.about["type"], one.about["run_id"], one.about["error"])
        for one in plan.send[:FIRST]
    ]
    more = len(plan.send) - len(first)
    return "\n".join(
        [
            f"{count(len(plan.send), 'message')} would be sent again:",
            table(("topic", "type", "messages"), kinds),
            "",
            table(("id", "type", "run", "error"), first),
            *([f"and {more} more"] if more else []),
            *_besides(plan),
        ]
    )


def _besides(plan: Plan) -> list[str]:
    """Return what a replay leaves, a line each."""
    lines = [f"{one.about['id']} cannot be sent again: {one.obstacle}" for one in plan.stuck]
    if plan.known:
        were = f"{count(len(plan.known), 'message')} sent again before, not failed since"
        lines.append(f"{were}: --again sends such too")
    if plan.left:
        lines.append(
            f"{count(plan.left, 'message')} left beyond --limit: say it again for the rest"
        )
    return lines


def _kinds(letters: Sequence[Letter]) -> list[tuple[tuple[str, str], int]]:
    counts = Counter((_topic(one.record), one.about["type"] or "-") for one in letters)
    return sorted(counts.items())


def _listed(shown: Sequence[Json], causes: Sequence[Json], total: int) -> str:
    if not shown:
        return "No dead letters."
    heads = ("id", "when", "type", "run", "consumer", "attempt", "sent again", "error")
    rows = [
        (
            one["id"],
            local(one["at"]),
            one["type"],
            one["run_id"],
            one["consumer"],
            one["attempt"],
            local(one["replayed_at"]),
            one["error"],
        )
        for one in shown
    ]
    told = f"{len(shown)} of {count(total, 'dead letter')}, newest first"
    parts = [table(heads, rows), "", told]
    if len(causes) < total:
        counted = [(one["count"], one["consumer"], one["type"], one["error"]) for one in causes]
        parts += ["", table(("letters", "consumer", "type", "error"), counted)]
    return "\n".join(parts)


def _letters(settings: Settings) -> list[Letter]:
    return letters_of(records_of(settings, DEAD_LETTERS), records_of(settings, REPLAYS))


def _find(letters: Sequence[Letter], named: str) -> Letter:
    """Return the letter, the newest of those with the message's id. Raises Failed."""
    for one in reversed(letters):
        if named in {one.about["id"], one.about["message_id"]}:
            return one
    raise Failed(f"there is no dead letter {named}. See septet dead-letters list")
