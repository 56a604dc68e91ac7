"""Sixteen starts at once on one account: never more is held than there is, and all sums agree."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.system.septet import ADMIN_TOKEN, Septet, wait_for

STARTS, AFFORDED = 16, 5


def entries(septet: Septet, path: str, key: str, **params: str) -> Iterator[Any]:
    cursor: str | None = ""
    while cursor is not None:
        asked = params | ({"cursor": cursor} if cursor else {})
        page = septet.call("GET", path, key=key, params=asked).json()
        yield from page["items"]
        cursor = page["next_cursor"]


def test_sixteen_starts_on_one_account_hold_no_more_than_there_is(septet: Septet):
    """Sixteen sites that each need the same, and credits for five."""
    body = {"name": "Many sites", "credits": 10_000}
    opened = septet.call("POST", "/admin/accounts", key=ADMIN_TOKEN, json=body).json()
    rich, septet.key = septet.key, opened["api_key"]
    try:
        sites = [septet.new_site(("cold brew",)) for _ in range(STARTS)]
        estimate = septet.get("/automation/estimate", site_id=sites[0])
    finally:
        septet.key = rich
    poor = septet.call(
        "POST",
        "/admin/accounts",
        key=ADMIN_TOKEN,
        json={"name": "Few credits", "credits": AFFORDED * estimate["required_credits"]},
    ).json()
    key = poor["api_key"]
    septet.key = key
    try:
        sites = [septet.new_site(("cold brew",), between_stage_delay=1) for _ in range(STARTS)]
    finally:
        septet.key = rich

    def start(site: str) -> Any:
        return septet.call("POST", "/automation/run_now", key=key, params={"site_id": site})

    with ThreadPoolExecutor(STARTS) as many:
        answers = list(many.map(start, sites))
        account = septet.call("GET", "/account", key=key).json()
    outcomes = Counter(answer.json().get("code", "started") for answer in answers)
    assert outcomes == {"started": AFFORDED, "insufficient_credits": STARTS - AFFORDED}
    for answer in answers:
        if answer.status_code == 400:
            told = answer.json()
            assert told["available_credits"] < told["required_credits"]
    assert 0 <= account["available_credits"] == account["balance"] - account["held_credits"]
    runs = [answer.json()["run_id"] for answer in answers if answer.status_code == 202]

    def all_ended() -> bool:
        now = septet.call("GET", "/account", key=key).json()
        assert now["balance"] >= 0
        assert now["held_credits"] >= 0
        assert now["available_credits"] == now["balance"] - now["held_credits"] >= 0
        found = [septet.call("GET", "/automation/run", key=key, params={"run_id": r}) for r in runs]
        for run in (one.json() for one in found):
            stages = sum(stage["credits_used"] for stage in run["stages"])
            assert run["total_credits_used"] == stages
        return all(one.json()["status"] == "completed" for one in found)

    wait_for("all five runs are completed", all_ended, within=90)
    after = septet.call("GET", "/account", key=key).json()
    assert (after["held_credits"], after["available_credits"]) == (0, after["balance"])
    book = list(entries(septet, "/account/ledger", key))
    sums = Counter[str]()
    for entry in book:
        sums[entry["type"]] += entry["amount"]
    assert sums["grant"] - sums["settle"] == after["balance"]
    assert sums["hold"] == sums["release"] + sum(entry["from_hold"] for entry in book)
    for run_id in runs:
        calls = entries(septet, "/account/ai_tasks", key, run_id=run_id)
        spent = sum(call["credits"] for call in calls)
        settled = sum(
            entry["amount"]
            for entry in book
            if (entry["run_id"], entry["type"]) == (run_id, "settle")
        )
        run = septet.call("GET", "/automation/run", key=key, params={"run_id": run_id}).json()
        assert run["total_credits_used"] == spent == settled > 0
