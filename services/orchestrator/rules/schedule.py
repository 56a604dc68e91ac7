"""When a schedule is due: calendar arithmetic in the site's own zone, by cron's rules."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from events.config import Config

TOO_LATE = timedelta(hours=23)  # a slot missed by more is not caught up: the next one is near
TOO_EARLY = timedelta(seconds=60)  # how far the scheduler's clock may be ahead of the rules'


def next_run_at(config: Config, after: datetime) -> datetime | None:
    """Return the first slot after a moment, in UTC; none while the schedule is disabled.

    An hour that does not exist runs at the first minute after the gap, an hour that comes twice
    runs once, the first time: Debian cron's policy, which CronSim implements.
    """
    return next(_slots(config, after)) if config.is_enabled else None


def slots_over(config: Config, due: datetime, now: datetime) -> tuple[list[datetime], datetime]:
    """Return a slot that is due with those after it until now, and the next one, all in UTC.

    The next one is also after a slot that lies a little ahead, else that would be due twice.
    """
    over = [due]
    for slot in _slots(config, due):
        if slot > now:
            return over, slot
        over.append(slot)
    raise AssertionError  # a calendar has no end


def _slots(config: Config, after: datetime) -> Iterator[datetime]:
    local = after.astimezone(ZoneInfo(config.timezone))
    slots = (slot.astimezone(UTC) for slot in CronSim(_expression(config), local))
    # CronSim goes by the wall clock alone: in an hour's second pass it names the first one again
    return (slot for slot in slots if slot > after)


def _expression(config: Config) -> str:
    hour, minute = (int(part) for part in config.scheduled_time.split(":"))
    match config.frequency:
        case "daily":
            return f"{minute} {hour} * * *"
        case "weekly":  # cron counts from Sunday, the contract from Monday
            return f"{minute} {hour} * * {(config.schedule_weekday + 1) % 7}"
        case _:
            return f"{minute} {hour} {config.schedule_day} * *"
