"""When a schedule is due, in the site's own zone, and what answers a slot."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given as any_of
from hypothesis import settings
from hypothesis.strategies import datetimes, integers, just, sampled_from, times

from events.commands import (
    CancelRequested,
    ConfigUpdateRequested,
    PauseRequested,
    RunRequested,
)
from events.config import ZONES, Config, ConfigChanges
from events.message import Event, Message
from events.run import RunStarted
from events.site import ConfigUpdated, RunRefused, ScheduleAdvanced
from services.orchestrator.rules.schedule import next_run_at
from services.orchestrator.rules.state import Run, State
from tests.builders import AT_ONCE, READY, after, decide, given, keywords, names, refusal, tell
from tests.calendars import DAY, ODD_ZONES, changes_of, first_slot_after, slots_of

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
HOUR, INSTANT, NO_TIME = timedelta(hours=1), timedelta(microseconds=1), timedelta()


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
        # Lord Howe's gap is half an hour, Troll's two; in Havana and Cairo the day begins with one
        (
            "2026-10-03 00:00",
            {"timezone": "Australia/Lord_Howe", "scheduled_time": "02:15"},
            "2026-10-03 15:30",
        ),
        (
            "2026-03-28 12:00",
            {"timezone": "Antarctica/Troll", "scheduled_time": "01:30"},
            "2026-03-29 01:00",
        ),
        (
            "2026-03-07 12:00",
            {"timezone": "America/Havana", "scheduled_time": "00:00"},
            "2026-03-08 05:00",
        ),
        (
            "2026-04-23 12:00",
            {"timezone": "Africa/Cairo", "scheduled_time": "00:30"},
            "2026-04-23 22:00",
        ),
        # a day that does not exist runs at the next one's first minute: Apia's 30 December 2011
        (
            "2011-12-30 09:00",
            {"timezone": "Pacific/Apia", "scheduled_time": "02:00"},
            "2011-12-30 10:00",
        ),
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


# --- two years against a calendar that knows nothing of ours


FIRST, LAST = utc("2026-01-01"), utc("2028-01-01")
TIMES = (
    "00:00",
    "00:30",
    "01:00",
    "01:30",
    "01:59",
    "02:00",
    "02:15",
    "02:30",
    "03:00",
    "23:30",
)


def plans(zone: str) -> Iterator[Config]:
    """Every time of day, daily; weekly on a Sunday, when clocks change, and on each day in turn."""
    for number, clock in enumerate(TIMES):
        known = {"is_enabled": True, "timezone": zone, "scheduled_time": clock}
        yield Config.model_validate(known)
        for weekday in {6, number % 7}:
            yield Config.model_validate(
                {**known, "frequency": "weekly", "schedule_weekday": weekday}
            )
        for day in (1, 28, 1 + 3 * number):  # also days on which a zone's clocks change
            yield Config.model_validate({**known, "frequency": "monthly", "schedule_day": day})


def chain(config: Config, start: datetime, end: datetime) -> list[datetime]:
    """Return the slots that follow from each other, as a schedule moves on."""
    found, slot = list[datetime](), next_run_at(config, start)
    while slot is not None and slot < end:
        found.append(slot)
        slot = next_run_at(config, slot)
    return found


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_two_years_of_every_schedule_are_those_of_the_zone_s_calendar(zone: str) -> None:
    for config in plans(zone):
        expected = slots_of(config, FIRST.date() - 2 * DAY, LAST.date() + 2 * DAY)
        between = [slot for slot in expected if FIRST < slot < LAST]
        assert chain(config, FIRST, LAST) == between, config


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_between_two_slots_the_next_one_is_the_same_also_while_clocks_change(zone: str) -> None:
    changes = changes_of(zone, FIRST, LAST) or [utc("2026-06-01")]
    around = [timedelta(minutes=minutes) for minutes in range(-26 * 60, 26 * 60, 53)]
    for config in plans(zone):
        if config.frequency == "daily":
            slots = slots_of(config, FIRST.date() - 3 * DAY, LAST.date() + 3 * DAY)
            for moment in (change + minutes for change in changes for minutes in around):
                expected = slots[bisect_right(slots, moment)]
                assert next_run_at(config, moment) == expected, (config, moment)


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_a_slot_is_next_up_to_its_very_moment_and_never_again(zone: str) -> None:
    for change in changes_of(zone, FIRST, LAST) or [utc("2026-06-01")]:
        for config in plans(zone):
            slot = first_slot_after(config, change - 20 * HOUR)
            assert next_run_at(config, slot - INSTANT) == slot
            for later_ in (INSTANT, timedelta(minutes=31), HOUR, 2 * HOUR):
                assert next_run_at(config, slot + later_) == first_slot_after(config, slot)


@settings(max_examples=300, deadline=None)
@any_of(
    zone=sampled_from(sorted(ZONES)),
    frequency=sampled_from(["daily", "weekly", "monthly"]),
    clock=times(),
    weekday=integers(0, 6),
    day=integers(1, 28),
    moment=datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None), timezones=just(UTC)),
)
def test_in_every_zone_the_next_slot_is_the_calendar_s(
    zone: str, frequency: str, clock: time, weekday: int, day: int, moment: datetime
) -> None:
    config = Config.model_validate(
        {
            "is_enabled": True,
            "timezone": zone,
            "frequency": frequency,
            "scheduled_time": f"{clock:%H:%M}",
            "schedule_weekday": weekday,
            "schedule_day": day,
        }
    )
    assert next_run_at(config, moment) == first_slot_after(config, moment)


# --- a slot and its answer


SLOT = utc("2026-03-02 09:00")
DAILY = {"is_enabled": True, "scheduled_time": "09:00", **AT_ONCE}
WEEKLY = {**DAILY, "frequency": "weekly"}  # a Monday, as the slot is


def scheduled(*events: Event, late: timedelta = NO_TIME, **fields: Any) -> State:
    """A site whose schedule is due, and nobody has answered for a while."""
    config = Config.model_validate(fields or DAILY)
    state = given(*READY, ConfigUpdated(config=config, next_run_at=SLOT), *events)
    return replace(state, now=SLOT + late)


def ask(slot: datetime = SLOT) -> RunRequested:
    return RunRequested(trigger_type="scheduled", slot=slot)


def advanced(slot: datetime, next_one: datetime) -> ScheduleAdvanced:
    return ScheduleAdvanced(slot=slot, next_run_at=next_one)


def skipped(code: str, slot: datetime = SLOT, **numbers: int | str) -> tuple[Any, ...]:
    """What `why` says of slots that no run was started for, less the sentence."""
    return ("scheduled", slot, code, numbers)


def missed(count: int, hours: int, last: datetime) -> tuple[Any, ...]:
    told = f"{last:%Y-%m-%dT%H:%M:%SZ}"
    return skipped("schedule_missed", missed_slots=count, hours_late=hours, last_missed_slot=told)


def answer(state: State, slot: datetime = SLOT) -> list[Any]:
    """Return the site's own events that answer a slot; a refusal less its sentence."""
    found: list[Any] = []
    for event in decide(state, ask(slot)):
        match event:
            case RunRefused(detail=detail) as no:
                assert detail.endswith(".")
                found.append((no.trigger_type, no.slot, no.code, no.numbers))
            case RunStarted():
                found.append(("started", event.slot))
            case ScheduleAdvanced():
                found.append(event)
    return found


