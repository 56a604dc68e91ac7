"""Runs, estimates, logs and refusals as a person reads them, with what can be done about them."""

from services.cli.client import Json
from services.cli.output import cell, facts, local, table


def run_text(run: Json) -> str:
    """Return a run as a person reads it: its facts, then a line a stage."""
    known = {name: value for name, value in _facts(run).items() if value is not None}
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
    return f"{facts(known)}\n\n{table(heads, rows)}"


def _facts(run: Json) -> dict[str, object]:
    scheduled = f"{run['trigger_type']}, for {local(run['slot'])}" if run["slot"] else None
    return {
        "run": run["run_id"],
        "site": run["site_id"],
        "status": f"{run['status']}, by {run['changed_by']}",
        "pause reason": _pause_reason(run),
        "note": run["note"],
        "trigger": scheduled or run["trigger_type"],
        "retry of": run["retry_of"],
        "started by": run["started_by"],
        "started": local(run["started_at"]),
        "paused": _time(run["paused_at"]),
        "resumed": _time(run["resumed_at"]),
        "completed": _time(run["completed_at"]),
        "cancelled": _time(run["cancelled_at"]),
        "failed at": _time(run["failed_at"]),
        "quiet since": _time(run["quiet_at"]),
        "waiting": wait_text(run),
        "in flight": _flying(run) or "nothing",
        "credits used": f"{run['total_credits_used']} of an estimated {run['estimated_credits']}",
        "credits held": run["held_credits"],
        "price version": run["price_version"],
        "error": run["error_message"],
        "set aside": _set_aside(run),
    }


def _set_aside(run: Json) -> str | None:
    if not run["dead_letters"]:
        return None
    letters = count(run["dead_letters"], "dead letter")
    return f"{letters}, the last: {run['last_dead_letter']}. See septet run logs {run['run_id']}"


def _time(at: str | None) -> str | None:
    return None if at is None else local(at)


def wait_text(run: Json) -> str | None:
    """Return until when a run waits for its AI provider and what that said, none if it does not."""
    if run["waiting_until"] is None:
        return None
    return f"until {local(run['waiting_until'])} for the AI provider: {run['waiting_for']}"


def _pause_reason(run: Json) -> str | None:
    if run["pause_reason"] == "insufficient_credits":
        now, rest = run["missing_credits"], run["missing_to_finish"]
        more = f", about {rest} to finish" if rest > now else ""
        return f"{count(now, 'credit')} missing for the next batch{more}"
    return None if run["pause_reason"] is None else str(run["pause_reason"])


def result_text(stage: Json) -> str:
    """Return a stage's counts in words."""
    counts = stage["result"] or {}
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in counts.items()) or "-"


def change_text(run: Json) -> str:
    """Return what a run is after a change, what is in flight, or since when nothing is."""
    head, flying = f"{run['run_id']} {run['status']}", _flying(run)
    if run["status"] == "running":
        return f"{head}, in flight: {flying}" if flying else head
    if flying:
        return f"{head}. In flight, and may still be done: {flying}"
    if run["quiet_at"] is None:
        return head
    return f"{head}. Nothing is in flight since {local(run['quiet_at'])}"


def _flying(run: Json) -> str:
    """Return the batches in flight in words, nothing when there are none."""
    names = {stage["stage"]: stage["name"] for stage in run["stages"]}
    told = [
        f"stage {one['stage']} ({names[one['stage']]}) with {count(one['items'], 'item')}"
        for one in run["in_flight"]
    ]
    due = max((one["answer_by"] for one in run["in_flight"]), default=None)
    return f"{' and '.join(told)}, until {local(due)} at the latest" if due else ""


def pause_line(run: Json, account_id: str) -> str:
    """Return why a run that is watched is paused, and what to do so that it goes on."""
    run_id, resume = run["run_id"], f"septet run resume {run['run_id']}"
    if run["pause_reason"] == "insufficient_credits":
        return (
            f"{run_id} is paused: {_pause_reason(run)}. Add them with septet account credit "
            f"{account_id} {run['missing_to_finish']}, then go on with {resume}"
        )
    why = f": {run['note']}" if run["note"] else ""
    return f"{run_id} was paused by {run['changed_by']}{why}. Go on with {resume}"


def estimate_line(estimate: Json) -> str:
    """Return whether the account can pay for a run, in one line."""
    short = estimate["required_credits"] - estimate["available_credits"]
    return (
        f"estimate {estimate['estimated_credits']}, required {estimate['required_credits']}, "
        f"available {estimate['available_credits']}: "
        f"{'enough' if estimate['sufficient'] else f'{short} short'}"
    )


def estimate_text(estimate: Json) -> str:
    """Return an estimate by stage with what it assumes, and whether the account can pay for it."""
    rows = [
        (f"{one['stage']} {one['name']}", one["items"], one["credits"], one["assumption"])
        for one in estimate["stages"]
    ]
    return f"{table(('stage', 'items', 'credits', 'assumption'), rows)}\n{estimate_line(estimate)}"


def log_text(line: Json) -> str:
    """Return a line of a run's log."""
    stage = "-" if line["stage"] is None else line["stage"]
    level = str(line["level"]).upper()
    return f"{local(line['at'])}  {level:<7}  {stage}  {cell(line['message'])}"


def why_text(refusals: list[Json]) -> str:
    """Return the refusals of a site, newest first."""
    rows = [(local(one["at"]), one["rule"], local(one["slot"]), one["detail"]) for one in refusals]
    return table(("when", "rule", "slot", "why"), rows)


def count(number: int, noun: str) -> str:
    """Return how many there are, in words."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
