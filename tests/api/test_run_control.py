"""Who paused, resumed and cancelled a run and why, what is in flight, and what is tried again."""

import pytest

from events import content, run, site
from events.prices import CURRENT, PRICES
from tests.api.world import refuse


def test_a_pause_says_what_is_in_flight_and_later_since_when_it_is_quiet(world, one):
    run_id = one.start_run()
    one.happen(run.StageStarted(stage=2, items=("c1", "c2")), one.asked(2, "c1"))
    paused = one.post(f"/automation/pause?run_id={run_id}").json()
    (flying,) = paused["in_flight"]
    assert (paused["batches_in_flight"], flying["stage"], flying["items"]) == (1, 2, 1)
    assert flying["requested_at"] < flying["answer_by"]
    assert paused["quiet_at"] is None
    world.now = world.now.replace(minute=7)
    idea = content.Idea(
        id="i1", cluster_id="c1", title="T", intent="commercial", outline=(), target_keywords=()
    )
    one.happen(*one.reported(2, "c1", idea))
    quiet = one.get(f"/automation/run?run_id={run_id}").json()
    assert (quiet["batches_in_flight"], quiet["in_flight"]) == (0, [])
    assert quiet["quiet_at"] == "2026-03-01T09:07:00Z"
    resumed = one.post(f"/automation/resume?run_id={run_id}").json()
    assert (resumed["status"], resumed["quiet_at"]) == ("running", None)


def test_a_pause_with_nothing_in_flight_is_quiet_at_once(one):
    run_id = one.start_run()
    paused = one.post(f"/automation/pause?run_id={run_id}").json()
    assert paused["quiet_at"] == paused["paused_at"] is not None


@pytest.mark.parametrize(
    ("verb", "event"),
    [("pause", "RunPaused"), ("cancel", "RunCancelled"), ("resume", "RunResumed")],
)
def test_every_transition_says_who_and_why(world, one, verb, event):
    run_id = one.start_run()
    if verb == "resume":
        one.post(f"/automation/pause?run_id={run_id}")
    note = "prices are being checked"
    changed = one.post(f"/automation/{verb}?run_id={run_id}", json={"note": f" {note} "}).json()
    assert (changed["changed_by"], changed["note"]) == (one.key_id, note)
    assert changed["started_by"] == one.key_id
    events = one.get(f"/automation/events?run_id={run_id}").json()["events"]
    last = next(one for one in reversed(events) if one["type"] == event)
    assert (last["actor"], last["data"]["note"]) == (one.key_id, note)
    assert last["cause"] == world.sent[-1].id
    said = one.get(f"/automation/logs?run_id={run_id}&lines=1").json()["lines"][0]["message"]
    assert said.endswith(f"by {one.key_id}: {note}")


@pytest.mark.parametrize("body", [None, b"", b"  ", b"{}", b'{"note": ""}'])
def test_a_note_may_be_left_out(one, body):
    run_id = one.start_run()
    headers = {"Content-Type": "application/json"} if body and body.strip() else {}
    answer = one.post(f"/automation/pause?run_id={run_id}", content=body, headers=headers)
    assert (answer.status_code, answer.json()["note"]) == (200, None)


