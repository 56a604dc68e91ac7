"""Config, runs and what they show."""

from events import run as run_events
from events import site as site_events
from events.content import AiCall
from events.ids import run_id_of
from tests.api.world import refuse

STAGES = ["clusters", "ideas", "tasks", "content", "prompts", "images", "review"]


def test_the_config_has_the_contracts_defaults_in_the_sites_zone(one):
    config = one.get(f"/automation/config?site_id={one.site_id}").json()
    assert config == {
        "site_id": one.site_id,
        "is_enabled": False,
        "frequency": "daily",
        "scheduled_time": "02:00",
        "timezone": "Europe/Berlin",
        "schedule_weekday": 0,
        "schedule_day": 1,
        "stage_1_batch_size": 20,
        "stage_2_batch_size": 1,
        "stage_3_batch_size": 20,
        "stage_4_batch_size": 1,
        "stage_5_batch_size": 1,
        "stage_6_batch_size": 1,
        "within_stage_delay": 3,
        "between_stage_delay": 5,
        "max_items_per_stage": 500,
        "max_parallel_batches": 1,
        "language": "en",
        "brand_voice": "",
        "audience": "",
        "banned_words": [],
        "last_run_at": None,
        "next_run_at": None,
    }


def test_a_changed_config_comes_back_whole(world, one):
    path = f"/automation/update_config?site_id={one.site_id}"
    answer = one.put(path, json={"stage_1_batch_size": 7})
    assert answer.status_code == 200
    assert answer.json()["stage_1_batch_size"] == 7
    assert len(answer.json()) == 23
    assert world.sent[-1].message.changes.chosen() == {"stage_1_batch_size": 7}


def test_one_bad_field_spoils_the_whole_change(one):
    path = f"/automation/config?site_id={one.site_id}"
    before = one.get(path).json()
    changes = {"is_enabled": True, "stage_1_batch_size": 7, "timezone": "Mars/Base"}
    answer = one.put(f"/automation/update_config?site_id={one.site_id}", json=changes)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert one.get(path).json() == before


def test_run_now_answers_when_the_run_has_started(world, one):
    answer = one.post(f"/automation/run_now?site_id={one.site_id}")
    command = world.sent[-1]
    assert (answer.status_code, answer.json()) == (
        202,
        {
            "run_id": run_id_of(command.id),
            "site_id": one.site_id,
            "status": "running",
            "trigger_type": "manual",
        },
    )
    assert (command.actor, command.cause) == (one.key_id, command.id)
    assert (command.run_id, command.site_id) == (answer.json()["run_id"], one.site_id)
    run = one.get(f"/automation/run?run_id={command.run_id}").json()
    assert (run["status"], [stage["name"] for stage in run["stages"]]) == ("running", STAGES)
    assert one.get(f"/automation/current_run?site_id={one.site_id}").json() == {"run": run}


def test_a_site_without_an_active_run_says_so(one):
    assert one.get(f"/automation/current_run?site_id={one.site_id}").json() == {"run": None}
    idle = one.get(f"/automation/current_processing?site_id={one.site_id}").json()
    assert (idle["run_id"], idle["items_total"], idle["processing"]) == (None, 0, [])


def test_a_refusal_is_a_problem_with_the_rules_numbers(world, one):
    world.script = refuse("insufficient_credits", estimated_credits=9, status=5, detail="mine")
    answer = one.post(f"/automation/run_now?site_id={one.site_id}")
    body = answer.json()
    assert (answer.status_code, body["status"], body["detail"]) == (400, 400, "No.")
    assert (body["code"], body["estimated_credits"]) == ("insufficient_credits", 9)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_rules_not_found_is_a_404_and_a_bug_a_500_that_tells_nothing(world, one):
    run_now = f"/automation/run_now?site_id={one.site_id}"
    world.script = refuse("not_found", secret=1)
    missing = one.post(run_now)
    assert missing.status_code == 404
    assert missing.content == one.get("/automation/run?run_id=run-unknown").content
    world.script = refuse("internal_error", secret=1)
    broken = one.post(run_now)
    assert (broken.status_code, broken.json()["code"]) == (500, "internal_error")
    assert "secret" not in broken.text
    world.script = refuse("a_rule_of_tomorrow", limit=1)
    assert one.post(run_now).json()["code"] == "a_rule_of_tomorrow"


