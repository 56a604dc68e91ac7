"""The API as commands see it: one call, one answer, or one sentence that says what to do."""

import time
from collections.abc import Generator, Mapping
from typing import Any, Literal

import httpx

from services.cli.environment import api_url, known_admin_token, read_access, read_settings
from services.cli.output import Code, Failed, as_sentence
from services.clock import new_id

BASE = "/api/v1"
AUTOMATION = f"{BASE}/automation"
ADMIN = f"{BASE}/admin/"
PATIENCE = 60.0  # seconds that a command waits for an outcome, or for a full server
LOOK_EVERY = 0.2
Json = dict[str, Any]


class Away(Failed):
    """The API cannot be reached, or says that it cannot answer now; it may soon again."""


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

    def chunks(
        self, path: str, headers: Mapping[str, str], **query: Any
    ) -> Generator[bytes, None, None]:
        """Yield an answer that has no end piece by piece, as they come."""
        deadline = time.monotonic() + PATIENCE
        request: Json = {"params": _given(query), "headers": headers}
        while True:
            try:
                with self.http.stream("GET", path, **request) as answer:
                    if answer.is_success:
                        yield from answer.iter_bytes()
                        return
                    answer.read()
            except httpx.HTTPError as error:
                raise self._away(error) from error
            _wait_or_fail(answer, deadline)

    def put(self, path: str, body: Json, **query: Any) -> Json:
        """Return what the API says after the change, also when it could not wait for it."""
        headers = {"Idempotency-Key": new_id("cli")}
        return self._outcome("PUT", path, params=_given(query), json=body, headers=headers)

    def post(
        self,
        path: str,
        body: Json | None = None,
        *,
        content: bytes | None = None,
        content_type: str | None = None,
        **query: Any,
    ) -> Json:
        """Return the outcome of a command, also when the API could not wait for it."""
        headers = {"Idempotency-Key": new_id("cli")}
        if content_type is not None:
            headers["Content-Type"] = content_type
        request = {"params": _given(query), "json": body, "content": content, "headers": headers}
        return self._outcome("POST", path, **request)

    def delete(self, path: str) -> None:
        """Return when what is at the path is gone, also when the API could not wait for it."""
        answer = self._answer("DELETE", path)
        said = _object(answer)
        deadline = time.monotonic() + PATIENCE
        while answer.status_code == httpx.codes.ACCEPTED and said["status"] == "pending":
            if time.monotonic() > deadline:
                raise _still_pending(said)
            time.sleep(LOOK_EVERY)
            said = self.get(f"{BASE}/commands/{said['command_id']}")
        if said.get("status") == "refused":
            raise Failed(str(said.get("detail")), Code.REFUSED, said)

    def _outcome(self, method: str, path: str, **request: Any) -> Json:
        """Ask until the outcome is known.

        The Idempotency-Key makes asking again harmless, and gives the answer when there is one.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._answer(method, path, **request)
            said = _object(answer)
            if answer.status_code != httpx.codes.ACCEPTED or said.get("status") != "pending":
                return said
            if time.monotonic() > deadline:
                raise _still_pending(said)
            time.sleep(LOOK_EVERY)

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self.http.request(method, path, **request)
            except httpx.HTTPError as error:
                raise self._away(error) from error
            if answer.is_success:
                return answer
            _wait_or_fail(answer, deadline)

    def _away(self, error: httpx.HTTPError) -> Away:
        where = self.http.base_url
        if isinstance(error, httpx.ConnectError):
            start = "Start one with septet up, or set SEPTET_API_URL"
            return Away(f"no server answers at {where}. {start}")
        return Away(f"the server at {where} did not answer ({error!r}). Try again")


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
            return Failed(_unknown_credential(answer.url), Code.NOT_SIGNED_IN, problem)
        case 403:
            remedy = "Use a key whose role may do this"
            return Failed(f"{as_sentence(sentence)} {remedy}", Code.REFUSED, problem)
        case 400 if code == "invalid_request":
            return Failed(sentence, Code.USAGE, problem)
        case 400 if code:  # a rule's; those of a newer API too
            return Failed(_with_numbers(sentence, problem), Code.REFUSED, problem)
        case 503:
            return Away(f"{as_sentence(sentence)} Nothing was done; try again", problem=problem)
        case 502 | 504:  # a proxy says that nothing is behind it
            return Away(f"{as_sentence(sentence)} Try again", problem=problem)
        case _:
            return Failed(sentence, problem=problem)


def _still_pending(said: Json) -> Failed:
    return Failed(
        f"the outcome of command {said['command_id']} is not known yet; "
        "it is kept and will be followed. Look again in a minute",
        problem=said,
    )


def _how_to_sign_in(who: str) -> str:
    if who == "admin":
        return "Set SEPTET_ADMIN_TOKEN, or run this where septet up has written its data folder"
    return "Set SEPTET_API_KEY to the key that septet account create showed"


def _unknown_credential(asked: httpx.URL) -> str:
    """Return what to set; the API's own sentence is about headers, which no command shows."""
    where = f"{asked.scheme}://{asked.netloc.decode()}"
    if asked.path.startswith(ADMIN):
        remedy = "Set SEPTET_ADMIN_TOKEN to the one that it was started with"
        return f"the API at {where} does not know this admin token. {remedy}"
    return f"the API at {where} does not know this key. {_how_to_sign_in('account')}"


_GRANT = "Grant {} more with septet account credit"


def _with_numbers(sentence: str, problem: Mapping[str, Any]) -> str:
    match problem:
        case {"code": "run_already_active", "active_run_id": str(run)}:
            return f"{as_sentence(sentence)} Watch it with septet run watch {run}"
        case {"code": "insufficient_credits", "required_credits": need, "available_credits": have}:
            return f"{as_sentence(sentence)} {_GRANT.format(int(need) - int(have))}"
        case {"code": "insufficient_credits", "missing_to_finish": missing}:
            return f"{as_sentence(sentence)} {_GRANT.format(missing)}"
        case {"code": "nothing_to_do", "retry_of": str()}:
            return sentence
        case {"code": "nothing_to_do"}:
            return f"{as_sentence(sentence)} See septet keywords import"
        case _:
            return sentence


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


def _wait_or_fail(answer: httpx.Response, deadline: float) -> None:
    """Wait until the request may be sent again. Raises Failed when it may not, or not in time."""
    wait = _wait(answer)
    if wait is None or time.monotonic() + wait > deadline:
        raise failure(answer)
    time.sleep(wait)


def _wait(answer: httpx.Response) -> float | None:
    """Return the seconds after which the request may be sent again, none when it may not."""
    if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
        return None
    after = answer.headers.get("Retry-After", "1")
    return min(float(after), PATIENCE) if after.isdigit() else 1.0


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
