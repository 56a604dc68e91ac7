"""`septet config`: when a site's runs start, how large their steps are, how its content sounds."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from services.cli.client import AUTOMATION, Json, sign_in
from services.cli.output import Code, Failed, command, emit, facts, group

app = group("Automation config of a site: its schedule, batch sizes, delays, voice.")

SiteId = Annotated[str, typer.Option("--site", help="Site id")]

READ_ONLY = frozenset({"site_id", "last_run_at", "next_run_at"})
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@command(app, "show")
def show(site: SiteId) -> None:
    """Show every setting, and when the next run starts."""
    found = sign_in("account").get(f"{AUTOMATION}/config", site_id=site)
    settings = {name: _shown(name, found[name]) for name in found if name not in READ_ONLY}
    runs = {"last run": _when(found, "last_run_at") or "never", "next run": _next(found)}
    emit(found, facts({"site": found["site_id"], **settings, **runs}))


@command(app, "set")
def change(
    settings: Annotated[
        list[str],
        typer.Argument(
            help="NAME=VALUE, as config show names them; several at once; lists by commas"
        ),
    ],
    site: SiteId,
) -> None:
    """Change settings, from the next run on. When one is wrong, none is changed."""
    client = sign_in("account")
    before = client.get(f"{AUTOMATION}/config", site_id=site)
    body = changes_in(settings, before)
    after = client.put(f"{AUTOMATION}/update_config", body, site_id=site)
    told = {name: _change(name, before, after) for name in body}
    emit(after, facts({**told, "next run": _next(after)}))


def changes_in(settings: Sequence[str], config: Json) -> Json:
    """Return the settings with the types that they have now. Raises Failed."""
    changes: Json = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise Failed(f"{setting}: write it as NAME=VALUE", Code.USAGE)
        if name not in config or name in READ_ONLY:
            raise Failed(_unknown(name, config), Code.USAGE)
        if name in changes:
            raise Failed(f"{name} is given twice. Give it once", Code.USAGE)
        changes[name] = _read(name, text, config[name])
    return changes


def _unknown(name: str, config: Json) -> str:
    from difflib import get_close_matches

    known = [one for one in config if one not in READ_ONLY]
    if name in READ_ONLY:
        return f"{name} cannot be set: it follows from the schedule and the runs"
    near = get_close_matches(name, known, n=1)
    hint = f"Is it {near[0]}?" if near else "See septet config show"
    return f"{name or 'a setting without a name'} is not a setting. {hint}"


def _read(name: str, text: str, now: object) -> bool | int | str | list[str]:
    match now:
        case bool():
            if text.lower() not in BOOLEANS:
                raise Failed(f"{name}: {text or 'nothing'} is neither true nor false", Code.USAGE)
            return BOOLEANS[text.lower()]
        case int():
            try:
                return int(text)
            except ValueError as error:
                said = f"{name}: {text or 'nothing'} is not a whole number"
                raise Failed(said, Code.USAGE) from error
        case list():
            return [part.strip() for part in text.split(",") if part.strip()]
        case _:
            return text


def _change(name: str, before: Json, after: Json) -> str:
    now = _shown(name, after[name])
    if before[name] == after[name]:
        return f"{now}, as it was"
    return f"{_shown(name, before[name])} -> {now}"


def _shown(name: str, value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() if name == "schedule_weekday":
            return f"{value} ({WEEKDAYS[value]})"
        case int() if name.endswith("_delay"):
            return f"{value} s"
        case list():
            return ", ".join(value) or "none"
        case "":
            return "none"
        case _:
            return str(value)


def _next(config: Json) -> str:
    if not config["is_enabled"]:
        return "none, as the schedule is off. Turn it on with is_enabled=true"
    return _when(config, "next_run_at") or "not known yet"


def _when(config: Json, name: str) -> str | None:
    """Return a time in the zone of the schedule, and in UTC."""
    from datetime import UTC
    from zoneinfo import ZoneInfo

    if config[name] is None:
        return None
    at, zone = datetime.fromisoformat(config[name]), config["timezone"]
    utc = f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if zone == "UTC":
        return utc
    return f"{at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone}, {utc}"