def test_pause_resume_and_cancel_answer_with_the_run_as_it_was_then(one):
    run = one.start_run()
    for verb, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        headers = {"Idempotency-Key": verb}
        answer = one.post(f"/automation/{verb}?run_id={run}", headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (200, status)
    again = one.post(f"/automation/pause?run_id={run}", headers={"Idempotency-Key": "pause"})
    assert again.json()["status"] == "paused"
    assert one.get(f"/automation/run?run_id={run}").json()["status"] == "cancelled"


def test_the_history_is_paged_newest_first(one):
    started = [one.start_run() for _ in range(5)]
    found, cursor = [], ""
    while cursor is not None:
        page = one.get(f"/automation/history?site_id={one.site_id}&limit=2&cursor={cursor}").json()
        found += [run["run_id"] for run in page["runs"]]
        cursor = page["next_cursor"]
    assert found == started[::-1]


def test_a_page_of_the_history_has_twenty_runs(one):
    for _ in range(21):
        one.start_run()
    page = one.get(f"/automation/history?site_id={one.site_id}").json()
    assert (len(page["runs"]), page["next_cursor"] is None) == (20, False)


def test_events_are_paged_until_empty(one):
    run = one.start_run()
    one.write_article()
    path, found, after = f"/automation/events?run_id={run}&limit=7", [], 0
    while page := one.get(f"{path}&after={after}").json()["events"]:
        found += page
        after = page[-1]["position"]
    positions = [event["position"] for event in found]
    assert positions == sorted(set(positions))
    assert found[0]["type"] == "RunStarted"
    requested = [event["data"] for event in found if event["type"] == "StageBatchRequested"]
    assert [data["stage"] for data in requested] == [1, 2, 3, 4, 5, 6]
    assert all(data["batch_id"] for data in requested)
    whole = one.get(f"/automation/events?run_id={run}&after=").json()["events"]
    assert whole == found


def test_the_log_has_the_newest_lines_oldest_first(one):
    run = one.start_run()
    one.write_article()
    whole = one.get(f"/automation/logs?run_id={run}").json()
    assert whole["run_id"] == run
    assert set(whole["lines"][0]) == {"at", "level", "stage", "message", "position"}
    newest = one.get(f"/automation/logs?run_id={run}&lines=2").json()["lines"]
    assert newest == whole["lines"][-2:]


def test_the_log_shows_a_hundred_lines_unless_asked_for_more(one):
    run = one.start_run()
    for number in range(120):
        one.happen(run_events.RunPaused(note=f"pause {number}"))
    shown = one.get(f"/automation/logs?run_id={run}").json()["lines"]
    more = one.get(f"/automation/logs?run_id={run}&lines=1000").json()["lines"]
    assert (len(shown), len(more)) == (100, 121)
    assert more[-100:] == shown
    assert shown[-1]["message"].endswith("pause 119")


def test_a_failed_call_is_in_the_task_log_and_costs_nothing(one):
    run = one.start_run()
    calls = (
        AiCall(function="write_article", model="m", status="failed", credits_used=0, error="Away"),
        AiCall(function="write_article", model="m", status="failed", credits_used=2, error="Cut"),
    )
    failed = run_events.BatchFailed(
        stage=4, batch_id="batch-1", attempt=1, error="Away", calls=calls
    )
    one.happen(failed)
    items = one.get(f"/account/ai_tasks?run_id={run}").json()["items"]
    assert [(item["status"], item["credits"]) for item in items] == [("failed", 2), ("failed", 0)]


def test_the_estimate_is_the_sum_of_its_stages_and_a_fifth_more(one):
    one.add_keywords(*(f"keyword {number}" for number in range(6)))
    answer = one.get(f"/automation/estimate?site_id={one.site_id}").json()
    total = sum(stage["credits"] for stage in answer["stages"])
    assert [stage["stage"] for stage in answer["stages"]] == [1, 2, 3, 4, 5, 6, 7]
    assert answer["estimated_credits"] == total
    assert answer["required_credits"] == -(-total * 12 // 10)
    assert (answer["balance"], answer["available_credits"], answer["sufficient"]) == (
        1000,
        1000,
        True,
    )


def test_the_overview_counts_all_seven_stages(one):
    one.add_keywords("a", "b")
    stages = one.get(f"/automation/pipeline_overview?site_id={one.site_id}").json()["stages"]
    assert [stage["name"] for stage in stages] == STAGES
    assert stages[0] == {
        "stage": 1,
        "name": "clusters",
        "pending": 2,
        "in_progress": 0,
        "done": 0,
        "failed": 0,
    }


def test_current_processing_tells_items_and_percentage(one):
    one.add_keywords("a")
    item = one.get(f"/planner/keywords?site_id={one.site_id}").json()["items"][0]["id"]
    run = one.start_run()
    one.happen(run_events.StageStarted(stage=1, items=(item, "kw-2")), one.asked(1, item))
    shown = one.get(f"/automation/current_processing?site_id={one.site_id}&run_id={run}").json()
    assert (shown["run_id"], shown["stage"], shown["stage_name"]) == (run, 1, "clusters")
    assert (shown["items_total"], shown["items_done"], shown["percentage"]) == (2, 0, 0)
    assert shown["processing"][0]["id"] == item


def test_why_names_the_rule_and_its_numbers(one):
    refused = site_events.RunRefused(
        trigger_type="scheduled",
        slot=one.world.now,
        code="insufficient_credits",
        detail="Not enough.",
        numbers={"required_credits": 9},
    )
    one.happen(refused)
    (found,) = one.get(f"/automation/why?site_id={one.site_id}").json()["refusals"]
    assert (found["rule"], found["code"]) == ("insufficient_credits",) * 2
    assert (found["numbers"], found["trigger_type"]) == ({"required_credits": 9}, "scheduled")
    assert found["slot"] is not None


def test_a_site_has_a_head_over_its_history_that_moves_with_every_event(one):
    first = one.get(f"/automation/audit_head?site_id={one.site_id}").json()
    assert first["site_id"] == one.site_id
    assert len(bytes.fromhex(first["head"])) == 32
    one.put(f"/automation/update_config?site_id={one.site_id}", json={"stage_1_batch_size": 7})
    second = one.get(f"/automation/audit_head?site_id={one.site_id}").json()
    assert second["position"] > first["position"]
    assert second["head"] != first["head"]
