"""From keywords to reviewed drafts, over Kafka and the store, with every step read back."""

import hashlib
import json

from events.message import bare_name
from events.reading import read
from events.topics import COMMANDS, RUN_EVENTS, STAGE_REPORTS, stage_topic
from tests.system.septet import KEYWORDS, Septet, wait_for
from tests.system.sums import assert_sums_agree

RESULTS = (
    {"keywords_processed", "clusters_created"},
    {"clusters_processed", "ideas_created"},
    {"ideas_processed", "tasks_created"},
    {"tasks_processed", "content_created", "total_words"},
    {"content_processed", "prompts_created"},
    {"images_processed", "images_generated", "images_failed"},
    {"ready_for_review"},
)


def test_seven_stages_take_keywords_to_review(septet: Septet):
    site = septet.new_site()
    estimate = septet.get("/automation/estimate", site_id=site)
    started = septet.post("/automation/run_now", site_id=site)
    assert started == {
        "run_id": started["run_id"],
        "site_id": site,
        "status": "running",
        "trigger_type": "manual",
    }
    run = septet.finished(started["run_id"])
    assert (run["status"], run["error_message"]) == ("completed", None)
    assert [set(stage["result"]) for stage in run["stages"]] == list(RESULTS)
    assert {stage["status"] for stage in run["stages"]} == {"completed"}
    clusters, ideas, tasks, content, prompts, images, review = (
        stage["result"] for stage in run["stages"]
    )
    assert clusters["keywords_processed"] == len(KEYWORDS)
    assert clusters["clusters_created"] == ideas["clusters_processed"] >= 3
    assert ideas["ideas_created"] == tasks["tasks_created"] == content["content_created"]
    assert prompts["prompts_created"] == images["images_generated"]
    assert review["ready_for_review"] == content["content_created"]
    assert 0 < run["total_credits_used"] <= estimate["required_credits"]
    overview = septet.get("/automation/pipeline_overview", site_id=site)["stages"]
    assert [stage["pending"] + stage["in_progress"] for stage in overview] == [0] * 7


def test_credits_agree_in_run_stages_task_log_and_ledger(septet: Septet):
    site = septet.new_site(KEYWORDS[:6])
    before = septet.get("/account")
    run = septet.finished(septet.start_run(site))
    after = septet.get("/account")
    assert_sums_agree(septet, run["run_id"])
    assert run["total_credits_used"] == before["balance"] - after["balance"]
    assert after["held_credits"] == before["held_credits"]


def test_every_article_and_image_can_be_read(septet: Septet):
    site = septet.new_site(KEYWORDS[4:8])
    septet.finished(septet.start_run(site))
    drafts = septet.get("/writer/content", site_id=site)["items"]
    assert drafts
    for draft in drafts:
        article = septet.get(f"/writer/content/{draft['id']}")
        assert article["body"].count("\n## ") >= 3
        assert article["quality"]["passed"]
        assert all(keyword in article["body"].lower() for keyword in article["keywords"])
        assert article["status"] == "review"
        assert set(article["lineage"]) == {"cluster_id", "idea_id", "task_id", "run_id"}
    images = septet.get("/writer/images", site_id=site)["items"]
    files = [septet.call("GET", f"/writer/images/{image['id']}/file") for image in images]
    assert files
    assert all(file.content[:4] == b"RIFF" and file.content[8:12] == b"WEBP" for file in files)
    assert len({hashlib.sha256(file.content).hexdigest() for file in files}) == len(files)


def test_the_topic_holds_what_the_api_shows_in_the_order_of_the_store(septet: Septet):
    site = septet.new_site(KEYWORDS[:4])
    run_id = septet.start_run(site)
    septet.finished(run_id)
    shown = septet.events(run_id)
    positions = [event["position"] for event in shown]
    assert positions == sorted(set(positions))
    published = [
        record for record in septet.records(RUN_EVENTS) if record.header("ce_siteid") == site
    ]
    assert {record.key for record in published} == {site.encode()}
    assert len({record.partition for record in published}) == 1
    order = [int(record.header("ce_position") or 0) for record in published]
    firsts = list(dict.fromkeys(order))
    assert firsts == sorted(firsts)
    of_run = {
        int(record.header("ce_position") or 0): record
        for record in published
        if json.loads(record.value or b"{}")["run_id"] == run_id
    }
    assert sorted(of_run) == positions
    for event in shown:
        record = of_run[event["position"]]
        assert bare_name(record.header("ce_type") or "") == event["type"]
        assert record.header("ce_specversion") == "1.0"
        assert record.header("content-type") == "application/json"
        assert event["data"].items() <= json.loads(record.value or b"{}").items()


