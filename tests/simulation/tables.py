"""The read model: a small one, folded by the rules' own `evolve`, and the real tables on SQLite.

The small one is quick, so most seeds use it; the real projections must answer the same questions,
and at rest equal their refold.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from events.envelope import Envelope
from events.message import Event
from events.receipts import MessageAccepted, MessageRefused
from events.run import StageBatchRequested, TimerSet
from events.topics import Placed
from projections import configs, receipts, timers
from projections.configs import DueSchedule
from projections.database import (
    create_tables,
    metadata,
    open_engine,
    reached,
    reading,
    writing,
)
from projections.fold import Overtaken, SetAside
from projections.projector import project_or_refold
from projections.rebuild import differences, rebuild
from projections.timers import TimerRow
from services.orchestrator.rules.evolve import evolve_run, evolve_site
from services.orchestrator.rules.state import Run, Site
from services.stage_workers.reading import Reader, Wanted
from tests.projections.tables import Told

ReadStore = Callable[[], Iterable[Placed]]


class Tables(Protocol):
    """What the services ask of the read model."""

    def project(self, batch: Sequence[Placed], set_aside: SetAside, store: ReadStore) -> None: ...
    def refold(self, store: ReadStore) -> None: ...
    def clear(self) -> None: ...
    def reached(self, key: str) -> int: ...
    def wanted(self, request: Envelope) -> Wanted: ...
    def shows_in_flight(self, request: Envelope) -> bool: ...
    def timers(self) -> list[TimerRow]: ...
    def due_slots(self, at: datetime) -> list[DueSchedule]: ...
    def has_receipt(self, envelope: Envelope) -> bool: ...
    def differences(self, store: ReadStore) -> list[str]: ...
    def close(self) -> None: ...


class SmallTables:
    """Runs and sites as the rules fold them, with the rows that others wait for.

    `twice` is a planted bug: what has been applied is applied again.
    """

    def __init__(self, *, twice: bool = False) -> None:
        self._twice = twice
        self.clear()

    def clear(self) -> None:
        self.runs: dict[str, Run] = {}
        self.sites: dict[str, Site] = {}
        self._accounts: dict[str, str] = {}
        self._waits: dict[str, Envelope] = {}
        self._receipts: set[str] = set()
        self._positions: dict[str, list[int]] = defaultdict(list)
        self._applied: Counter[tuple[str, str]] = Counter()

    def project(self, batch: Sequence[Placed], _set_aside: SetAside, store: ReadStore) -> None:
        try:
            self._fold(batch)
        except Overtaken:
            self.refold(store)
            self._fold(batch)

    def refold(self, store: ReadStore) -> None:
        self.clear()
        self._fold(list(store()))

    def _fold(self, batch: Sequence[Placed]) -> None:
        in_order = sorted(
            {one.position: one for one in batch}.values(), key=lambda one: one.position
        )
        overtaken = [one for one in in_order if self._is_overtaken(one)]
        if overtaken:
            raise Overtaken(overtaken)
        for one in in_order:
            is_new = one.position > self.reached(one.key)
            if is_new or self._twice:
                self._apply(one)
            if is_new:
                self._positions[one.key].append(one.position)

    def _is_overtaken(self, one: Placed) -> bool:
        known = self._positions[one.key]
        if not known or one.position > known[-1]:
            return False
        return known[bisect_right(known, one.position) - 1] != one.position

    def _apply(self, placed: Placed) -> None:
        envelope = placed.envelope
        event, run_id, site_id = envelope.message, envelope.run_id or "", envelope.site_id or ""
        match event:
            case MessageAccepted() | MessageRefused():
                self._receipts.add(envelope.cause)
            case Event(STREAM="run"):
                before = self.runs.get(run_id) or Run(id=run_id)
                self.runs[run_id] = evolve_run(before, event)
            case Event(STREAM="site"):
                site = self.sites.get(site_id) or Site(id=site_id)
                self.sites[site_id] = evolve_site(site, event, run_id)
                self._accounts[site_id] = envelope.account_id
        match event:
            case StageBatchRequested(batch_id=batch, attempt=attempt):
                self._waits[f"{batch}/{attempt}"] = envelope
            case TimerSet(timer_id=timer):
                self._waits[timer] = envelope
        self._applied[placed.key, event.TYPE] += 1

    def reached(self, key: str) -> int:
        known = self._positions.get(key)
        return known[-1] if known else 0

    def wanted(self, request: Envelope) -> Wanted:
        """Answer as services.stage_workers.reading does."""
        asked = request.message
        assert isinstance(asked, StageBatchRequested)
        run = self.runs.get(request.run_id or "", Run())
        if not self.shows_in_flight(request):
            is_open = asked.last and run.reported == asked.batch_id
            return "stage_open" if is_open else "answered"
        return "yes" if run.status == "running" else "not_running"

    def shows_in_flight(self, request: Envelope) -> bool:
        asked = request.message
        assert isinstance(asked, StageBatchRequested)
        flying = self.runs.get(request.run_id or "", Run()).in_flight.get(asked.batch_id)
        return flying is not None and flying.attempt == asked.attempt

    def timers(self) -> list[TimerRow]:
        waits = {name: one for name, one in self._waits.items() if self._is_awaited(one)}
        self._waits = waits
        return [row_of(name, envelope) for name, envelope in waits.items()]

    def _is_awaited(self, envelope: Envelope) -> bool:
        run = self.runs[envelope.run_id or ""]
        match envelope.message:
            case StageBatchRequested(batch_id=batch):
                is_lost = run.reported == batch and not run.has_ended
                return self.shows_in_flight(envelope) or is_lost
            case TimerSet(timer_id=timer):
                return run.timer == timer and not run.has_ended
            case _:
                return False

    def due_slots(self, at: datetime) -> list[DueSchedule]:
        return [
            DueSchedule(account_id=self._accounts[name], site_id=name, slot=site.next_run_at)
            for name, site in self.sites.items()
            if site.config.is_enabled and site.next_run_at is not None and site.next_run_at <= at
        ]

    def has_receipt(self, envelope: Envelope) -> bool:
        return envelope.id in self._receipts

    def differences(self, store: ReadStore) -> list[str]:
        fresh = SmallTables()
        fresh.refold(store)
        names = ("runs", "sites", "_receipts", "_positions", "_applied")
        return [
            f"{name} are not those of a refold"
            for name in names
            if getattr(self, name) != getattr(fresh, name)
        ]

    def close(self) -> None:
        return


def row_of(name: str, envelope: Envelope) -> TimerRow:
    """Return the row that the projection keeps of a wait."""
    message = envelope.message
    assert isinstance(message, StageBatchRequested | TimerSet)
    is_batch = isinstance(message, StageBatchRequested)
    return TimerRow(
        timer_id=name,
        account_id=envelope.account_id,
        site_id=envelope.site_id or "",
        run_id=envelope.run_id or "",
        kind="batch" if is_batch else "timer",
        stage=message.stage if is_batch else None,
        batch_id=message.batch_id if is_batch else None,
        attempt=message.attempt if is_batch else None,
        set_at=envelope.at,
        due_at=message.answer_by if is_batch else message.due_at,
    )


class RealTables:
    """The projections themselves, in a SQLite that lives as long as the seed."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory()
        self._engine = open_engine(f"sqlite:///{self._folder.name}/tables.db", disposable=True)
        create_tables(self._engine)
        self._reader = Reader(self._engine, _no_artifact)

    def project(self, batch: Sequence[Placed], set_aside: SetAside, store: ReadStore) -> None:
        def refold(bury: SetAside) -> None:
            self._rebuild(store, bury)

        project_or_refold(self._engine, batch, set_aside, refold)

    def refold(self, store: ReadStore) -> None:
        self._rebuild(store, _none_is_bad)

    def _rebuild(self, store: ReadStore, set_aside: SetAside) -> None:
        folder = Path(self._folder.name) / "rebuild"
        rebuild(self._engine, Told(list(store())), folder, set_aside)

    def clear(self) -> None:
        with writing(self._engine, alone=True) as tx:
            for table in metadata.sorted_tables:
                tx.execute(table.delete())

    def reached(self, key: str) -> int:
        with reading(self._engine) as tx:
            return reached(tx, key)

    def wanted(self, request: Envelope) -> Wanted:
        return self._reader._look(request)  # the question, without the waiting

    def shows_in_flight(self, request: Envelope) -> bool:
        return self.wanted(request) in {"yes", "not_running"}

    def timers(self) -> list[TimerRow]:
        with reading(self._engine) as tx:
            return timers.waiting(tx)

    def due_slots(self, at: datetime) -> list[DueSchedule]:
        with reading(self._engine) as tx:
            return configs.due(tx, at)

    def has_receipt(self, envelope: Envelope) -> bool:
        with reading(self._engine) as tx:
            return receipts.find(tx, envelope.account_id, envelope.id) is not None

    def differences(self, store: ReadStore) -> list[str]:
        return differences(self._engine, store())

    def close(self) -> None:
        self._engine.dispose()
        self._folder.cleanup()


def _none_is_bad(placed: Placed, reason: str) -> None:
    raise AssertionError(f"{placed.envelope.message} was set aside: {reason}")


async def _no_artifact(digest: str) -> bytes:
    raise LookupError(digest)
