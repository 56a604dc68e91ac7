"""Every error that the API can answer, in one table, as problem+json (RFC 9457)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means: its status, its title, and headers that always go with it."""

    status: int
    title: str
    headers: Mapping[str, str]


CODES: Mapping[str, Kind] = {
    "invalid_request": Kind(400, "The request is malformed", {}),
    "run_already_active": Kind(400, "A run of this site is active", {}),
    "insufficient_credits": Kind(400, "There are not enough credits", {}),
    "invalid_transition": Kind(400, "The state does not allow this", {}),
    "nothing_to_do": Kind(400, "No stage has anything to do", {}),
    "unauthenticated": Kind(
        401, "A valid key is needed", {"WWW-Authenticate": 'Bearer realm="septet"'}
    ),
    "forbidden": Kind(403, "The key's role may not do this", {}),
    "not_found": Kind(404, "There is no such thing", {}),
    "method_not_allowed": Kind(405, "The method is not possible here", {}),
    "request_timeout": Kind(408, "The request came too slowly", {"Connection": "close"}),
    "idempotency_conflict": Kind(409, "The Idempotency-Key belongs to another request", {}),
    "too_large": Kind(413, "The request is too large", {}),
    "too_many_requests": Kind(429, "There are too many requests", {}),
    "headers_too_large": Kind(431, "The headers are too large", {}),
    "internal_error": Kind(500, "Something went wrong on our side", {}),
    "unavailable": Kind(503, "Septet cannot answer now", {"Retry-After": "2"}),
}
REFUSED = Kind(400, "The request was refused", {})  # a rule's code that came after this release


class Problem(Exception):
    """An answer that is an error. `numbers` become further members of its body."""

    def __init__(
        self,
        code: str,
        detail: str,
        numbers: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.numbers = dict(numbers or {})
        self.headers = dict(headers or {})


class InvalidRequest(Problem):
    """A parameter or body is missing or malformed; the sentence says which and why."""

    def __init__(self, detail: str) -> None:
        super().__init__("invalid_request", detail)


class Unauthenticated(Problem):
    """No key, or one that is not valid: always the same answer, whatever was wrong."""

    def __init__(self) -> None:
        super().__init__("unauthenticated", "Send a valid key as Authorization: Bearer <key>.")


class Forbidden(Problem):
    """The key is valid, its role is not enough."""

    def __init__(self) -> None:
        super().__init__("forbidden", "The role of this key does not allow this request.")


class TooManyRequests(Problem):
    """A limit is used up; `seconds`, at least 1, is when asking again may help."""

    def __init__(self, detail: str, seconds: int) -> None:
        again = f"{detail} Try again in {seconds} s."
        super().__init__("too_many_requests", again, headers={"Retry-After": str(seconds)})


class NotFound(Problem):
    """Not there for this account: the same answer for what is foreign and what never was."""

    def __init__(self) -> None:
        super().__init__("not_found", "Nothing of this account is found under this address.")


class Unavailable(Problem):
    """A store or the broker cannot be reached, and nothing was sent."""

    def __init__(self) -> None:
        super().__init__(
            "unavailable", "The store or the broker cannot be reached; nothing was done. Try again."
        )


class StillPending(Exception):
    """The command may have been sent and its outcome is not known yet."""

    def __init__(self, command_id: str) -> None:
        super().__init__(command_id)
        self.command_id = command_id


def refused(code: str, detail: str, numbers: Mapping[str, Any]) -> Problem:
    """Return the problem that a refused command is answered with."""
    match code:
        case "not_found":
            return NotFound()
        case "internal_error":
            return Problem(code, INTERNAL)
        case _:
            return Problem(code, detail, numbers)


INTERNAL = "The error is ours and has been recorded."


def answer(problem: Problem) -> Response:
    """Return the response; a number never replaces one of a problem's own members."""
    kind = CODES.get(problem.code, REFUSED)
    body = {
        **problem.numbers,
        "type": f"/docs#{problem.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    return JSONResponse(
        body,
        status_code=kind.status,
        headers={**kind.headers, **problem.headers},
        media_type="application/problem+json",
    )


def pending_answer(command_id: str) -> Response:
    """Return the 202 that says where the outcome will be told."""
    return JSONResponse(
        {"command_id": command_id, "status": "pending"},
        status_code=202,
        headers={"Location": f"/api/v1/commands/{command_id}", "Retry-After": "1"},
    )


def invalid(errors: Sequence[Any]) -> InvalidRequest:
    """Return the problem that names the first bad field of pydantic's list of errors."""
    first = errors[0]
    place = [str(part) for part in first["loc"] if part not in {"query", "path", "header", "body"}]
    field = ".".join(place) or "the body"
    return InvalidRequest(f"{field}: {first['msg'].removeprefix('Value error, ')}")
