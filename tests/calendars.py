"""When a schedule is due, worked out a second time: from the zones' data alone, date by date."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from events.config import Config

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)

# Zones with odd rules: half-hour changes, changes at midnight, two hours at once, none at all.
ODD_ZONES = (
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Lisbon",
    "Pacific/Apia",
    "Pacific/Kiritimati",
)


def slots_of(config: Config, first: date, last: date) -> list[datetime]:
    """Return the slots (UTC) of the local dates from `first` to `last`, in order, each once."""
    clock = time.fromisoformat(config.scheduled_time)
    zone = ZoneInfo(config.timezone)
    days = (day for day in _dates(first, last) if _is_planned(config, day))
    return sorted({_moment(datetime.combine(day, clock), zone) for day in days})


def first_slot_after(config: Config, moment: datetime) -> datetime:
    """Return the first slot after a moment."""
    local = moment.astimezone(ZoneInfo(config.timezone)).date()
    slots = slots_of(config, local - 2 * DAY, local + 40 * DAY)
    return next(slot for slot in slots if slot > moment)


def _dates(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += DAY


def _is_planned(config: Config, day: date) -> bool:
    match config.frequency:
        case "daily":
            return True
        case "weekly":
            return day.weekday() == config.schedule_weekday
        case "monthly":
            return day.day == config.schedule_day


def _moment(local: datetime, zone: ZoneInfo) -> datetime:
    """Return when the zone's clocks first show a local time, or the first minute after its gap."""
    while True:
        moment = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == local:
            return moment
        local += MINUTE


def changes_of(zone: str, first: datetime, last: datetime) -> list[datetime]:
    """Return the moments (UTC) between two others at which the zone's clocks are put on or back."""
    found, moment = list[datetime](), first
    known = ZoneInfo(zone)
    while moment < last:
        if moment.astimezone(known).utcoffset() != (moment + DAY).astimezone(known).utcoffset():
            found.append(_between(known, moment))
        moment += DAY
    return found


def _between(zone: ZoneInfo, moment: datetime) -> datetime:
    before = moment.astimezone(zone).utcoffset()
    while moment.astimezone(zone).utcoffset() == before:
        moment += MINUTE
    return moment