@pytest.mark.parametrize(
    "body", [{"note": 7}, {"note": None}, {"reason": "x"}, {"note": "x" * 501}, [], "note"]
)
def test_a_note_that_is_none_is_refused_and_nothing_is_sent(world, one, body):
    run_id = one.start_run()
    before = len(world.sent)
    answer = one.post(f"/automation/pause?run_id={run_id}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert len(world.sent) == before


def test_a_run_that_lacks_credits_says_how_many(one):
    run_id = one.start_run()
    lacking = run.RunPaused(reason="insufficient_credits", missing_credits=7, missing_to_finish=40)
    one.happen(lacking)
    paused = one.get(f"/automation/run?run_id={run_id}").json()
    assert (paused["pause_reason"], paused["missing_credits"]) == ("insufficient_credits", 7)
    assert paused["missing_to_finish"] == 40
    assert paused["error_message"] == (
        "Paused: 7 credits are missing for the next batch, about 40 to finish the run. "
        "Add credits, then resume."
    )
    resumed = one.post(f"/automation/resume?run_id={run_id}").json()
    assert (resumed["pause_reason"], resumed["missing_credits"]) == (None, 0)
    assert resumed["error_message"] is None


def test_a_failed_run_says_when_and_why(one):
    run_id = one.start_run()
    one.happen(run.RunFailed(error_message="Stage 2 (ideas) failed for its only cluster: no"))
    failed = one.get(f"/automation/run?run_id={run_id}").json()
    assert (failed["status"], failed["failed_at"], failed["completed_at"]) == (
        "failed",
        "2026-03-01T09:00:00Z",
        None,
    )
    assert failed["error_message"].startswith("Stage 2 (ideas)")


# --- trying again


def lose(tenant, stage, *items):
    """Let these items fail in the tenant's run."""
    asked = tenant.asked(stage, items[0]).model_copy(update={"items": items})
    moved = site.ItemsMoved(stage=stage, done=(), failed=items, made=())
    tenant.happen(run.StageStarted(stage=stage, items=items), asked, moved)


def test_a_retry_is_a_run_over_what_failed_priced_before_it_starts(world, one):
    failed = one.start_run()
    lose(one, 4, "t1", "t2")
    estimate = one.get(f"/automation/estimate?site_id={one.site_id}&retry_of={failed}").json()
    assert [stage["items"] for stage in estimate["stages"]] == [0, 0, 0, 2, 2, 4, 2]
    assert (estimate["estimated_credits"], estimate["required_credits"]) == (22, 27)
    assert estimate["retry_of"] == failed
    answer = one.post(f"/automation/retry_failed?run_id={failed}")
    body = answer.json()
    assert (answer.status_code, body["retry_of"], body["trigger_type"]) == (202, failed, "manual")
    assert (body["estimated_credits"], body["required_credits"]) == (10, 12)  # the script's
    command = world.sent[-1]
    assert command.message.retry_of == failed
    assert command.run_id == body["run_id"] != failed


def test_a_retry_of_nothing_is_refused_by_the_rule(world, one):
    run_id = one.start_run()
    world.script = refuse("nothing_to_do", retry_of=run_id)
    answer = one.post(f"/automation/retry_failed?run_id={run_id}")
    assert (answer.status_code, answer.json()["code"]) == (400, "nothing_to_do")


def test_the_price_of_a_retry_is_told_only_for_runs_of_the_site(one, other):
    run_id = one.start_run()
    second = one.post("/sites", json={"name": "more", "domain": "a.example"}).json()["site_id"]
    theirs = other.start_run()
    for site_id, of in ((second, run_id), (one.site_id, theirs), (one.site_id, "run-unknown")):
        path = f"/automation/estimate?site_id={site_id}&retry_of={of}"
        assert one.get(path).status_code == 404


# --- estimates say what they assume


def test_an_estimate_says_what_it_assumed(one):
    one.add_keywords(*(f"keyword {number}" for number in range(6)))
    first = one.get(f"/automation/estimate?site_id={one.site_id}").json()["stages"][0]
    assert (first["learned_from"], first["makes_per_item"]) == (0, 1.0)
    assert first["assumption"].startswith("6 keywords are expected to make 6 clusters: our default")
    past = tuple(f"k{number}" for number in range(12))
    made = tuple(site.Made(id=f"c{number}", of="k0") for number in range(6))
    one.happen(site.ItemsMoved(stage=1, done=past, failed=(), made=made))
    learned = one.get(f"/automation/estimate?site_id={one.site_id}").json()["stages"][0]
    assert (learned["learned_from"], learned["makes_per_item"]) == (12, 0.5)
    assert learned["assumption"] == (
        "12 keywords are expected to make 6 clusters, as the last 12 keywords of this site did."
    )


def test_the_price_list_is_told_with_its_versions(one):
    prices = one.get("/account/prices").json()
    assert prices["current"] == CURRENT
    assert prices["versions"]["1"] == dict(PRICES[1].per_call)
    assert prices["rates"]["1"] == []
    assert prices["rates"]["2"] == [one.model_dump() for one in PRICES[2].rates]


# --- logs


def test_the_log_can_be_followed_by_position_and_kept_to_levels_and_stages(one):
    run_id = one.start_run()
    one.write_article()
    one.happen(run.BatchExpired(stage=6, batch_id="b", attempt=1))
    path = f"/automation/logs?run_id={run_id}"
    whole = one.get(path).json()["lines"]
    found, after = [], 0
    while page := one.get(f"{path}&after={after}&lines=3").json()["lines"]:
        assert len(page) <= 3
        found += page
        after = page[-1]["position"]
    assert found == whole
    (warning,) = one.get(f"{path}&level=warning").json()["lines"]
    assert warning == whole[-1]
    of_stage = one.get(f"{path}&stage=2").json()["lines"]
    assert {line["stage"] for line in of_stage} == {2}
    assert (
        one.get(f"{path}&stage=2&after={of_stage[0]['position']}").json()["lines"] == of_stage[1:]
    )
    for wrong in ("level=loud", "stage=8", "stage=0", "after=-1", "lines=0", "lines=1001"):
        assert one.get(f"{path}&{wrong}").status_code == 400
