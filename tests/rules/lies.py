"""Logs in which one thing is not as it was: what an audit must notice, and which check does.

Each lie changes one thing in a true log and leaves the rest in order: versions, positions and ids
are made anew, so that no other check is set off by the way.
"""

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from events.commands import (
    ApprovalRequested,
    BatchTimedOut,
    CancelRequested,
    ChangesRequested,
    ConfigUpdateRequested,
    CreditsRequested,
    PauseRequested,
    ResumeRequested,
    RunRequested,
    TimerElapsed,
)
from events.config import ConfigChanges
from events.content import Halt, Outcome, Tally
from events.envelope import Envelope
from events.ids import derive
from events.message import Event, Message
from events.pipeline import LAST
from events.receipts import MessageAccepted, MessageRefused
from events.run import StageBatchRequested, TimerSet
from events.site import ItemsMoved
from events.topics import Placed, is_published
from services import invariants
from services.invariants import Audit
from services.orchestrator.store import Stored
from tests.builders import RUN, Scene, answer, failure, report, returned, stage_report

Appends = tuple[tuple[Envelope, ...], ...]

BUSY = Halt(kind="rate_limited", detail="too many requests", wait_seconds=30)
LOCKED = Halt(kind="key_refused", detail="the key is refused")


# --- true logs


def work(scene: Scene, *, most: int = 99, **how: Any) -> None:
    """Answer batches until none is open, or `most` were."""
    for _ in range(most):
        requests = list(scene.open_requests())
        if not requests:
            return
        asked = requests[0].message
        assert isinstance(asked, StageBatchRequested)
        together = dict.fromkeys(asked.items, "cl") if asked.stage == 1 else None
        said = report(asked, clusters=together, prompts=2, **how)
        scene.handle(answer(requests[0], said, scene.now))
        if asked.last:
            scene.handle(answer(requests[0], stage_report(asked), scene.now))


def opened(scene: Scene) -> tuple[Envelope, StageBatchRequested]:
    """Return the batch that is in flight."""
    request = next(iter(scene.open_requests()))
    assert isinstance(request.message, StageBatchRequested)
    return request, request.message


def whole_run() -> Scene:
    """Two keywords through all stages, two batches side by side, and what a reviewer may say."""
    scene = Scene().furnish(max_parallel_batches=2, stage_1_batch_size=1)
    scene.submit("k1", "k2", "k3")
    scene.send(RunRequested(), run=RUN)
    work(scene)
    for draft in sorted(drafts(scene))[:1]:
        scene.send(ChangesRequested(content_id=draft, note="shorter"))
        scene.send(RunRequested(), run="run-b")
        work(scene)
        scene.send(ApprovalRequested(content_id=draft))
    return scene


def drafts(scene: Scene) -> list[str]:
    said = (one.placed.envelope.message for one in scene.log())
    moved = [one for one in said if isinstance(one, ItemsMoved) and one.stage == LAST]
    return [item for one in moved for item in one.done]


def troubled_run() -> Scene:
    """Batches that fail, come back, expire and are given up; a cancel, a retry, credits short."""
    scene = Scene().furnish(amount=45, stage_1_batch_size=1)
    scene.submit("k1", "k2")
    scene.send(RunRequested(), run=RUN)
    request, asked = opened(scene)
    scene.handle(answer(request, failure(asked, cost=1), scene.now))
    request, asked = opened(scene)
    scene.handle(answer(request, returned(asked), scene.now))
    request, asked = opened(scene)
    late = BatchTimedOut(stage=1, batch_id=asked.batch_id, attempt=asked.attempt)
    scene.send(late, run=RUN)
    request, asked = opened(scene)
    scene.handle(answer(request, failure(asked), scene.now))
    scene.send(PauseRequested(), run=RUN)
    scene.send(ResumeRequested(), run=RUN)
    work(scene, most=1)
    request, asked = opened(scene)
    scene.send(CancelRequested(), run=RUN)
    scene.handle(answer(request, returned(asked), scene.now))
    scene.send(RunRequested(retry_of=RUN), run="run-b")
    work(scene, most=3)
    request, asked = opened(scene)
    scene.handle(answer(request, report(asked, cost=99), scene.now))
    scene.send(RunRequested(), run="run-c")
    scene.send(CreditsRequested(amount=50, reason="top-up"), site=None)
    scene.send(CancelRequested(), run="run-b")
    return scene


