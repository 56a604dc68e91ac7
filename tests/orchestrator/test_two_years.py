"""Two years of schedules on a virtual clock: every slot has one answer, whatever is down or lost.

What is expected is worked out from the zones' data (`tests/calendars.py`), not from the rules.
"""

import asyncio
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from events.commands import (
    AccountRequested,
    CancelRequested,
    ConfigUpdateRequested,
    KeywordsSubmitted,
    PauseRequested,
    SiteRequested,
)
from events.config import Config, ConfigChanges
from events.content import NewKeyword
from events.envelope import Envelope
from events.message import Event, Message
from events.reading import read
from events.run import RunStarted
from events.site import ConfigUpdated, RunRefused, ScheduleAdvanced, SiteReleased
from events.topics import Placed, Record
from projections import configs, refusals, runs
from projections.database import create_tables, open_engine, reading, stamp
from projections.projector import project
from projections.refusals import RefusalRow
from services.invariants import violations
from services.orchestrator.rules.evolve import evolve_site
from services.orchestrator.rules.state import Site
from services.orchestrator.scheduler import SAY_AGAIN, Scheduler
from tests.builders import ACCOUNT, AT_ONCE, KEY, Scene, event_of
from tests.calendars import DAY, slots_of

BEGIN, END = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2028, 1, 1, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
CATCH_UP = 23 * HOUR  # the policy, written down a second time
BEHIND = timedelta(seconds=7)  # the second scheduler's clock
POOR = "account-poor"
IDLE, BROKE = "site-idle", "site-broke"
NEVER = {IDLE: "nothing_to_do", BROKE: "insufficient_credits"}  # sites that never start a run

SCHEDULES: dict[str, dict[str, Any]] = {
    "site-berlin": {"timezone": "Europe/Berlin", "scheduled_time": "02:30"},
    "site-york": {
        "timezone": "America/New_York",
        "scheduled_time": "01:30",
        "frequency": "weekly",
        "schedule_weekday": 6,
    },
    BROKE: {
        "timezone": "Africa/Cairo",
        "scheduled_time": "00:30",
        "frequency": "weekly",
        "schedule_weekday": 4,
    },
    "site-howe": {
        "timezone": "Australia/Lord_Howe",
        "scheduled_time": "02:15",
        "frequency": "weekly",
        "schedule_weekday": 6,
    },
    IDLE: {
        "timezone": "America/Havana",
        "scheduled_time": "00:00",
        "frequency": "weekly",
        "schedule_weekday": 6,
    },
    "site-troll": {
        "timezone": "Antarctica/Troll",
        "scheduled_time": "01:30",
        "frequency": "monthly",
        "schedule_day": 28,
    },
    "site-kiritimati": {"timezone": "Pacific/Kiritimati", "frequency": "monthly"},
}

CONFIGS = configs.configs
Line = tuple[datetime | None, str, int | str]  # a slot, the code, and how many were missed from it


CODES = (*NEVER.values(), "run_already_active", "schedule_missed", "schedule_changed")


def account_of(site: str | None) -> str:
    return POOR if site == BROKE else ACCOUNT


def line_of(no: RunRefused | RefusalRow) -> Line:
    return (no.slot, no.code, no.numbers.get("missed_slots", 1))


@dataclass
class Book:
    """What is expected of a site: its calendar, of which what is up to `answered` has an answer.

    `slots` counts those; each is in `starts`, or in `why`. A paused run is active until it `ends`.
    """

    config: Config
    answered: datetime
    active: str | None = None
    ends: datetime | None = None
    starts: list[datetime] = field(default_factory=list)
    why: list[Line] = field(default_factory=list)
    slots: int = 0

    @cached_property
    def calendar(self) -> list[datetime]:
        known = self.config.is_enabled
        return slots_of(self.config, date(2025, 12, 1), date(2028, 3, 1)) if known else []

    def change(self, config: Config, at: datetime) -> None:
        """Go by another calendar; slots that are over are none of it."""
        self.config, self.answered = config, at
        self.__dict__.pop("calendar", None)

    def over(self, at: datetime) -> list[datetime]:
        """Return the slots until now that nobody has answered."""
        calendar = self.calendar
        return calendar[bisect_right(calendar, self.answered) : bisect_right(calendar, at)]

    def answer(self, over: list[datetime], starts: Sequence[datetime | None]) -> None:
        self.answered = over[-1]
        self.slots += len(over)
        self.starts += [slot for slot in starts if slot]

    def next_after(self, at: datetime) -> datetime | None:
        calendar = self.calendar
        return calendar[bisect_right(calendar, at)] if calendar else None


