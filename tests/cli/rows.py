"""What the API answers about a run, as the API shapes it."""

from typing import Any

STAGES = ("clusters", "ideas", "tasks", "content", "prompts", "images", "review")
AT = "2026-11-21T10:00:00.000000Z"
ENDED = ("completed", "failed", "cancelled")


def run_row(status: str = "running", **changes: Any) -> dict[str, Any]:
    """Return a run; it is quiet once it has ended."""
    stage = {
        "status": "pending",
        "items_total": 0,
        "items_done": 0,
        "items_failed": 0,
        "credits_used": 0,
        "started_at": None,
        "completed_at": None,
        "partial": False,
        "result": None,
    }
    return {
        "run_id": "run-1",
        "site_id": "site-1",
        "trigger_type": "manual",
        "slot": None,
        "retry_of": None,
        "price_version": 1,
        "estimated_credits": 9,
        "started_by": "key-1",
        "status": status,
        "current_stage": 1,
        "started_at": AT,
        "paused_at": AT if status == "paused" else None,
        "resumed_at": None,
        "cancelled_at": AT if status == "cancelled" else None,
        "completed_at": AT if status == "completed" else None,
        "failed_at": AT if status == "failed" else None,
        "changed_by": "key-1",
        "note": None,
        "pause_reason": "requested" if status == "paused" else None,
        "missing_credits": 0,
        "missing_to_finish": 0,
        "quiet_at": AT if status in ENDED else None,
        "waiting_until": None,
        "waiting_for": None,
        "total_credits_used": 7,
        "held_credits": 0,
        "error_message": None,
        "dead_letters": 0,
        "last_dead_letter": None,
        "batches_in_flight": 0,
        "in_flight": [],
        "stages": [{"stage": n, "name": name, **stage} for n, name in enumerate(STAGES, 1)],
        **changes,
    }


BATCH = {
    "batch_id": "batch-1",
    "stage": 4,
    "attempt": 1,
    "items": 1,
    "requested_at": AT,
    "answer_by": "2026-11-21T10:05:00.000000Z",
}
FLYING = {"batches_in_flight": 1, "in_flight": [BATCH], "quiet_at": None}
ESTIMATE = {
    "site_id": "site-1",
    "retry_of": None,
    "estimated_credits": 474,
    "required_credits": 569,
    "balance": 1200,
    "available_credits": 1200,
    "sufficient": True,
    "price_version": 1,
    "stages": [
        {
            "stage": 1,
            "name": "clusters",
            "items": 240,
            "credits": 12,
            "learned_from": 0,
            "makes_per_item": 0.25,
            "assumption": "4 keywords are expected to make 1 cluster: our default.",
        }
    ],
}
STARTED = {"run_id": "run-1", "site_id": "site-1", "status": "running", "trigger_type": "manual"}
