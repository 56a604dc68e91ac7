"""`septet run`: start a run, watch it, steer it, read its log."""

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from services.cli.client import AUTOMATION, Client, Json, sign_in
from services.cli.output import (
    Failed,
    as_json,
    cell,
    command,
    emit,
    facts,
    group,
    local,
    needed,
    say,
    table,
)
from services.cli.progress import following

app = group("Runs: start one, watch it, pause, resume, cancel, read its log.")

LOOK_EVERY = 0.25
FINAL = frozenset({"completed", "failed", "cancelled"})
Run = Annotated[str | None, typer.Argument(help="Run id")]
Site = Annotated[str | None, typer.Option(help="Site id, for its current run")]


@command(app, "start")
def start(
    site: Annotated[str, typer.Option(help="Site id")],
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run to its end")] = False,
) -> None:
    """Start a run now. Refused while one is active, without credits, or with nothing to do."""
    client = sign_in("account")
    if not as_json():
        say(estimate_line(client.get(f"{AUTOMATION}/estimate", site_id=site)))
    started = client.post(f"{AUTOMATION}/run_now", site_id=site)
    emit(started, f"{started['run_id']} {started['status']}")
    if watch:
        finish(follow(client, started["run_id"]))


@command(app, "watch")
def watch(run: Run = None, site: Site = None) -> None:
    """Follow a run to its end. With JSON: one event a line. Exit code 1 unless it completes."""
    client = sign_in("account")
    finish(follow(client, chosen(client, run, site)))


@command(app, "list")
def show_all(
    site: Annotated[str, typer.Option(help="Site id")],
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
    emit(found, table(heads, rows) if rows else "No runs yet. Start one with septet run start")


@command(app, "show")
def show(run: Run = None, site: Site = None) -> None:
    """Show a run with its seven stages."""
    client = sign_in("account")
    found = client.get(f"{AUTOMATION}/run", run_id=chosen(client, run, site))
    emit(found, run_text(found))


@command(app, "pause")
def pause(run: Run = None, site: Site = None) -> None:
    """Ask for no further batch until the run is resumed."""
    _change("pause", run, site)


@command(app, "resume")
def resume(run: Run = None, site: Site = None) -> None:
    """Go on with exactly the items that are not done."""
    _change("resume", run, site)


@command(app, "cancel")
def cancel(run: Run = None, site: Site = None) -> None:
    """End a run; what is finished stays."""
    _change("cancel", run, site)


@command(app, "logs")
def logs(
    run: Run = None,
    site: Site = None,
    lines: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest")] = 100,
) -> None:
    """Print a run's log, oldest line first."""
    client = sign_in("account")
    found = client.get(f"{AUTOMATION}/logs", run_id=chosen(client, run, site), lines=lines)
    text = "\n".join(
        f"{local(line['at'])}  {str(line['level']).upper():<7}  "
        f"{'-' if line['stage'] is None else line['stage']}  {cell(line['message'])}"
        for line in found["lines"]
    )
    emit(found, text or "No lines yet.")


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


def estimate_line(estimate: Json) -> str:
    """Return whether the account can pay for a run, in one line."""
    short = estimate["required_credits"] - estimate["available_credits"]
    return (
        f"estimate {estimate['estimated_credits']}, required {estimate['required_credits']}, "
        f"available {estimate['available_credits']}: "
        f"{'enough' if estimate['sufficient'] else f'{short} short'}"
    )


def follow(client: Client, run_id: str) -> Json:
    """Show a run's progress until its end and return it as it was then."""
    if as_json():
        return _print_events(client, run_id)
    with following() as progress:
        for run in looks(client, run_id):
            progress.show(run, _eta(client, run))
    return run


def looks(client: Client, run_id: str) -> Iterator[Json]:
    """Yield the run again and again; the last one is final."""
    while True:
        run = client.get(f"{AUTOMATION}/run", run_id=run_id)
        yield run
        if run["status"] in FINAL:
            return
        time.sleep(LOOK_EVERY)


def events(client: Client, run_id: str, after: str | int | None = None) -> Iterator[Json]:
    """Yield the run's events from there on, as far as there are any."""
    while page := client.get(f"{AUTOMATION}/events", run_id=run_id, after=after)["events"]:
        yield from page
        after = page[-1]["position"]


def finish(run: Json) -> None:
    """Raise Failed unless the run was completed."""
    if run["status"] != "completed":
        why = f": {run['error_message']}" if run["error_message"] else ""
        problem = run | {"code": "not_completed"}
        raise Failed(f"{run['run_id']} {run['status']}{why}", problem=problem)


def run_text(run: Json) -> str:
    """Return a run as a person reads it: its facts, then a line a stage."""
    shown = {
        "run": run["run_id"],
        "site": run["site_id"],
        "status": run["status"],
        "trigger": run["trigger_type"],
        "started": local(run["started_at"]),
        "completed": local(run["completed_at"] or run["cancelled_at"]),
        "credits used": run["total_credits_used"],
        "credits held": run["held_credits"],
        "in flight": run["batches_in_flight"],
        "error": run["error_message"],
    }
    heads = ("", "stage", "status", "items", "done", "failed", "credits", "result")
    rows = [
        (
            stage["stage"],
            stage["name"],
            stage["status"],
            stage["items_total"],
            stage["items_done"],
            stage["items_failed"],
            stage["credits_used"],
            result_text(stage),
        )
        for stage in run["stages"]
    ]
    return f"{facts(shown)}\n\n{table(heads, rows)}"


def result_text(stage: Json) -> str:
    """Return a stage's counts in words."""
    counts = stage["result"] or {}
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items()) or "-"


def _change(verb: str, run: str | None, site: str | None) -> None:
    client = sign_in("account")
    changed = client.post(f"{AUTOMATION}/{verb}", run_id=chosen(client, run, site))
    flying = changed["batches_in_flight"]
    rest = f", {flying} batches in flight may still be done" if flying else ""
    emit(changed, f"{changed['run_id']} {changed['status']}{rest}")


def _print_events(client: Client, run_id: str) -> Json:
    after: int | None = None
    while True:
        run = client.get(f"{AUTOMATION}/run", run_id=run_id)
        for event in events(client, run_id, after):
            emit(event, "")
            after = event["position"]
        if run["status"] in FINAL:
            return run
        time.sleep(LOOK_EVERY)


def _eta(client: Client, run: Json) -> float | None:
    if run["status"] != "running":
        return None
    query = {"site_id": run["site_id"], "run_id": run["run_id"]}
    return client.get(f"{AUTOMATION}/current_processing", **query)["eta_seconds"]  # type: ignore[no-any-return]
