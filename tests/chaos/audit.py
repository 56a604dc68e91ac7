"""What must be true when everything is at rest again, and what can be counted of the way there."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.envelope import BadMessage, UnknownMessage
from events.reading import read, read_placed
from events.receipts import MessageAccepted, MessageRefused
from events.run import StageBatchCompleted, StageBatchRequested
from events.topics import DEAD_LETTERS, RUN_EVENTS, STAGE_REPORTS, is_published
from projections.database import open_engine
from projections.rebuild import differences
from services.invariants import in_topic, violations
from services.orchestrator.store import Stored, open_store
from services.places import read_model_url
from tests.system.septet import Septet

SHOWN = 8  # findings of a kind


@dataclass(slots=True)
class Counts:
    """What a fault cost. A batch is done again when it is asked for or reported again; `charged`
    twice is what must never be."""

    batches: int = 0
    asked_again: int = 0
    reported_again: int = 0
    charged_twice: int = 0


@dataclass(slots=True)
class Audited:
    """The findings of an audit, nothing when all is well, and each command's outcome."""

    findings: list[str] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)


def last_position(septet: Septet) -> int:
    """Return where the store ends now."""
    stored = _stored(septet)
    return stored[-1].placed.position if stored else 0


def audit(septet: Septet, since: int, letters: int) -> Audited:
    """Look at log, read model and topics; there may be so many dead letters and no more."""
    stored = _stored(septet)
    placed = [one.placed for one in stored if is_published(one.placed.envelope.message)]
    found = Audited(outcomes=_outcomes(stored), counts=_counts(septet, stored, since))
    found.findings += [f"log: {line}" for line in violations(stored)[:SHOWN]]
    engine = open_engine(read_model_url(septet.settings))
    try:
        found.findings += [f"tables: {line}" for line in differences(engine, placed)[:SHOWN]]
    finally:
        engine.dispose()
    published = list(_published(septet))
    found.findings += in_topic(placed, published)[:SHOWN]
    set_aside = septet.records(DEAD_LETTERS)
    if len(set_aside) > letters:
        errors = Counter(letter.header("septet-error") or "" for letter in set_aside)
        found.findings.append(f"{len(set_aside)} dead letters, not {letters}: {dict(errors)}")
    if found.counts.charged_twice:
        found.findings.append(f"{found.counts.charged_twice} batches were charged twice")
    return found


def money(septet: Septet, run: Any) -> Iterator[str]:
    """Yield where a run's credits differ between run, stages, AI task log and ledger."""
    run_id = run["run_id"]
    entries = [one for one in _all(septet, "/account/ledger") if one["run_id"] == run_id]
    sums = {
        "run": run["total_credits_used"],
        "stages": sum(stage["credits_used"] for stage in run["stages"]),
        "AI tasks": sum(one["credits"] for one in _all(septet, "/account/ai_tasks", run_id=run_id)),
        "ledger": sum(one["amount"] for one in entries if one["type"] == "settle"),
    }
    if len(set(sums.values())) != 1:
        yield f"{run_id}: credits differ: {sums}"
    if run["held_credits"]:
        yield f"{run_id}: {run['held_credits']} credits are still held"


def _all(septet: Septet, path: str, **params: str) -> Iterator[Any]:
    cursor: str | None = ""
    while cursor is not None:
        page = septet.get(path, limit=200, **params, **({"cursor": cursor} if cursor else {}))
        yield from page["items"]
        cursor = page["next_cursor"]


def _stored(septet: Septet) -> list[Stored]:
    store = open_store(septet.settings)
    try:
        return list(store.stored())
    finally:
        store.close()


def _outcomes(stored: Sequence[Stored]) -> dict[str, str]:
    found = dict[str, str]()
    for one in stored:
        match one.placed.envelope.message:
            case MessageAccepted():
                found[one.placed.envelope.cause] = "accepted"
            case MessageRefused():
                found[one.placed.envelope.cause] = "refused"
    return found


def _counts(septet: Septet, stored: Sequence[Stored], since: int) -> Counts:
    asked, recorded = Counter[str](), Counter[str]()
    for one in stored:
        if one.placed.position > since:
            match one.placed.envelope.message:
                case StageBatchRequested(batch_id=batch):
                    asked[batch] += 1
                case StageBatchCompleted(batch_id=batch):
                    recorded[batch] += 1
    reported = Counter[str]()
    for record in septet.records(STAGE_REPORTS):
        try:
            message = read(record).message
        except (UnknownMessage, BadMessage):
            continue
        if isinstance(message, StageBatchCompleted) and message.batch_id in asked:
            reported[message.batch_id] += 1
    return Counts(
        batches=len(asked),
        asked_again=_beyond_once(asked),
        reported_again=_beyond_once(reported),
        charged_twice=_beyond_once(recorded),
    )


def _beyond_once(counted: Counter[str]) -> int:
    return sum(count - 1 for count in counted.values())


def _published(septet: Septet) -> Iterator[Any]:
    """Yield the events of the public topic; garbage that a test has put there is none."""
    for record in septet.records(RUN_EVENTS):
        try:
            yield read_placed(record)
        except (UnknownMessage, BadMessage):
            continue