def started_for(slot: datetime) -> tuple[str, datetime]:
    return ("started", slot)


def test_a_due_slot_starts_a_run_and_the_schedule_moves_on() -> None:
    assert answer(scheduled(keywords("k1"))) == [
        started_for(SLOT),
        advanced(SLOT, SLOT + DAY),
    ]


def test_a_run_that_is_started_says_that_the_schedule_asked() -> None:
    events = tell(scheduled(keywords("k1")), ask())
    (run,) = (event for event in events if isinstance(event, RunStarted))
    assert run.trigger_type == "scheduled"


def test_a_slot_is_skipped_when_there_is_nothing_to_do() -> None:
    assert answer(scheduled()) == [skipped("nothing_to_do"), advanced(SLOT, SLOT + DAY)]


def test_a_slot_is_skipped_without_credits() -> None:
    state = scheduled(keywords("k1"))
    poor = replace(state, account=replace(state.account, balance=1))
    refused, moved_on = answer(poor)
    assert (refused[2], refused[3]["available_credits"]) == ("insufficient_credits", 1)
    assert moved_on == advanced(SLOT, SLOT + DAY)


@pytest.mark.parametrize("then", [[], [PauseRequested()]])
def test_a_slot_while_a_run_is_active_is_skipped_and_not_caught_up(then: list[Message]) -> None:
    busy = after(scheduled(keywords("k1", "k2")), RunRequested(), *then)
    other = replace(busy, run=Run(id="run-b"))
    expected = skipped("run_already_active", active_run_id=busy.site.active)
    assert answer(other) == [expected, advanced(SLOT, SLOT + DAY)]
    free = after(after(other, ask()), CancelRequested())
    idle = replace(after(replace(free, run=busy.run), CancelRequested()), run=Run(id="run-c"))
    assert idle.site.active is None
    assert answer(idle) == []  # the next one is tomorrow's


