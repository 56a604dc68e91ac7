"""The API as commands see it: one call, one answer, or one sentence that says what to do."""

import time
from collections.abc import Mapping
from typing import Any, Literal

import httpx

from services.cli.environment import api_url, known_admin_token, read_access, read_settings
from services.cli.output import Code, Failed
from services.clock import new_id

BASE = "/api/v1"
AUTOMATION = f"{BASE}/automation"
PATIENCE = 60.0  # seconds that a command waits for an outcome, or for a full server
LOOK_EVERY = 0.2
REFUSALS = frozenset(
    {"run_already_active", "insufficient_credits", "invalid_transition", "nothing_to_do"}
)
Json = dict[str, Any]


class Client:
    """The API with one credential. Raises Failed for whatever is not an answer."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def get(self, path: str, **query: Any) -> Json:
        """Return the JSON object at the path."""
        return _object(self._answer("GET", path, params=_given(query)))

    def file(self, path: str) -> httpx.Response:
        """Return the answer that holds a file."""
        return self._answer("GET", path)

    def put(self, path: str, body: Json, **query: Any) -> Json:
        """Return what the API says after the change."""
        return _object(self._answer("PUT", path, params=_given(query), json=body))

    def post(
        self,
        path: str,
        body: Json | None = None,
        *,
        content: bytes | None = None,
        content_type: str | None = None,
        **query: Any,
    ) -> Json:
        """Return the outcome of a command, also when the API could not wait for it.

        The Idempotency-Key makes asking again harmless, and gives the answer when there is one.
        """
        headers = {"Idempotency-Key": new_id("cli")}
        if content_type is not None:
            headers["Content-Type"] = content_type
        request = {"params": _given(query), "json": body, "content": content, "headers": headers}
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._answer("POST", path, **request)
            said = _object(answer)
            if answer.status_code != httpx.codes.ACCEPTED or said.get("status") != "pending":
                return said
            if time.monotonic() > deadline:
                raise Failed(
                    f"the outcome of command {said['command_id']} is not known yet; "
                    "it is kept and will be followed. Look again in a minute",
                    problem=said,
                )
            time.sleep(LOOK_EVERY)

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self.http.request(method, path, **request)
            except httpx.ConnectError as error:
                raise Failed(
                    f"no server answers at {self.http.base_url}. "
                    "Start one with septet up, or set SEPTET_API_URL"
                ) from error
            except httpx.HTTPError as error:
                raise Failed(
                    f"the server at {self.http.base_url} did not answer ({error!r}). Try again"
                ) from error
            if answer.is_success:
                return answer
            wait = _wait(answer)
            if wait is None or time.monotonic() + wait > deadline:
                raise failure(answer)
            time.sleep(wait)


def sign_in(who: Literal["account", "admin"]) -> Client:
    """Return the API with the account's key, or with the admin token. Raises Failed."""
    settings, access = read_settings(), read_access()
    key = access.api_key.get_secret_value()
    token = known_admin_token(settings)
    credential = key if who == "account" else token
    if not credential:
        raise Failed(f"not signed in. {_how_to_sign_in(who)}", Code.NOT_SIGNED_IN)
    return connect(api_url(settings, access), credential)


def has_key() -> bool:
    """Tell whether commands can sign in as an account."""
    return bool(read_access().api_key.get_secret_value())


def connect(url: str, credential: str) -> Client:
    """Return the API at that address with that credential."""
    return Client(
        httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {credential}"},
            timeout=httpx.Timeout(30, connect=5),
            transport=transport(),
        )
    )


def transport() -> httpx.BaseTransport:
    """Return how requests travel. A lost connection is tried again before anything is sent."""
    return httpx.HTTPTransport(retries=2)


def failure(answer: httpx.Response) -> Failed:
    """Return the problem that the API reported, with the exit code that it means."""
    problem = _problem(answer)
    code = str(problem.get("code", ""))
    sentence = str(problem.get("detail") or problem.get("title") or f"HTTP {answer.status_code}")
    match answer.status_code:
        case 401:
            remedy = _how_to_sign_in("account")
            return Failed(f"{_end(sentence)} {remedy}", Code.NOT_SIGNED_IN, problem)
        case 403:
            return Failed(
                f"{_end(sentence)} Use a key whose role may do this", Code.NOT_SIGNED_IN, problem
            )
        case 400 if code in REFUSALS:
            return Failed(_with_numbers(sentence, problem), Code.REFUSED, problem)
        case 503:
            return Failed(f"{_end(sentence)} Nothing was done; try again", problem=problem)
        case _:
            return Failed(sentence, problem=problem)


def _how_to_sign_in(who: str) -> str:
    if who == "admin":
        return "Set SEPTET_ADMIN_TOKEN, or run this where septet up has written its data folder"
    return "Set SEPTET_API_KEY to the key that septet account create showed"


def _with_numbers(sentence: str, problem: Mapping[str, Any]) -> str:
    match problem:
        case {"code": "run_already_active", "active_run_id": str(run)}:
            return f"{_end(sentence)} Watch it with septet run watch {run}"
        case {"code": "insufficient_credits", "required_credits": need, "available_credits": have}:
            return f"{_end(sentence)} {need} credits are required, {have} are available"
        case {"code": "nothing_to_do"}:
            return f"{_end(sentence)} See septet keywords import"
        case _:
            return sentence


def _end(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def _problem(answer: httpx.Response) -> Json:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return {"status": answer.status_code, "title": answer.reason_phrase}
    return problem


def _object(answer: httpx.Response) -> Json:
    try:
        said = answer.json() if answer.content else {}
    except ValueError as error:
        raise Failed(
            f"what answers at {answer.url} is not Septet. Set SEPTET_API_URL or SEPTET_PORT"
        ) from error
    return said if isinstance(said, dict) else {"items": said}


def _wait(answer: httpx.Response) -> float | None:
    """Return the seconds after which the request may be sent again, none when it may not."""
    if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
        return None
    after = answer.headers.get("Retry-After", "1")
    return min(float(after), PATIENCE) if after.isdigit() else 1.0


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
