"""`septet audit verify`: all copies of what happened, compared, each finding one line."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import sqlalchemy as sa

from projections.database import open_engine
from services.artifacts import open_artifacts
from services.audit import artifacts, tables, topic
from services.audit.log import LOOK_EVERY, Log, read_log
from services.audit.survey import Index
from services.audit.topic import NoBroker
from services.orchestrator.chain import open_chain
from services.orchestrator.store import Store, open_store
from services.places import read_model_url
from services.settings import Settings

CHECKS = ("log", "chain", "topic", "read-model", "ledger", "artifacts")
SETTLE_WITHIN = 10.0  # seconds that relay, topic and read model are given to catch up

Counted = tuple[int, list[str]]


@dataclass(frozen=True, slots=True)
class KeptHead:
    """A head that somebody has kept elsewhere: of a site, or an account, at a position."""

    key: str
    position: int
    head: str


@dataclass(frozen=True, slots=True)
class Check:
    """What one check has compared, how much of it, for how long, and what differs.

    `notes` are worth a look and no differences.
    """

    name: str
    compared: int
    what: str
    seconds: float
    findings: list[str]
    is_done: bool = True
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    events: int = 0
    checks: list[Check] = field(default_factory=list)

    @property
    def findings(self) -> list[str]:
        return [line for check in self.checks for line in check.findings]

    @property
    def notes(self) -> list[str]:
        return [line for check in self.checks for line in check.notes]

    @property
    def topic_compared(self) -> bool:
        return any(check.name == "topic" and check.is_done for check in self.checks)


def kept_heads(lines: Iterable[str]) -> list[KeptHead]:
    """Return the heads in lines of JSON, as `audit heads` and the API give them.

    Raises ValueError for a line that is none.
    """
    return [_kept(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _kept(number: int, line: str) -> KeptHead:
    try:
        told = json.loads(line)
        key = told.get("site_id") or told["account_id"]
        return KeptHead(str(key), int(told["position"]), str(told["head"]).lower())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"line {number} is no head: {line.strip()[:80]}") from error


def verify(
    settings: Settings, only: Sequence[str] = CHECKS, kept: Sequence[KeptHead] = ()
) -> Report:
    """Compare all copies, or only those named. What is behind is given ten seconds to catch up."""
    auditor = Auditor(settings, only)
    try:
        return auditor.report(kept)
    finally:
        auditor.close()


class Auditor:
    """Opens what is compared, and reads the log once for all checks.

    All copies are compared up to where the log ended then; what goes on meanwhile is no difference.
    """

    def __init__(self, settings: Settings, only: Sequence[str]) -> None:
        self._settings, self._only = settings, frozenset(only)
        self._store: Store = open_store(settings)
        self._engine: sa.Engine = open_engine(read_model_url(settings))
        self._until = time.monotonic() + SETTLE_WITHIN

    def close(self) -> None:
        self._engine.dispose()
        self._store.close()

    @cached_property
    def _log(self) -> Log:
        rules = not self._only.isdisjoint(("log", "ledger"))
        return read_log(self._settings, log=rules, deadline=self._until)

    @cached_property
    def _newest(self) -> int:
        return self._store.newest()

    def _index(self) -> Index:
        return Index(bytes(part.index) for part in self._log.surveys)

    def report(self, kept: Sequence[KeptHead]) -> Report:
        """Return what was compared, in the order of the checks."""
        report = Report()
        checks: dict[str, Callable[[], Check]] = {
            "log": self._rules,
            "chain": self._chain,
            "heads": lambda: self._kept(kept),
            "topic": self._topic,
            "read-model": lambda: self._timed("read-model", "events", self._read_model),
            "ledger": lambda: self._timed("ledger", "sums", self._ledger),
            "artifacts": lambda: self._timed("artifacts", "artifacts", self._artifacts),
        }
        for name, check in checks.items():
            if name in self._only or (name == "heads" and kept):
                report.checks.append(check())
        in_events = [check.compared for check in report.checks if check.what == "events"]
        report.events = max(in_events, default=0)
        return report

    def _rules(self) -> Check:
        began = time.monotonic()
        log = self._log
        return Check("log", log.events, "events", time.monotonic() - began, log.log)

    def _timed(self, name: str, what: str, compare: Callable[[], Counted]) -> Check:
        """Compare until nothing differs or the time to catch up is over."""
        began = time.monotonic()
        while True:
            compared, found = compare()
            if not found or time.monotonic() > self._until:
                return Check(name, compared, what, time.monotonic() - began, found)
            time.sleep(LOOK_EVERY)

    def _chain(self) -> Check:
        def compare() -> Counted:
            until = self._log.bounds.until
            return self._log.events, tables.head_differences(self._engine, self._index(), until)

        told = self._timed("chain", "events", compare)
        return replace(told, findings=[*self._log.chain, *told.findings])

    def _kept(self, kept: Sequence[KeptHead]) -> Check:
        began, chain = time.monotonic(), open_chain(self._settings)
        found = list[str]()
        try:
            for one in kept:
                entry = chain.at(one.key, one.position)
                if entry is None or entry.position != one.position or not entry.shown:
                    found.append(
                        f"heads: {one.key} has no event at {one.position}, and a kept head"
                    )
                elif entry.head.chain.hex() != one.head:
                    found.append(
                        f"heads: {one.key} at position {one.position}: the history up to there is "
                        "not the one of the kept head"
                    )
        finally:
            chain.close()
        return Check("heads", len(kept), "kept heads", time.monotonic() - began, found)

    def _topic(self) -> Check:
        until, notes = self._log.bounds.until, list[str]()

        def compare() -> Counted:
            published = topic.records(self._settings)
            compared, found, notes[:] = topic.differences(
                self._index(), until, published, self._id_at
            )
            return compared, found

        try:
            return replace(self._timed("topic", "records", compare), notes=notes)
        except NoBroker:
            return Check("topic", 0, "records", 0.0, [], is_done=False)

    def _id_at(self, position: int) -> str:
        for stored in self._store.page(position - 1, 1):
            return stored.placed.envelope.id
        return "an event"

    def _read_model(self) -> Counted:
        return tables.row_differences(self._engine, self._store, self._newest)

    def _ledger(self) -> Counted:
        until, newest = self._log.bounds.until, self._store.newest
        return tables.ledger_differences(self._engine, self._log.surveys, until, newest)

    def _artifacts(self) -> Counted:
        named = (bytes(part.artifacts) for part in self._log.surveys)
        return artifacts.differences(open_artifacts(self._settings), named)