def scheduled_run() -> Scene:
    """A schedule that starts a run, one slot that is missed, and delays between the steps."""
    scene = Scene().furnish(within_stage_delay=3, between_stage_delay=3, stage_1_batch_size=1)
    scene.submit("k1", "k2")
    changes = ConfigChanges(is_enabled=True, scheduled_time="10:00")
    scene.send(ConfigUpdateRequested(changes=changes))
    slot = scene.now.replace(hour=10)
    scene.now = slot + timedelta(minutes=1)
    scene.send(RunRequested(trigger_type="scheduled", slot=slot), run=RUN)
    for _ in range(4):
        work(scene, most=1)
        timers = [one for one in scene.stream(RUN) if isinstance(one, TimerSet)]
        scene.now += timedelta(seconds=5)
        scene.send(TimerElapsed(timer_id=timers[-1].timer_id), run=RUN)
    request, asked = opened(scene)
    scene.send(CancelRequested(), run=RUN)
    scene.now += timedelta(days=3)
    slot += timedelta(days=1)
    scene.handle(answer(request, report(asked), scene.now))
    scene.send(RunRequested(trigger_type="scheduled", slot=slot), run="run-b")
    scene.send(ConfigUpdateRequested(changes=ConfigChanges(scheduled_time="11:00")))
    return scene


def halted_run() -> Scene:
    """A provider that first wants to be waited for, and then a person to act."""
    scene = Scene().furnish(stage_1_batch_size=3)
    scene.submit("k1", "k2", "k3")
    scene.send(RunRequested(), run=RUN)
    for halt, seconds in ((BUSY, BUSY.wait_seconds), (LOCKED, 0)):
        request, asked = opened(scene)
        said = report(asked, deferred=asked.items[1:], halt=halt)
        scene.handle(answer(request, said, scene.now))
        scene.now += timedelta(seconds=seconds)
        if seconds:
            (timer,) = (one for one in scene.stream(RUN) if isinstance(one, TimerSet))
            scene.send(TimerElapsed(timer_id=timer.timer_id), run=RUN)
    scene.send(ResumeRequested(), run=RUN)
    work(scene, most=1)
    return scene


# --- logs as appends, and back


def appends_of(log: Sequence[Stored]) -> Appends:
    """Return the log's events by append; each ends with its receipt."""
    appends: list[tuple[Envelope, ...]] = []
    begun: list[Envelope] = []
    for one in log:
        begun.append(one.placed.envelope)
        if isinstance(one.placed.envelope.message, MessageAccepted | MessageRefused):
            appends.append(tuple(begun))
            begun = []
    return tuple(appends)


def logged(appends: Appends) -> list[Stored]:
    """Return the appends as a log: versions, positions, ids and `more` as they ought to be."""
    log: list[Stored] = []
    versions: Counter[str] = Counter()
    for append in appends:
        shown = [n for n, one in enumerate(append) if is_published(one.message)]
        for number, envelope in enumerate(append):
            stream = stream_of(envelope)
            versions[stream] += 1
            fields = {
                "id": derive("msg", envelope.cause, number),
                "more": bool(shown) and number < shown[-1],
            }
            placed = Placed(len(log) + 1, envelope.model_copy(update=fields))
            log.append(Stored(placed, stream, versions[stream], "", b""))
    return log


def stream_of(envelope: Envelope) -> str:
    message = envelope.message
    assert isinstance(message, Event)
    names = {
        "run": envelope.run_id,
        "site": envelope.site_id,
        "account": envelope.account_id,
        "receipt": f"receipt-{envelope.cause}",
    }
    return names[message.STREAM] or ""


# --- lies


@dataclass(frozen=True)
class Lie:
    """What is changed, and the log with that changed."""

    what: str
    log: Callable[[], list[Stored]]


def lies_in(name: str, log: Sequence[Stored]) -> Iterator[Lie]:
    """Give every lie that follows a pattern: a field, an event or an append is not as it was."""
    appends = appends_of(log)
    for at, append in enumerate(appends):
        for number, envelope in enumerate(append):
            where = f"{name}: {envelope.message.TYPE} {number} of append {at}"
            for field, value in other_messages(envelope.message):
                changed = envelope.model_copy(update={"message": value})
                yield _lie(f"{where}: other {field}", _put(appends, at, number, changed))
            yield _lie(f"{where} is gone", _put(appends, at, number))
            yield _lie(f"{where} is doubled", _put(appends, at, number, envelope, envelope))
        yield _lie(f"{name}: append {at} is gone", appends[:at] + appends[at + 1 :])
        again = tuple(one.model_copy(update={"cause": f"{one.cause}-2"}) for one in append)
        doubled = (*appends[: at + 1], again, *appends[at + 1 :])
        yield _lie(f"{name}: append {at} is doubled", doubled)
        swapped = (*appends[:at], *appends[at + 1 : at + 2], append, *appends[at + 2 :])
        yield _lie(f"{name}: append {at} comes later", swapped)
    yield from raw_lies(name, list(log))


def _lie(what: str, appends: Appends) -> Lie:
    return Lie(what, lambda: logged(appends))