class Town:
    """A real handler, a real read model and two schedulers; the clock goes from slot to slot."""

    def __init__(self, engine: sa.Engine, seed: int) -> None:
        self.engine, self.random = engine, random.Random(seed)
        self.scene = Scene()
        self.scene.now = BEGIN
        self.up_since = BEGIN
        self.position = 0
        self.news: list[Placed] = []  # what the read model does not know yet
        self.kafka: list[Record] = []
        self.schedulers = [Scheduler(engine, self._publish) for _ in range(2)]
        self.sites: dict[str, Site] = {}
        self.books: dict[str, Book] = {}

    async def _publish(self, record: Record) -> None:
        if self.random.random() < 0.9:  # else it is lost
            self.kafka.append(record)

    # --- what happens

    def found(self) -> None:
        """Open two accounts and the sites, each with a schedule."""
        for account, amount in ((ACCOUNT, 1_000_000), (POOR, 0)):
            key = KEY.model_copy(update={"key_id": f"key-{account}"})
            self.say(AccountRequested(name=account, amount=amount, key=key), None, account)
        keywords = tuple(NewKeyword(keyword=f"word {number}") for number in range(20))
        for site, fields in SCHEDULES.items():
            zone = fields["timezone"]
            self.books[site] = Book(Config(timezone=zone), BEGIN)
            self.say(SiteRequested(name=site, domain=site, timezone=zone), site)
            changes = {**fields, **AT_ONCE, "is_enabled": True, "max_items_per_stage": 1}
            self.configure(site, **changes)
            if site != IDLE:
                self.say(KeywordsSubmitted(keywords=keywords), site)

    def say(
        self, message: Message, site: str | None, account: str = "", run: str | None = None
    ) -> None:
        account = account or account_of(site)
        self.handle(self.scene.envelope(message, site=site, run=run, account=account))

    def configure(self, site: str, **changes: Any) -> None:
        """Change the config; a slot that is due stays so unless the schedule itself changes."""
        book, now = self.books[site], self.scene.now
        changed = ConfigChanges.model_validate(changes)
        config = Config.model_validate({**dict(book.config), **changed.chosen()})
        over, before = book.over(now), list(book.why)
        self.say(ConfigUpdateRequested(changes=changed), site)
        if changes.keys() & {"is_enabled", "scheduled_time", "timezone", "schedule_weekday"}:
            if over:
                before.append((over[0], "schedule_changed", len(over)))
                book.slots += len(over)
            book.change(config, now)
        else:
            book.config = config
        assert book.why == before

    def handle(self, envelope: Envelope) -> None:
        """Handle a message, perhaps once more, and compare its events with what is expected."""
        for _, bug in self.scene.handler.handle([envelope]):
            raise bug
        new = list(self.scene.store.stored(self.position))
        if not new:
            return
        self.position = new[-1].placed.position
        self.news += [one.placed for one in new]
        site = envelope.site_id or ""
        for one in new:
            if one.stream == site:
                before = self.sites.get(site, Site(id=site))
                event = one.placed.envelope.message
                self.sites[site] = evolve_site(before, event, envelope.run_id or "")
        if site in self.books:
            self.compare(site, envelope.run_id, [event_of(one) for one in new])

    def compare(self, site: str, run: str | None, events: list[Event]) -> None:
        book, now = self.books[site], self.scene.now
        starts = [event.slot for event in events if isinstance(event, RunStarted)]
        lines = [line_of(event) for event in events if isinstance(event, RunRefused)]
        advanced = [event for event in events if isinstance(event, ScheduleAdvanced)]
        book.why += lines
        if advanced and not any(isinstance(event, ConfigUpdated) for event in events):
            over = book.over(now)
            assert over, f"{site}: an answer to no slot"
            assert (lines, starts) == self.expected(site, over)
            upcoming = book.next_after(now)
            assert advanced == [ScheduleAdvanced(slot=over[-1], next_run_at=upcoming)]
            assert now - max(over[-1], self.up_since) < MINUTE
            book.answer(over, starts)
        if starts:
            assert advanced, f"{site}: a run for no slot"
            assert book.active is None, f"{site}: two active runs"
            book.active = run
        if any(isinstance(event, SiteReleased) for event in events):
            book.active = None

    def expected(self, site: str, over: list[datetime]) -> tuple[list[Line], list[datetime]]:
        """Return the lines of `why` and the slots of runs that the slots are answered with."""
        first, newest = over[0], over[-1]
        if self.scene.now - newest >= CATCH_UP:
            return [(first, "schedule_missed", len(over))], []
        older = [(first, "schedule_missed", len(over) - 1)] if len(over) > 1 else []
        if self.books[site].active:
            return [*older, (newest, "run_already_active", 1)], []
        if site in NEVER:
            return [*older, (newest, NEVER[site], 1)], []
        return older, [newest]

    # --- time

    def look(self, runner: asyncio.Runner) -> list[Envelope]:
        """Let both schedulers look, one of them with a clock that is behind, in any order."""
        self.show()
        pairs = list(zip(self.schedulers, (timedelta(), BEHIND), strict=True))
        self.random.shuffle(pairs)
        for scheduler, behind in pairs:
            runner.run(scheduler.look(self.scene.now - behind, self.scene.now.timestamp()))
        sent = [read(record) for record in self.kafka]
        self.kafka.clear()
        self.random.shuffle(sent)
        return sent

    def show(self) -> None:
        """Project what has happened: `next_run_at` is the rules', and the calendar's."""
        if not self.news:
            return
        project(self.engine, self.news, lambda *_: pytest.fail("an event was set aside"))
        self.news.clear()
        with reading(self.engine) as tx:
            shown = {row.site_id: row.next_run_at for row in tx.execute(sa.select(CONFIGS))}
        for site, book in self.books.items():
            expected = book.next_after(book.answered)
            assert self.sites[site].next_run_at == expected
            assert shown[site] == (expected and stamp(expected))

    def settle(self, runner: asyncio.Runner) -> None:
        """Answer all that is due; what is lost is said again."""
        for _ in range(8):
            sent = self.look(runner)
            self.interfere(sent)
            for envelope in sent:
                self.handle(envelope)
            self.end_runs()
            if not any(book.over(self.scene.now) for book in self.books.values()):
                return
            self.scene.now += SAY_AGAIN
        raise AssertionError("a slot is forgotten")

    def interfere(self, sent: list[Envelope]) -> None:
        """Sometimes change a schedule while the commands for its slot are on their way."""
        for site, book in self.books.items():
            mine = [one for one in sent if one.site_id == site and one.actor == "scheduler"]
            over = book.over(self.scene.now)
            if not mine or not over or self.random.random() > 0.02:
                continue
            self.configure(site, scheduled_time=self.another_time(site))
            for command in mine:
                self.handle(command)

    def another_time(self, site: str) -> str:
        used = self.books[site].config.scheduled_time
        times = ["00:00", "01:45", "02:00", "02:30", "09:15", "23:30"]
        return self.random.choice([one for one in times if one != used])

    def end_runs(self) -> None:
        """End the runs that were started, but for some that are paused for hours or days."""
        now = self.scene.now
        for site, book in self.books.items():
            if book.active is None:
                continue
            if book.ends is None and self.random.random() < 0.05:
                book.ends = now + self.random.randrange(1, 60) * HOUR
                self.say(PauseRequested(), site, run=book.active)
            elif book.ends is None or now >= book.ends:
                book.ends = None
                self.say(CancelRequested(), site, run=book.active)

    def change(self) -> None:
        """Sometimes change a config: the schedule, or fields that no slot depends on."""
        site = self.random.choice(list(self.books))
        book = self.books[site]
        if self.random.random() < 0.5:
            self.configure(site, stage_4_batch_size=self.random.randrange(1, 9))
        else:
            zones = [fields["timezone"] for fields in SCHEDULES.values()]
            change = self.random.choice(
                [
                    {"scheduled_time": self.another_time(site)},
                    {"timezone": self.random.choice(zones)},
                    {"schedule_weekday": self.random.randrange(7)},
                    {"is_enabled": not book.config.is_enabled},
                ]
            )
            self.configure(site, **change)

    def live(self, runner: asyncio.Runner) -> None:
        """Go from slot to slot until two years are over, with a break-down now and then."""
        self.found()
        while True:
            coming = [book.next_after(book.answered) for book in self.books.values()]
            due = min(slot for slot in coming if slot is not None)
            if due > END:
                self.show()
                return
            self.scene.now = max(self.scene.now, due) + timedelta(seconds=self.random.random() * 20)
            if self.random.random() < 0.04:
                length = self.random.choice((10 * MINUTE, 6 * HOUR, 2 * DAY, 10 * DAY))
                self.scene.now += self.random.random() * length
                self.up_since = self.scene.now
            if self.random.random() < 0.03:
                self.change()
            if self.random.random() < 0.02:
                self.scene.handler = self.scene.restarted()
            self.settle(runner)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'read-model.db'}")
    create_tables(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("seed", [1])
def test_in_two_years_every_slot_has_one_answer(engine: sa.Engine, seed: int) -> None:
    town = Town(engine, seed)
    with closing(asyncio.Runner()) as runner:
        town.live(runner)
    assert violations(town.scene.log()) == []
    codes: Counter[str] = Counter()
    for site, book in town.books.items():
        with reading(engine) as tx:
            why = refusals.recent(tx, account_of(site), site, 10_000)
        assert [line_of(row) for row in reversed(why)] == book.why
        assert book.slots == len(book.starts) + sum(int(count) for _, _, count in book.why)
        assert len(set(book.starts)) == len(book.starts)
        codes.update(code for _, code, _ in book.why)
        assert (book.starts == []) == (site in NEVER)
    with reading(engine) as tx:
        ran = tx.execute(sa.select(sa.func.count()).select_from(runs.runs)).scalar_one()
    assert ran == sum(len(book.starts) for book in town.books.values()) > 600
    assert min(codes[code] for code in CODES) >= 5, codes  # else two years were too quiet
