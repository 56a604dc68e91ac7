"""`septet run` against an API of canned answers: what a run is, what it will cost, steering it."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from typer.testing import Result

from tests.cli.conftest import Api, error_of
from tests.cli.rows import AT, ESTIMATE, FLYING, STARTED, run_row

Septet = Callable[..., Result]


@pytest.fixture(autouse=True)
def local_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.cli.shown.local", lambda at: at[:19] if at else "-")


def test_a_pending_command_is_asked_about_with_its_own_key(api: Api, septet: Septet) -> None:
    pending = httpx.Response(202, json={"command_id": "cmd-1", "status": "pending"})
    api.on("POST", "/automation/pause", pending, pending, run_row("paused"))
    assert septet("run", "pause", "run-1").exit_code == 0
    assert len({request.headers["idempotency-key"] for request in api.asked}) == 1


@pytest.mark.parametrize(
    ("verb", "after", "said"),
    [
        (
            "pause",
            run_row("paused", **FLYING),
            "run-1 paused. In flight, and may still be done: "
            "stage 4 (content) with 1 item, until 2026-11-21T10:05:00 at the latest\n",
        ),
        (
            "pause",
            run_row("paused", quiet_at=AT),
            "run-1 paused. Nothing is in flight since 2026-11-21T10:00:00\n",
        ),
        ("resume", run_row(), "run-1 running\n"),
        (
            "cancel",
            run_row("cancelled"),
            "run-1 cancelled. Nothing is in flight since 2026-11-21T10:00:00\n",
        ),
    ],
)
def test_a_change_says_what_is_in_flight_or_since_when_nothing_is(
    api: Api, septet: Septet, verb: str, after: dict[str, Any], said: str
) -> None:
    api.on("POST", f"/automation/{verb}", after)
    assert septet("run", verb, "run-1").stdout == said
    assert json.loads(septet("run", verb, "run-1", "--output", "json").stdout) == after


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
def test_a_note_is_sent_along_and_none_is_no_body(api: Api, septet: Septet, verb: str) -> None:
    api.on("POST", f"/automation/{verb}", run_row("cancelled"))
    septet("run", verb, "run-1", "--note", "Lunch")
    septet("run", verb, "run-1")
    assert [request.content for request in api.asked] == [b'{"note":"Lunch"}', b""]


def test_a_resume_that_cannot_be_paid_for_says_how_much_to_grant(api: Api, septet: Septet) -> None:
    numbers = {"missing_credits": 6, "missing_to_finish": 16, "available_credits": 1}
    api.problem("POST", "/automation/resume", 400, "insufficient_credits", **numbers)
    done = septet("run", "resume", "run-1")
    assert done.exit_code == 3
    assert done.stderr.endswith("Grant 16 more with septet account credit\n")


def test_a_site_stands_for_its_current_run(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/current_run", {"run": run_row()}, {"run": None})
    api.on("POST", "/automation/cancel", run_row("cancelled"))
    assert septet("run", "cancel", "--site", "site-1").stdout.startswith("run-1 cancelled")
    none = septet("run", "cancel", "--site", "site-1")
    assert (none.exit_code, "has no active run" in none.stderr) == (1, True)


@pytest.mark.parametrize("verb", ["show", "watch", "pause", "resume", "cancel", "logs", "retry"])
def test_a_run_is_named_by_its_place_or_by_an_option(api: Api, septet: Septet, verb: str) -> None:
    api.on("GET", "/automation/run", run_row("completed"))
    api.on("GET", "/automation/events", {"events": []})
    api.on("GET", "/automation/logs", {"lines": []})
    api.on("GET", "/automation/estimate", ESTIMATE)
    for asked in ("pause", "resume", "cancel", "retry_failed"):
        api.on("POST", f"/automation/{asked}", run_row())
    by_place = septet("run", verb, "run-1")
    by_option = septet("run", verb, "--run", "run-1")
    assert (by_place.exit_code, by_option.exit_code) == (0, 0)
    half = len(api.asked) // 2
    asked = [(one.method, one.url) for one in api.asked]
    assert asked[:half] == asked[half:]
    assert any(url.params.get("run_id") == "run-1" for _, url in asked)


def test_a_run_shows_who_began_and_changed_it_and_why(api: Api, septet: Septet) -> None:
    shown = {
        "trigger_type": "scheduled",
        "slot": AT,
        "retry_of": "run-0",
        "changed_by": "key-2",
        "note": "Lunch",
        "pause_reason": "insufficient_credits",
        "missing_credits": 23,
        "quiet_at": AT,
    }
    api.on("GET", "/automation/run", run_row("paused", **shown), run_row("failed"))
    lines = septet("run", "show", "run-1").stdout.split("\n\n")[0].splitlines()
    assert dict(re.split(r"  +", line, maxsplit=1) for line in lines) == {
        "run": "run-1",
        "site": "site-1",
        "status": "paused, by key-2",
        "pause reason": "23 credits missing for the next batch",
        "note": "Lunch",
        "trigger": "scheduled, for 2026-11-21T10:00:00",
        "retry of": "run-0",
        "started by": "key-1",
        "started": "2026-11-21T10:00:00",
        "paused": "2026-11-21T10:00:00",
        "quiet since": "2026-11-21T10:00:00",
        "in flight": "nothing",
        "credits used": "7 of an estimated 9",
        "credits held": "0",
        "price version": "1",
    }
    assert "failed at      2026-11-21T10:00:00\n" in septet("run", "show", "run-1").stdout


def test_a_run_that_waits_for_its_provider_says_until_when_and_why(
    api: Api, septet: Septet
) -> None:
    row = run_row(waiting_until=AT, waiting_for="Too many requests.")
    api.on("GET", "/automation/run", row)
    said = "waiting        until 2026-11-21T10:00:00 for the AI provider: Too many requests.\n"
    assert said in septet("run", "show", "run-1").stdout


def test_json_leaves_times_as_they_are(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/run", run_row())
    shown = json.loads(septet("run", "show", "run-1", "--output", "json").stdout)
    assert shown["started_at"] == AT


def test_an_estimate_says_by_stage_what_it_assumes(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/estimate", ESTIMATE)
    assert septet("run", "estimate", "--site", "site-1").stdout.splitlines() == [
        "STAGE       ITEMS  CREDITS  ASSUMPTION",
        "1 clusters    240       12  4 keywords are expected to make 1 cluster: our default.",
        "estimate 474, required 569, available 1200: enough",
    ]
    of_retry = ("--retry-of", "run-1", "--output", "json")
    done = septet("run", "estimate", "--site", "site-1", *of_retry)
    assert json.loads(done.stdout) == ESTIMATE
    asked = [dict(request.url.params) for request in api.asked]
    assert asked == [{"site_id": "site-1"}, {"site_id": "site-1", "retry_of": "run-1"}]


def test_a_retry_shows_first_what_it_will_cost(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/run", run_row("completed", run_id="run-0"))
    api.on("GET", "/automation/estimate", ESTIMATE)
    api.on("POST", "/automation/retry_failed", STARTED, status=202)
    done = septet("run", "retry", "run-0")
    assert done.stdout.splitlines() == [
        "estimate 474, required 569, available 1200: enough",
        "run-1 running",
    ]
    estimate, retry = api.asked[-2:]
    assert dict(estimate.url.params) == {"site_id": "site-1", "retry_of": "run-0"}
    assert dict(retry.url.params) == {"run_id": "run-0"}
    as_json = septet("run", "retry", "run-0", "--output", "json")
    assert json.loads(as_json.stdout) == STARTED


def test_a_retry_of_nothing_is_refused_without_advice_that_would_not_help(
    api: Api, septet: Septet
) -> None:
    api.problem("POST", "/automation/retry_failed", 400, "nothing_to_do", retry_of="run-0")
    done = septet("run", "retry", "run-0", "--output", "json")
    assert (done.exit_code, error_of(done)["code"]) == (3, "nothing_to_do")
    api.on("GET", "/automation/run", run_row("completed"))
    api.on("GET", "/automation/estimate", ESTIMATE)
    assert septet("run", "retry", "run-0").stderr == "error: This is nothing_to_do.\n"


def test_nothing_to_do_is_not_called_enough(api: Api, septet: Septet) -> None:
    stages = [{**ESTIMATE["stages"][0], "items": 0, "credits": 0}]
    nothing = {"estimated_credits": 0, "required_credits": 0, "stages": stages}
    api.on("GET", "/automation/estimate", ESTIMATE | nothing)
    api.problem("POST", "/automation/run_now", 400, "nothing_to_do")
    done = septet("run", "start", "--site", "site-1")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == "error: This is nothing_to_do. See septet keywords import\n"


def test_why_lists_rule_slot_and_sentence(api: Api, septet: Septet) -> None:
    refusal = {
        "at": AT,
        "rule": "insufficient_credits",
        "slot": "2026-11-21T02:00:00.000000Z",
        "detail": "The run needs 9 credits and 3 are available.",
    }
    why = {"site_id": "site-1", "refusals": [refusal, refusal | {"slot": None}]}
    api.on("GET", "/automation/why", why, why, {"site_id": "site-1", "refusals": []})
    table = septet("run", "why", "--site", "site-1").stdout.splitlines()
    assert table[0].split() == ["WHEN", "RULE", "SLOT", "WHY"]
    assert table[1].split()[:3] == [AT[:19], "insufficient_credits", "2026-11-21T02:00:00"]
    assert table[1].endswith("The run needs 9 credits and 3 are available.")
    assert table[2].split()[2] == "-"
    assert json.loads(septet("run", "why", "--site", "site-1", "--output", "json").stdout) == why
    none = septet("run", "why", "--site", "site-1").stdout
    assert none == "No run of this site was refused or skipped.\n"
