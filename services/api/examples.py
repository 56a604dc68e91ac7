"""The examples of the OpenAPI document: recorded exchanges, and each problem as it is answered."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.responses import Response

from services.api.problems import (
    CODES,
    INTERNAL,
    Forbidden,
    InvalidRequest,
    NotFound,
    Problem,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    answer,
    pending_answer,
    refused,
)

RECORDED = "examples.json"  # made by `python -m tests.api.examples`

COMMAND = "cmd-00000000000000000000000000000007"

# By name; the name is the code where a code has one form only. A rule's sentence and numbers are
# those of services/orchestrator/rules, which a test compares.
PROBLEMS: Mapping[str, Problem] = {
    "invalid_request": InvalidRequest("Content-Encoding: send the body as it is, not compressed."),
    "invalid_limit": InvalidRequest("limit: Input should be less than or equal to 1000"),
    "missing_site_id": InvalidRequest("site_id: Field required"),
    "missing_run_id": InvalidRequest("run_id: Field required"),
    "invalid_body": InvalidRequest("The body is not JSON."),
    "run_already_active": refused(
        "run_already_active",
        "A run of this site is active; wait for its end, or cancel it.",
        {"active_run_id": "run-0123456789abcdef01234567"},
    ),
    "insufficient_credits": refused(
        "insufficient_credits",
        "The run needs 300 credits and 100 are available.",
        {"estimated_credits": 250, "required_credits": 300, "available_credits": 100},
    ),
    "insufficient_credits_to_resume": refused(
        "insufficient_credits",
        "6 credits are missing for the next batch, about 17 to finish the run.",
        {"missing_credits": 6, "missing_to_finish": 17, "available_credits": 0},
    ),
    "invalid_transition": refused(
        "invalid_transition",
        "This is not possible: the run is completed.",
        {"run_status": "completed"},
    ),
    "invalid_transition_of_an_article": refused(
        "invalid_transition",
        "This is not possible: the article is approved, not in review.",
        {"content_status": "approved"},
    ),
    "nothing_to_do": refused(
        "nothing_to_do", "No stage has anything to do; add keywords first.", {}
    ),
    "nothing_to_do_again": refused(
        "nothing_to_do",
        "No item failed in that run, or all that did have been tried again.",
        {"retry_of": "run-0123456789abcdef01234567"},
    ),
    "unauthenticated": Unauthenticated(),
    "forbidden": Forbidden(),
    "not_found": NotFound(),
    "method_not_allowed": Problem(
        "method_not_allowed",
        "This address does not take this method.",
        headers={"Allow": "GET, POST"},
    ),
    "request_timeout": Problem("request_timeout", "The body must come within 10 seconds."),
    "idempotency_conflict": Problem(
        "idempotency_conflict",
        "This Idempotency-Key was used for another request in the last 24 hours.",
    ),
    "too_large": Problem("too_large", "At most 1,000,000 bytes are read here."),
    "too_many_requests": TooManyRequests("At most 6,000 requests a minute are answered.", 12),
    "headers_too_large": Problem(
        "headers_too_large", "At most 100 headers of 8192 bytes together are read."
    ),
    "internal_error": Problem("internal_error", INTERNAL),
    "unavailable": Unavailable(),
    "not_ready": Problem(
        "unavailable",
        "broker: cannot be reached",
        {"checks": {"broker": "cannot be reached", "read model": "ok"}},
    ),
}


def problem(name: str) -> Problem:
    """Return the example of that name; of a code without one, what its table says."""
    return PROBLEMS.get(name) or Problem(name, f"{CODES[name].title}.")


def answered(name: str) -> Response:
    """Return the example as the API answers it."""
    return answer(problem(name))


def pending() -> Response:
    """Return the answer of a command whose outcome is not known yet."""
    return pending_answer(COMMAND)


def body_of(response: Response) -> Any:
    """Return the JSON of an answer."""
    return json.loads(bytes(response.body))


@cache
def recorded() -> Mapping[str, Mapping[str, Any]]:
    """Return, for "METHOD /path", its exchanges by name: a good request and its answer."""
    text = files("services.api").joinpath(RECORDED).read_text("utf-8")
    exchanges: dict[str, dict[str, Any]] = json.loads(text)
    return exchanges
