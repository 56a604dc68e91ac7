"""`septet run`: what one would cost, start it, watch it, steer it, read its log."""

from enum import StrEnum
from typing import Annotated

import typer

from services.cli.client import AUTOMATION, Client, Json, sign_in
from services.cli.output import (
    Either,
    Failed,
    as_json,
    command,
    emit,
    group,
    local,
    needed,
    say,
    table,
)
from services.cli.shown import (
    change_text,
    estimate_line,
    estimate_text,
    log_text,
    run_text,
    why_text,
)

app = group("Runs: estimate, start, watch, retry, pause, resume, cancel, logs, and why none began.")


class Level(StrEnum):
    """How much a line of the log matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Run = Annotated[str | None, Either("Run id")]
Site = Annotated[str | None, typer.Option(help="Site id, for its current run")]
TheSite = Annotated[str, typer.Option(help="Site id")]
Watch = Annotated[bool, typer.Option("--watch", help="Follow the run to its end")]
Note = Annotated[str | None, typer.Option(help="Why, for whoever reads the run's history")]


@command(app, "start")
def start(site: TheSite, *, watch: Watch = False) -> None:
    """Start a run now. Refused while one is active, without credits, or with nothing to do."""
    client = sign_in("account")
    if not as_json():
        _say_price(client, site_id=site)
    _begun(client, client.post(f"{AUTOMATION}/run_now", site_id=site), watch=watch)


@command(app, "retry")
def retry(
    run: Annotated[str, Either("Id of the run in which items failed")],
    *,
    watch: Watch = False,
) -> None:
    """Start a run over exactly what failed in another run, after showing what it will cost."""
    client = sign_in("account")
    if not as_json():
        site = client.get(f"{AUTOMATION}/run", run_id=run)["site_id"]
        _say_price(client, site_id=site, retry_of=run)
    _begun(client, client.post(f"{AUTOMATION}/retry_failed", run_id=run), watch=watch)


@command(app, "estimate")
def estimate(
    site: TheSite,
    retry_of: Annotated[
        str | None, typer.Option(help="Run id; what failed in it instead of what waits")
    ] = None,
) -> None:
    """Show what a run would cost now, stage by stage, and what that assumes."""
    query = {"site_id": site, "retry_of": retry_of}
    found = sign_in("account").get(f"{AUTOMATION}/estimate", **query)
    emit(found, estimate_text(found))


@command(app, "watch")
def watch(run: Run = None, site: Site = None) -> None:
    """Follow a run to its end. With JSON: one event a line. Exit code 1 unless it completes."""
    from services.cli.live import follow

    client = sign_in("account")
    finish(follow(client, chosen(client, run, site)))


@command(app, "list")
def show_all(
    site: TheSite,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many")] = 20,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before")] = None,
) -> None:
    """List a site's runs, newest first."""
    query = {"site_id": site, "limit": limit, "cursor": cursor}
    found = sign_in("account").get(f"{AUTOMATION}/history", **query)
    rows = [
        (
            run["run_id"],
            run["status"],
            run["trigger_type"],
            local(run["started_at"]),
            run["total_credits_used"],
        )
        for run in found["runs"]
    ]
    heads = ("run", "status", "trigger", "started", "credits")
    more = f"\nMore with --cursor {found['next_cursor']}" if found["next_cursor"] else ""
    none = "No runs yet. Start one with septet run start"
    emit(found, table(heads, rows) + more if rows else none)


@command(app, "show")
def show(run: Run = None, site: Site = None) -> None:
    """Show a run with its seven stages."""
    client = sign_in("account")
    found = client.get(f"{AUTOMATION}/run", run_id=chosen(client, run, site))
    emit(found, run_text(found))


@command(app, "pause")
def pause(run: Run = None, site: Site = None, note: Note = None) -> None:
    """Ask for no further batch until the run is resumed."""
    _change("pause", run, site, note)


@command(app, "resume")
def resume(run: Run = None, site: Site = None, note: Note = None) -> None:
    """Go on with exactly the items that are not done."""
    _change("resume", run, site, note)


@command(app, "cancel")
def cancel(run: Run = None, site: Site = None, note: Note = None) -> None:
    """End a run; what is finished stays."""
    _change("cancel", run, site, note)


@command(app, "logs")
def logs(
    run: Run = None,
    site: Site = None,
    lines: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest")] = 100,
    level: Annotated[Level, typer.Option(help="This level and those above")] = Level.INFO,
    stage: Annotated[int | None, typer.Option(min=1, max=7, help="Only this stage")] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines until the run has ended")
    ] = False,
) -> None:
    """Print a run's log, oldest line first. With --follow and JSON: one object a line."""
    client = sign_in("account")
    run_id = chosen(client, run, site)
    only: dict[str, str | int | None] = {"level": level.value, "stage": stage}
    if follow:
        from services.cli.live import log_lines

        for line in log_lines(client, run_id, lines, **only):
            emit(line, log_text(line))
        return
    found = client.get(f"{AUTOMATION}/logs", run_id=run_id, lines=lines, **only)
    emit(found, "\n".join(map(log_text, found["lines"])) or "No such lines yet.")


@command(app, "why")
def why(
    site: TheSite,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, the newest")] = 20,
) -> None:
    """Show why runs of a site were not started: which rule said no, and with which numbers."""
    found = sign_in("account").get(f"{AUTOMATION}/why", site_id=site, limit=limit)
    refusals = found["refusals"]
    emit(found, why_text(refusals) if refusals else "No run of this site was refused or skipped.")


def chosen(client: Client, run: str | None, site: str | None) -> str:
    """Return the run that is meant. Raises Failed when the site has no active one."""
    if run is not None:
        return run
    current = client.get(f"{AUTOMATION}/current_run", site_id=needed("a run id, or --site", site))[
        "run"
    ]
    if current is None:
        raise Failed(f"{site} has no active run. See septet run list --site {site}")
    return str(current["run_id"])


def finish(run: Json) -> None:
    """Raise Failed unless the run was completed."""
    if run["status"] != "completed":
        why = f": {run['error_message']}" if run["error_message"] else ""
        problem = run | {"code": "not_completed"}
        raise Failed(f"{run['run_id']} {run['status']}{why}", problem=problem)


def _say_price(client: Client, **query: str) -> None:
    """Say what a run would cost; what there is nothing to do for is refused, not cheap."""
    found = client.get(f"{AUTOMATION}/estimate", **query)
    if any(stage["items"] for stage in found["stages"]):
        say(estimate_line(found))


def _begun(client: Client, started: Json, *, watch: bool) -> None:
    from services.cli.live import follow

    emit(started, f"{started['run_id']} {started['status']}")
    if watch:
        finish(follow(client, started["run_id"]))


def _change(verb: str, run: str | None, site: str | None, note: str | None) -> None:
    client = sign_in("account")
    body = None if note is None else {"note": note}
    changed = client.post(f"{AUTOMATION}/{verb}", body, run_id=chosen(client, run, site))
    emit(changed, change_text(changed))