def _put(appends: Appends, at: int, number: int, *envelopes: Envelope) -> Appends:
    append = (*appends[at][:number], *envelopes, *appends[at][number + 1 :])
    return (*appends[:at], append, *appends[at + 1 :])


def other_messages(message: Message) -> Iterator[tuple[str, Message]]:
    """Give the message with one field changed."""
    for name, value in message:
        for number, other in enumerate(other_values(value)):
            yield f"{name} {number}", message.model_copy(update={name: other})


def other_values(value: Any) -> list[Any]:
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value - 1, value + 1000, -1]
        case str():
            return [OTHER_TRIGGER.get(value, f"{value}x")]
        case datetime():
            return [value + timedelta(days=400), value - timedelta(days=400), None]
        case Halt():
            return [None]
        case Tally():
            return [value.model_copy(update={"credits_used": value.credits_used + 1})]
        case tuple():
            more = [_other(one) for one in value[:1]]
            return [(), value[:-1], (*value, *value[:1]), (*value, *more), (*more, *value[1:])]
        case dict():
            return [{name: count + 1 for name, count in value.items() if isinstance(count, int)}]
        case _:
            return []


def _other(one: Any) -> Any:
    if isinstance(one, Outcome):
        return one.model_copy(
            update={"error": None if one.error else "x", "made": (*one.made, "x")}
        )
    if isinstance(one, str):
        return f"{one}x"
    return one.model_copy(update={"id": "x"}) if hasattr(one, "id") else one


def raw_lies(name: str, log: list[Stored]) -> Iterator[Lie]:
    """Give lies of the store itself: places, owners, ids."""
    for at, one in enumerate(log):
        envelope = one.placed.envelope
        other: list[tuple[str, Stored]] = [
            ("version", replace(one, version=one.version + 1)),
            ("position", replace(one, placed=replace(one.placed, position=0))),
            ("stream", replace(one, stream=f"{one.stream}x", version=1)),
        ]
        changes = {
            "id": "msg-x",
            "more": not envelope.more,
            "account_id": "account-x",
            "cause": "x",
        }
        changes |= {"site_id": "site-x"} if envelope.site_id else {}
        for field, value in changes.items():
            changed = envelope.model_copy(update={field: value})
            other.append((field, replace(one, placed=replace(one.placed, envelope=changed))))
        for what, lie in other:
            yield _raw(f"{name}: other {what} at {at}", [*log[:at], lie, *log[at + 1 :]])
    yield _raw(f"{name}: the end is torn off", log[:-1])


def _raw(what: str, log: list[Stored]) -> Lie:
    return Lie(what, lambda: log)


OTHER_TRIGGER = {"manual": "scheduled", "scheduled": "manual"}

# --- who notices


SOURCE = inspect.getsource(invariants)


def checks() -> dict[int, str]:
    """Return every check of the audit: the line that it stands in, and what it says."""
    found = {}
    for node in ast.walk(ast.parse(SOURCE)):
        match node:
            case ast.Call(func=ast.Attribute(attr="_require"), args=args, keywords=keywords):
                said = [*args[1:], *(one.value for one in keywords if one.arg == "what")]
                found[node.lineno] = ast.unparse(said[0])
    return found


class Noticed(Audit):
    """An audit that notes which of its checks fail; one may be left out."""

    def __init__(self, without: int | None = None) -> None:
        super().__init__()
        self.lines: set[int] = set()
        self._without = without

    def _require(self, holds: bool, what: str) -> None:  # noqa: FBT001  # as the audit has it
        frame = sys._getframe(1)
        if frame.f_lineno == self._without:
            return
        if not holds:
            self.lines.add(frame.f_lineno)
        super()._require(holds, what)


def noticed_by(log: Sequence[Stored], without: int | None = None) -> set[int]:
    """Return the lines of the checks that fail."""
    audit = Noticed(without)
    for one in log:
        audit.see(one)
    audit.end()
    return audit.lines


def names_of_checks() -> dict[str, int]:
    """Return the line of each check by what it says; of several that say the same, by number."""
    names: dict[str, int] = {}
    for line, what in sorted(checks().items()):
        number = sum(name.startswith(what) for name in names)
        names[f"{what} #{number + 1}" if number else what] = line
    return names


def found_alone() -> dict[str, str]:
    """Return for each check a lie that no other notices: what `witnesses.py` is made of."""
    names = {line: name for name, line in names_of_checks().items()}
    found: dict[str, str] = {}
    for of, make in TRUE.items():
        for lie in lies_in(of, make().log()):
            lines = noticed_by(lie.log())
            if len(lines) == 1:
                found.setdefault(names[lines.pop()], lie.what)
    return found


Maker = Callable[[], Scene]
TRUE: dict[str, Maker] = {
    "whole run": whole_run,
    "troubled run": troubled_run,
    "scheduled run": scheduled_run,
    "halted run": halted_run,
}
