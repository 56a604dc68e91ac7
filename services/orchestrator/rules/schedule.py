"""When a schedule is due: calendar arithmetic in the site's own zone, by cron's rules."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from events.config import Config

TOO_LATE = timedelta(hours=23)  # a slot missed by more is not caught up: the next one is near


def next_run_at(config: Config, after: datetime) -> datetime | None:
    """Return the first slot after a moment, in UTC; none while the schedule is disabled.

    An hour that does not exist runs at the first minute after the gap, an hour that comes twice
    runs once: Debian cron's policy, which CronSim implements.
    """
    if not config.is_enabled:
        return None
    local = after.astimezone(ZoneInfo(config.timezone))
    slots = (slot.astimezone(UTC) for slot in CronSim(_expression(config), local))
    return next(slot for slot in slots if slot > after)  # the hour's first pass may be over


def _expression(config: Config) -> str:
    hour, minute = (int(part) for part in config.scheduled_time.split(":"))
    match config.frequency:
        case "daily":
            return f"{minute} {hour} * * *"
        case "weekly":  # cron counts from Sunday, the contract from Monday
            return f"{minute} {hour} * * {(config.schedule_weekday + 1) % 7}"
        case _:
            return f"{minute} {hour} {config.schedule_day} * *"
