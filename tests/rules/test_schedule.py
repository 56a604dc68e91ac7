"""When a schedule is due, in the site's own zone, and what answers a slot."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from events.commands import ConfigUpdateRequested, RunRequested
from events.config import Config, ConfigChanges
from events.message import Event
from events.run import RunStarted
from events.site import ConfigUpdated, RunRefused, ScheduleAdvanced
from services.orchestrator.rules.schedule import next_run_at
from services.orchestrator.rules.state import State
from tests.builders import READY, after, decide, given, keywords, names, refusal, tell

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(after_: str, **fields: Any) -> str | None:
    slot = next_run_at(Config(is_enabled=True, **fields), utc(after_))
    return None if slot is None else slot.strftime("%Y-%m-%d %H:%M")


def test_a_disabled_schedule_is_never_due() -> None:
    assert next_run_at(Config(), utc("2026-01-01")) is None


@pytest.mark.parametrize(
    ("at", "fields", "slot"),
    [
        ("2026-03-02 01:59", {}, "2026-03-02 02:00"),
        ("2026-03-02 02:00", {}, "2026-03-03 02:00"),  # strictly after
        ("2026-12-31 23:00", {"scheduled_time": "22:30"}, "2027-01-01 22:30"),
        ("2026-03-02 09:00", {"frequency": "weekly"}, "2026-03-09 02:00"),  # Monday to Monday
        ("2026-03-02 01:00", {"frequency": "weekly"}, "2026-03-02 02:00"),
        ("2026-03-02 09:00", {"frequency": "weekly", "schedule_weekday": 6}, "2026-03-08 02:00"),
        ("2026-03-02 09:00", {"frequency": "weekly", "schedule_weekday": 5}, "2026-03-07 02:00"),
        ("2026-03-02 09:00", {"frequency": "monthly"}, "2026-04-01 02:00"),
        ("2026-02-28 01:00", {"frequency": "monthly", "schedule_day": 28}, "2026-02-28 02:00"),
        ("2026-01-29 00:00", {"frequency": "monthly", "schedule_day": 28}, "2026-02-28 02:00"),
        ("2028-02-28 03:00", {"frequency": "monthly", "schedule_day": 28}, "2028-03-28 02:00"),
        # the site's own zone: one hour ahead in winter, two in summer
        ("2026-01-15 00:30", {"timezone": BERLIN}, "2026-01-15 01:00"),
        ("2026-07-15 00:30", {"timezone": BERLIN}, "2026-07-16 00:00"),
        ("2026-01-15 00:30", {"timezone": NEW_YORK}, "2026-01-15 07:00"),
        # weekdays are the zone's: Monday 02:00 in Kiritimati is Sunday noon UTC
        (
            "2026-03-02 09:00",
            {"frequency": "weekly", "timezone": "Pacific/Kiritimati"},
            "2026-03-08 12:00",
        ),
        # an hour that does not exist runs at the first minute after the gap
        ("2026-03-28 12:00", {"timezone": BERLIN, "scheduled_time": "02:30"}, "2026-03-29 01:00"),
        ("2026-03-07 12:00", {"timezone": NEW_YORK, "scheduled_time": "02:30"}, "2026-03-08 07:00"),
        # an hour that comes twice runs the first time
        ("2026-10-24 12:00", {"timezone": BERLIN, "scheduled_time": "02:30"}, "2026-10-25 00:30"),
        ("2026-10-31 12:00", {"timezone": NEW_YORK, "scheduled_time": "01:30"}, "2026-11-01 05:30"),
        # and not the second time, however late it is asked
        ("2026-10-25 00:30", {"timezone": BERLIN, "scheduled_time": "02:30"}, "2026-10-26 01:30"),
        ("2026-10-25 00:45", {"timezone": BERLIN, "scheduled_time": "02:30"}, "2026-10-26 01:30"),
        ("2026-11-01 05:45", {"timezone": NEW_YORK, "scheduled_time": "01:30"}, "2026-11-02 06:30"),
    ],
)
def test_the_table_of_slots(at: str, fields: dict[str, Any], slot: str) -> None:
    assert due(at, **fields) == slot


def slots(fields: dict[str, Any], start: str, end: str) -> list[datetime]:
    config, at, found = Config(is_enabled=True, **fields), utc(start), list[datetime]()
    while True:
        slot = next_run_at(config, at)
        assert slot is not None
        assert slot > at
        if slot >= utc(end):
            return found
        found.append(slot)
        at = slot


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, "UTC", "Australia/Lord_Howe", "Asia/Kolkata"])
@pytest.mark.parametrize("time", ["00:00", "01:30", "02:00", "02:30", "03:00"])
def test_two_years_of_a_daily_schedule_run_once_on_every_local_day(zone: str, time: str) -> None:
    found = slots(
        {"timezone": zone, "scheduled_time": time}, "2026-01-01 12:00", "2028-01-01 12:00"
    )
    days = [slot.astimezone(ZoneInfo(zone)).date() for slot in found]
    assert len(set(days)) == len(days)
    assert days == [days[0] + timedelta(days=number) for number in range(730)]
    hour, minute = map(int, time.split(":"))
    odd = [
        local
        for slot in found
        if ((local := slot.astimezone(ZoneInfo(zone))).hour, local.minute) != (hour, minute)
    ]
    assert len(odd) <= 2  # only where the hour did not exist: once a year


@pytest.mark.parametrize(
    ("fields", "count"),
    [({"frequency": "weekly", "schedule_weekday": 6}, 104), ({"frequency": "monthly"}, 24)],
)
def test_two_years_of_other_schedules(fields: dict[str, Any], count: int) -> None:
    found = slots({**fields, "timezone": BERLIN}, "2026-01-01 12:00", "2028-01-01 12:00")
    assert len(found) == count


# --- a slot and its answer


SLOT = utc("2026-03-02 09:00")


def scheduled(*events: Event) -> State:
    """A site whose daily schedule was due just now."""
    config = Config(
        is_enabled=True, scheduled_time="09:00", within_stage_delay=0, between_stage_delay=0
    )
    return given(*READY, ConfigUpdated(config=config, next_run_at=SLOT), *events)


def ask(slot: datetime = SLOT) -> RunRequested:
    return RunRequested(trigger_type="scheduled", slot=slot)


def test_a_due_slot_starts_a_run_and_the_schedule_moves_on() -> None:
    events = tell(scheduled(keywords("k1")), ask())
    started = next(event for event in events if isinstance(event, RunStarted))
    assert started.trigger_type == "scheduled"
    next_one = SLOT + timedelta(days=1)
    assert ScheduleAdvanced(slot=SLOT, next_run_at=next_one) in events


def test_a_slot_that_is_refused_is_answered_too() -> None:
    refused, advanced, _ = decide(scheduled(), ask())
    assert isinstance(refused, RunRefused)
    assert (refused.code, refused.trigger_type, refused.slot) == (
        "nothing_to_do",
        "scheduled",
        SLOT,
    )
    assert advanced.TYPE == "ScheduleAdvanced"


def test_a_slot_is_answered_once() -> None:
    state = after(scheduled(), ask())
    assert refusal(state, ask())[0] == "schedule_changed"
    assert names(decide(state, ask())) == ["RunRefused", "MessageRefused"]


@pytest.mark.parametrize(("hours", "code"), [(22.9, "nothing_to_do"), (23, "schedule_missed")])
def test_a_slot_missed_by_almost_a_day_is_not_caught_up(hours: float, code: str) -> None:
    state = scheduled()
    late = State(SLOT + timedelta(hours=hours), 600, state.run, state.site, state.account)
    assert refusal(late, ask())[0] == code
    advanced = decide(late, ask())[1]
    assert isinstance(advanced, ScheduleAdvanced)
    assert advanced.next_run_at == SLOT + timedelta(days=1)


def test_a_manual_run_leaves_the_schedule_alone() -> None:
    events = tell(scheduled(keywords("k1")), RunRequested())
    assert "ScheduleAdvanced" not in names(events)


def test_a_change_of_config_moves_the_next_slot() -> None:
    state = scheduled()
    changes = ConfigChanges(scheduled_time="10:00")
    (updated,) = tell(state, ConfigUpdateRequested(changes=changes))
    assert isinstance(updated, ConfigUpdated)
    assert updated.next_run_at == utc("2026-03-02 10:00")
    disabled = ConfigUpdateRequested(changes=ConfigChanges(is_enabled=False))
    assert tell(state, disabled)[0].next_run_at is None


def test_a_slot_of_a_schedule_that_was_changed_meanwhile_is_refused() -> None:
    changes = ConfigChanges(scheduled_time="10:00")
    state = after(scheduled(keywords("k1")), ConfigUpdateRequested(changes=changes))
    assert refusal(state, ask())[0] == "schedule_changed"
