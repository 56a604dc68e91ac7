"""What a run cost, as all that tell it tell it."""

from typing import Any

from tests.system.septet import Septet


def pages(septet: Septet, path: str, **params: str) -> list[Any]:
    """Return the items of all pages."""
    items: list[Any] = []
    cursor = None
    while True:
        page = septet.get(path, **params, **({"cursor": cursor} if cursor else {}))
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


def calls_of(septet: Septet, run_id: str) -> list[Any]:
    """Return the run's entries of the AI task log."""
    return pages(septet, "/account/ai_tasks", run_id=run_id)


def assert_sums_agree(septet: Septet, run_id: str) -> None:
    """The run, its stages, its AI task log and the ledger have the same credits, none held."""
    run = septet.run(run_id)
    used = run["total_credits_used"]
    entries = [one for one in pages(septet, "/account/ledger") if one["run_id"] == run_id]
    assert used == sum(stage["credits_used"] for stage in run["stages"])
    assert used == sum(call["credits"] for call in calls_of(septet, run_id))
    assert used == sum(one["amount"] for one in entries if one["type"] == "settle") > 0
    assert run["held_credits"] == 0