def test_after_days_a_daily_schedule_runs_once_and_says_what_was_missed_in_one_line() -> None:
    state = scheduled(keywords("k1"), late=3 * DAY + 5 * HOUR)
    assert answer(state) == [
        missed(3, hours=77, last=SLOT + 2 * DAY),
        started_for(SLOT + 3 * DAY),
        advanced(SLOT + 3 * DAY, SLOT + 4 * DAY),
    ]


def test_after_days_a_slot_that_may_not_start_a_run_says_why_beside_what_was_missed() -> None:
    assert answer(scheduled(late=DAY)) == [
        missed(1, hours=24, last=SLOT),
        skipped("nothing_to_do", SLOT + DAY),
        advanced(SLOT + DAY, SLOT + 2 * DAY),
    ]


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        (23 * HOUR - INSTANT, [started_for(SLOT), advanced(SLOT, SLOT + DAY)]),
        (23 * HOUR, [missed(1, 23, SLOT), advanced(SLOT, SLOT + DAY)]),
        (DAY - INSTANT, [missed(1, 23, SLOT), advanced(SLOT, SLOT + DAY)]),
        (
            2 * DAY - INSTANT,
            [missed(2, 47, SLOT + DAY), advanced(SLOT + DAY, SLOT + 2 * DAY)],
        ),
    ],
)
def test_a_slot_is_caught_up_within_less_than_23_hours(
    late: timedelta, expected: list[Any]
) -> None:
    assert answer(scheduled(keywords("k1"), late=late)) == expected


def test_a_weekly_slot_missed_by_two_days_is_not_caught_up_and_says_so() -> None:
    state = scheduled(keywords("k1"), late=2 * DAY, **WEEKLY)
    assert answer(state) == [missed(1, 48, SLOT), advanced(SLOT, SLOT + 7 * DAY)]
    weeks = scheduled(keywords("k1"), late=16 * DAY, **WEEKLY)
    newest = SLOT + 14 * DAY
    assert answer(weeks) == [missed(3, 16 * 24, newest), advanced(newest, newest + 7 * DAY)]


def test_an_outage_over_a_change_of_clocks_counts_real_hours() -> None:
    """Berlin's day has 23 hours: its slot is 9:00 local, 8:00 UTC before and 7:00 UTC after it."""
    due_ = utc("2026-03-28 08:00")
    config = Config.model_validate({**DAILY, "timezone": BERLIN})
    state = given(*READY, ConfigUpdated(config=config, next_run_at=due_), keywords("k1"))
    just = replace(state, now=due_ + 23 * HOUR)
    assert answer(just, due_) == [
        ("scheduled", due_, "schedule_missed", missed(1, 23, due_)[3]),
        started_for(utc("2026-03-29 07:00")),
        advanced(utc("2026-03-29 07:00"), utc("2026-03-30 07:00")),
    ]


def test_a_slot_is_answered_once_and_another_command_for_it_leaves_nothing() -> None:
    state = after(scheduled(), ask())
    assert refusal(state, ask()) == ("schedule_answered", {})
    assert names(decide(state, ask())) == ["MessageRefused"]
    outage = after(scheduled(late=3 * DAY), ask())
    for day in range(4):
        assert names(decide(outage, ask(SLOT + day * DAY))) == ["MessageRefused"]


@pytest.mark.parametrize(
    "changes",
    [
        {"is_enabled": False},
        {"scheduled_time": "10:00"},
        {"timezone": NEW_YORK},
        {"frequency": "weekly", "schedule_weekday": 1},
        {"frequency": "monthly"},
    ],
)
def test_a_schedule_that_was_changed_after_it_was_due_says_so(changes: dict[str, Any]) -> None:
    command = ConfigUpdateRequested(changes=ConfigChanges.model_validate(changes))
    state = scheduled(keywords("k1"))
    updated, refused, moved_on = tell(state, command)
    assert (refused.slot, refused.code) == (SLOT, "schedule_changed")  # type: ignore[attr-defined]
    assert moved_on == advanced(SLOT, updated.next_run_at)  # type: ignore[attr-defined]
    assert refusal(after(state, command), ask())[0] == "schedule_answered"
    assert answer(after(state, command)) == []  # it says so once