def test_batches_go_to_their_stage_keyed_by_run_and_are_reported_keyed_by_site(septet: Septet):
    site = septet.new_site(KEYWORDS[:4])
    run_id = septet.start_run(site)
    run = septet.finished(run_id)
    for stage in range(1, 8):
        requests = [
            read(record)
            for record in septet.records(stage_topic(stage))
            if record.key == run_id.encode()
        ]
        last = [request for request in requests if request.message.last]  # type: ignore[attr-defined]
        assert len({request.id for request in last}) == 1
    reports = [read(r) for r in septet.records(STAGE_REPORTS) if r.key == site.encode()]
    completed = {
        report.message.stage: report.message.result  # type: ignore[attr-defined]
        for report in reports
        if report.message.TYPE == "StageCompleted"
    }
    assert completed == {stage["stage"]: stage["result"] for stage in run["stages"]}
    commands = [read(r) for r in septet.records(COMMANDS) if r.key == site.encode()]
    assert "RunRequested" in {command.message.TYPE for command in commands}


def test_pause_stops_at_the_next_batch_and_resume_does_exactly_the_rest(septet: Septet):
    site = septet.new_site(stage_1_batch_size=1, within_stage_delay=1)
    run_id = septet.start_run(site)
    wait_for("a batch is done", lambda: septet.run(run_id)["stages"][0]["items_done"] > 0)
    paused = septet.post("/automation/pause", run_id=run_id)
    assert paused["status"] == "paused"
    wait_for("it is quiet", lambda: septet.run(run_id)["batches_in_flight"] == 0)
    quiet = septet.run(run_id)
    requested = _batches(septet, run_id)
    refused = septet.call("POST", "/automation/pause", params={"run_id": run_id})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_transition")
    wait_for("the delay passes", lambda: True, within=2)
    assert _batches(septet, run_id) == requested
    assert 0 < quiet["stages"][0]["items_done"] < len(KEYWORDS)
    resumed = septet.post("/automation/resume", run_id=run_id)
    assert resumed["status"] == "running"
    run = septet.finished(run_id, within=120)
    assert run["stages"][0]["items_done"] == len(KEYWORDS)
    events = septet.events(run_id)
    asked = [
        item
        for event in events
        if event["type"] == "StageBatchRequested" and event["data"]["stage"] == 1
        for item in event["data"]["items"]
    ]
    assert len(asked) == len(set(asked)) == len(KEYWORDS)
    between = _between(events, "RunPaused", "RunResumed")
    assert "StageBatchRequested" not in between


def _batches(septet: Septet, run_id: str) -> int:
    return sum(event["type"] == "StageBatchRequested" for event in septet.events(run_id))


def _between(events: list[dict[str, object]], first: str, last: str) -> list[object]:
    types = [event["type"] for event in events]
    return types[types.index(first) : types.index(last)]


def test_cancel_keeps_what_is_done_and_gives_the_hold_back(septet: Septet):
    site = septet.new_site(stage_1_batch_size=1, within_stage_delay=1)
    held = septet.get("/account")["held_credits"]
    run_id = septet.start_run(site)
    assert septet.run(run_id)["held_credits"] > 0
    wait_for("a batch is done", lambda: septet.run(run_id)["stages"][0]["items_done"] > 0)
    cancelled = septet.post("/automation/cancel", run_id=run_id)
    assert cancelled["status"] == "cancelled"

    def is_quiet() -> bool:
        run = septet.run(run_id)
        return run["batches_in_flight"] == 0 and run["held_credits"] == 0

    wait_for("the hold is released", is_quiet)
    run = septet.run(run_id)
    assert septet.get("/account")["held_credits"] == held
    assert 0 < run["stages"][0]["items_done"] < len(KEYWORDS)
    types = [event["type"] for event in septet.events(run_id)]
    assert "StageBatchRequested" not in types[types.index("RunCancelled") :]
    for again in ("pause", "resume", "cancel"):
        answer = septet.call("POST", f"/automation/{again}", params={"run_id": run_id})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_transition")
    second = septet.finished(septet.start_run(site), within=120)
    assert second["status"] == "completed"
    first_done = run["stages"][0]["items_done"]
    assert second["stages"][0]["items_done"] == len(KEYWORDS) - first_done


def test_a_site_has_one_active_run_however_many_ask_at_once(septet: Septet):
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    site = septet.new_site(stage_1_batch_size=1, within_stage_delay=1)
    with ThreadPoolExecutor(12) as many:
        answers = list(
            many.map(
                lambda _: septet.call("POST", "/automation/run_now", params={"site_id": site}),
                range(12),
            )
        )
    started = [answer.json()["run_id"] for answer in answers if answer.status_code == 202]
    refused = [answer.json() for answer in answers if answer.status_code == 400]
    assert len(started) == 1
    assert {one["code"] for one in refused} == {"run_already_active"}
    assert {one["active_run_id"] for one in refused} == set(started)
    assert len(refused) == 11
    septet.post("/automation/cancel", run_id=started[0])


def test_the_log_of_everything_above_keeps_every_promise(septet: Septet):
    wait_for(
        "every run has ended",
        lambda: all(
            run["status"] not in ("running", "paused")
            for site in septet.get("/sites")["items"]
            for run in septet.get("/automation/history", site_id=site["site_id"])["runs"]
        ),
    )
    septet.check()
