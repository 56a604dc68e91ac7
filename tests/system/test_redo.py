"""What failed is tried again, and what a reviewer sends back is written again."""

from typing import Any

from services.artifacts import in_folder
from tests.system.septet import KEYWORDS, Septet, wait_for


def drafts_of(septet: Septet, run_id: str) -> list[Any]:
    return [
        fact
        for event in septet.events(run_id)
        if event["type"] == "StageBatchCompleted" and event["data"]["stage"] == 4
        for fact in event["data"]["made"]
    ]


def test_a_retry_does_exactly_what_failed_for_the_price_that_was_told(septet: Septet):
    """An article's text is away while its images are to be described, and then there again."""
    site = septet.new_site(KEYWORDS[:8], stage_5_batch_size=1, between_stage_delay=2)
    run_id = septet.start_run(site)
    wait_for("stage 4 is done", lambda: septet.run(run_id)["stages"][3]["status"] == "completed")
    lost = drafts_of(septet, run_id)[0]
    path = in_folder(septet.folder / "artifacts").path_of(lost["body"])
    assert path is not None
    path.rename(path.with_suffix(".away"))
    run = septet.finished(run_id)
    assert (run["status"], run["stages"][4]["status"]) == ("completed", "partial")
    assert run["stages"][4]["items_failed"] == 1
    path.with_suffix(".away").rename(path)

    told = septet.get("/automation/estimate", site_id=site, retry_of=run_id)
    assert [stage["items"] for stage in told["stages"]] == [0, 0, 0, 0, 1, 2, 1]
    retry = septet.post("/automation/retry_failed", run_id=run_id)
    assert (retry["retry_of"], retry["estimated_credits"]) == (run_id, told["estimated_credits"])
    redone = septet.finished(retry["run_id"])
    assert (redone["status"], redone["retry_of"]) == ("completed", run_id)
    assert [stage["items_done"] for stage in redone["stages"][:5]] == [0, 0, 0, 0, 1]
    assert redone["total_credits_used"] <= retry["required_credits"]
    asked = [
        item
        for event in septet.events(retry["run_id"])
        if event["type"] == "StageBatchRequested" and event["data"]["stage"] == 5
        for item in event["data"]["items"]
    ]
    assert asked == [lost["id"]]
    assert septet.get(f"/writer/content/{lost['id']}")["status"] == "review"
    again = septet.call("POST", "/automation/retry_failed", params={"run_id": run_id})
    assert (again.status_code, again.json()["code"]) == (400, "nothing_to_do")
    (refusal,) = septet.get("/automation/why", site_id=site)["refusals"]
    assert (refusal["rule"], refusal["numbers"]) == ("nothing_to_do", {"retry_of": run_id})


def test_a_requested_change_is_written_in_the_next_run_with_the_note(septet: Septet):
    site = septet.new_site(KEYWORDS[:4])
    septet.finished(septet.start_run(site))
    first, *others = septet.get("/writer/content", site_id=site)["items"]
    before = septet.get(f"/writer/content/{first['id']}")
    note = "Say more about filters, and less about beans."
    sent = septet.post(f"/writer/content/{first['id']}/request_changes", {"note": note})
    assert sent == {"id": first["id"], "status": "changes_requested"}
    overview = septet.get("/automation/pipeline_overview", site_id=site)["stages"]
    assert [stage["pending"] for stage in overview] == [0, 0, 0, 1, 0, 0, 0]
    told = septet.get("/automation/estimate", site_id=site)
    assert [stage["items"] for stage in told["stages"]] == [0, 0, 0, 1, 0, 0, 1]

    run = septet.finished(septet.start_run(site))
    assert run["total_credits_used"] == told["estimated_credits"]
    after = septet.get(f"/writer/content/{first['id']}")
    assert (after["status"], after["revision"], after["note"]) == ("review", 2, note)
    assert after["body"] != before["body"]
    assert "filters" in after["body"].lower()
    assert "filters" not in before["body"].lower()
    assert (after["slug"], after["images"]) == (before["slug"], before["images"])
    listed = septet.get("/writer/content", site_id=site)["items"]
    assert [one["id"] for one in listed] == [first["id"], *(one["id"] for one in others)]
    approved = septet.post(f"/writer/content/{first['id']}/approve")
    assert approved["status"] == "approved"


def test_an_estimate_learns_from_the_sites_own_runs(septet: Septet):
    site = septet.new_site(KEYWORDS)
    guessed = septet.get("/automation/estimate", site_id=site)["stages"][0]
    assert guessed["learned_from"] == 0
    run = septet.finished(septet.start_run(site))
    made = run["stages"][0]["result"]
    learned = septet.get("/automation/estimate", site_id=site)["stages"][0]
    assert learned["learned_from"] == made["keywords_processed"] == len(KEYWORDS)
    share = made["clusters_created"] / made["keywords_processed"]
    assert learned["makes_per_item"] == round(share, 3)
    assert f"as the last {len(KEYWORDS)} keywords of this site did" in learned["assumption"]