def test_a_schedule_that_is_changed_when_several_slots_are_over_says_so_in_one_line() -> None:
    command = ConfigUpdateRequested(changes=ConfigChanges(is_enabled=False))
    state = scheduled(keywords("k1"), late=2 * DAY + HOUR)
    _, refused, moved_on = tell(state, command)
    assert (refused.slot, refused.numbers) == (SLOT, {"missed_slots": 3})  # type: ignore[attr-defined]
    assert moved_on == advanced(SLOT + 2 * DAY, None)  # type: ignore[arg-type]
    assert after(state, command).site.next_run_at is None


def test_a_change_after_a_clock_went_back_does_not_make_an_answered_slot_due_again() -> None:
    state = after(scheduled(), ask())
    back = replace(state, now=SLOT - HOUR)
    for changes in ({"is_enabled": False}, {"is_enabled": True}):
        command = ConfigUpdateRequested(changes=ConfigChanges.model_validate(changes))
        back = after(back, command)
    assert back.site.next_run_at == SLOT + DAY


def test_other_changes_leave_a_slot_that_is_due_to_be_answered() -> None:
    changes = ConfigChanges(stage_1_batch_size=3, between_stage_delay=0, scheduled_time="09:00")
    for late in (NO_TIME, 5 * HOUR):
        state = scheduled(keywords("k1"), late=late)
        changed = after(state, ConfigUpdateRequested(changes=changes))
        assert answer(changed) == answer(state) != []


def test_a_change_of_the_schedule_moves_the_next_slot() -> None:
    for changes, expected in (
        ({"scheduled_time": "10:00"}, "2026-03-02 10:00"),
        ({"timezone": NEW_YORK}, "2026-03-02 14:00"),
        ({"timezone": BERLIN}, "2026-03-03 08:00"),  # nine o'clock is over there
        ({"frequency": "weekly"}, "2026-03-09 09:00"),
        ({"frequency": "monthly", "schedule_day": 28}, "2026-03-28 09:00"),
    ):
        command = ConfigUpdateRequested(changes=ConfigChanges.model_validate(changes))
        updated, *_ = tell(scheduled(), command)
        assert isinstance(updated, ConfigUpdated)
        assert updated.next_run_at == utc(expected)


def test_a_disabled_schedule_has_no_next_slot_and_enabled_again_none_that_is_over() -> None:
    disable = ConfigUpdateRequested(changes=ConfigChanges(is_enabled=False))
    state = after(scheduled(), disable)
    assert state.site.next_run_at is None
    later_ = replace(state, now=SLOT + 3 * DAY + HOUR)
    enable = ConfigUpdateRequested(changes=ConfigChanges(is_enabled=True))
    assert after(later_, enable).site.next_run_at == SLOT + 4 * DAY


def test_a_manual_run_leaves_the_schedule_alone() -> None:
    state = scheduled(keywords("k1"), late=2 * DAY)
    assert "ScheduleAdvanced" not in names(tell(state, RunRequested()))
    assert names(decide(scheduled(), RunRequested())) == ["RunRefused", "MessageRefused"]


# --- clocks that are wrong


def test_a_command_up_to_a_minute_early_is_answered_and_its_slot_is_not_due_again() -> None:
    for early in (timedelta(milliseconds=200), timedelta(seconds=60)):
        state = scheduled(keywords("k1"), late=-early)
        assert answer(state) == [started_for(SLOT), advanced(SLOT, SLOT + DAY)]


def test_a_command_that_is_earlier_is_refused_and_its_slot_stays_due() -> None:
    state = scheduled(keywords("k1"), late=-timedelta(seconds=61))
    assert refusal(state, ask()) == ("schedule_not_due", {"seconds_early": 61})
    assert names(decide(state, ask())) == ["MessageRefused"]
    in_time = replace(after(state, ask()), now=SLOT)
    assert answer(in_time) == [started_for(SLOT), advanced(SLOT, SLOT + DAY)]


def test_a_clock_that_goes_back_does_not_make_a_slot_due_twice() -> None:
    state = after(scheduled(keywords("k1"), late=HOUR), ask(), CancelRequested())
    back = replace(state, now=SLOT - 5 * HOUR, run=Run(id="run-b"))
    assert answer(back) == []
    assert back.site.next_run_at == SLOT + DAY
    assert refusal(back, ask(SLOT + DAY))[0] == "schedule_not_due"
