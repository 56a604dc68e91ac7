"""`septet audit`: every event as it was said, and whether all that follows from them agrees."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.environment import read_settings
from services.cli.kafka import nobody
from services.cli.output import Code, Failed, as_json, command, emit, group, note, say, table
from services.cli.stores import answering
from services.settings import Settings

if TYPE_CHECKING:
    from services.audit.verify import KeptHead, Report
    from services.orchestrator.store import Store

app = group("Audit: replay what happened, verify that every copy agrees.")

END = 2**63 - 1


class Source(StrEnum):
    """Where events are read from."""

    STORE = "store"
    KAFKA = "kafka"


@command(app, "replay")
def replay(
    run: Annotated[str | None, typer.Option(help="Run id")] = None,
    site: Annotated[str | None, typer.Option(help="Site id")] = None,
    source: Annotated[
        Source, typer.Option("--from", help="store: the truth; kafka: septet.run-events")
    ] = Source.STORE,
    at: Annotated[
        int | None, typer.Option(min=0, help="As it was with this position: nothing later")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only what follows this position")] = 0,
    *,
    state: Annotated[
        bool, typer.Option("--state", help="What all that made of it, instead of the events")
    ] = False,
) -> None:
    """Print the events of a run or a site as JSON lines, in order; or its state at a position."""
    if (run is None) == (site is None):
        raise Failed("name either --run or --site", Code.USAGE)
    if state and (after or source is Source.KAFKA):
        raise Failed("--state is of the store, at one position: see --at", Code.USAGE)
    id_, until = run or site or "", END if at is None else at
    settings = read_settings()
    if state:
        _say_state(settings, id_, until, is_run=run is not None)
        return
    found = 0
    lines = _stored if source is Source.STORE else _published
    for line in lines(settings, id_, after, until):
        say(line)
        found += 1
    if not found:
        where = f" from {after} to {at}" if at is not None else f" after {after}" if after else ""
        raise Failed(f"there are no events of {id_} in the {source.value}{where}")


@command(app, "verify")
def verify(
    only: Annotated[
        str | None,
        typer.Option(help="Some of log,chain,topic,read-model,ledger,artifacts", metavar="CHECKS"),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(help="Heads kept elsewhere, a JSON object a line, as audit heads gives them"),
    ] = None,
) -> None:
    """Compare store, chain, topic, read model, ledger and artifacts. Exit code 1 if they differ.

    What is behind is given ten seconds to catch up, also beside a Septet at work.
    """
    from services.audit import verify as audit

    settings, began = read_settings(), time.monotonic()
    chosen = _chosen(only, audit.CHECKS)
    kept = _kept(heads)
    with answering(settings):
        report = audit.verify(settings, chosen, kept)
    if "topic" in chosen and not report.topic_compared:
        note(f"the topic was not compared: no broker answers at {settings.brokers}")
    _tell(report, time.monotonic() - began)
    if report.findings:
        raise Failed(
            f"{len(report.findings)} differences. See docs/audit.md",
            problem={"code": "differences", "count": len(report.findings)},
        )


@command(app, "heads")
def heads(
    site: Annotated[str | None, typer.Option(help="Site id; else every site and account")] = None,
) -> None:
    """Print the newest head of each chain, to be kept where nobody of this installation writes."""
    from services.orchestrator.chain import open_chain

    settings, found = read_settings(), list[dict[str, Any]]()
    with answering(settings):
        chain = open_chain(settings)
        try:
            for entry in chain.newest():
                if site is not None and entry.key != site:
                    continue
                whose = "site_id" if entry.key.startswith("site-") else "account_id"
                head = {
                    whose: entry.key,
                    "position": entry.position,
                    "head": entry.head.chain.hex(),
                }
                if as_json():
                    emit(head, "")
                found.append(head)
        finally:
            chain.close()
    if not found:
        raise Failed(f"there is no head of {site}" if site else "nothing has been published yet")
    if not as_json():
        rows = [list(head.values()) for head in found]
        say(table(["key", "position", "head"], rows))


def _chosen(only: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    if only is None:
        return known
    chosen = tuple(name.strip() for name in only.split(",") if name.strip())
    strange = [name for name in chosen if name not in known]
    if strange or not chosen:
        named = f"{strange[0]} is no check" if strange else "--only names no check"
        raise Failed(f"{named}. There are {', '.join(known)}", Code.USAGE)
    return chosen


def _kept(path: Path | None) -> "list[KeptHead]":
    from services.audit.verify import kept_heads

    if path is None:
        return []
    try:
        return kept_heads(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise Failed(f"--heads {path}: {error}", Code.USAGE) from error


def _tell(report: "Report", seconds: float) -> None:
    answer = {
        "events": report.events,
        "topic_compared": report.topic_compared,
        "differences": report.findings,
        "notes": report.notes,
        "checks": [
            {
                "check": check.name,
                "compared": check.compared if check.is_done else None,
                "of": check.what,
                "findings": len(check.findings),
                "seconds": round(check.seconds, 3),
            }
            for check in report.checks
        ],
        "seconds": round(seconds, 3),
    }
    rows = [
        [
            check.name,
            f"{check.compared:,} {check.what}" if check.is_done else "not compared",
            len(check.findings),
            check.seconds,
        ]
        for check in report.checks
    ]
    verdict = "differ" if report.findings else "agree"
    shown = table(["check", "compared", "findings", "seconds"], rows)
    summary = f"{report.events:,} events in {seconds:.1f} s: all that was compared {verdict}"
    notes = [f"note: {line}" for line in report.notes]
    emit(answer, "\n".join([shown, "", summary, *notes, *report.findings]))


def _say_state(settings: Settings, id_: str, until: int, *, is_run: bool) -> None:
    from services.audit.history import state_of_run, state_of_site

    with _open(settings) as store:
        last = store.newest()
        state = (state_of_run if is_run else state_of_site)(store, id_, until)
    if state is None:
        at = "" if until == END else f" at position {until}"
        raise Failed(f"there was no {id_}{at}")
    emit({"position": min(until, last), **state}, _as_text({"position": min(until, last), **state}))


def _as_text(state: dict[str, Any]) -> str:
    import json

    return json.dumps(state, indent=2, ensure_ascii=False, default=str)


def _stored(settings: Settings, id_: str, after: int, until: int) -> Iterator[str]:
    from services.audit.history import events_of, line_of

    with _open(settings) as store:
        for position, _, _, name, body in events_of(store, id_, after, until):
            yield line_of(position, name, body)


def _published(settings: Settings, id_: str, after: int, until: int) -> Iterator[str]:
    """Yield the events that the topic has, once each, as they come: each key's in their order."""
    from events.envelope import BadMessage, UnknownMessage
    from events.reading import read_placed
    from services.audit.history import line_of
    from services.audit.topic import NoBroker, records

    last = Counter[str]()
    try:
        for record in records(settings):
            try:
                placed = read_placed(record)
            except (UnknownMessage, BadMessage) as error:
                note(f"topic: {record.partition}/{record.offset} is no event: {error}")
                continue
            envelope, position = placed.envelope, placed.position
            if id_ not in (envelope.run_id, envelope.site_id) or position <= last[placed.key]:
                continue
            last[placed.key] = position
            if after < position <= until:
                yield line_of(position, record.header("ce_type") or "", record.value or b"")
    except NoBroker as error:
        raise nobody(settings) from error


@contextmanager
def _open(settings: Settings) -> "Iterator[Store]":
    from services.orchestrator.store import open_store

    with answering(settings):
        store = open_store(settings)
        try:
            yield store
        finally:
            store.close()
