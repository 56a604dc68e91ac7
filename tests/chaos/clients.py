"""Clients that keep sending commands whatever happens, and remember every answer."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from events.ids import derive
from tests.system.septet import Septet

PATIENCE = 20.0  # seconds that a client waits for one answer
RETRIES = 6
KNOWN = {200, 201, 202, 400}  # statuses that tell an outcome, or that it is pending
WORDS = (
    "ristretto",
    "latte",
    "filter",
    "moka",
    "cortado",
    "aeropress",
    "decaf",
    "roast",
    "grinder",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of one try: nothing (0) when the connection failed; seconds are its time."""

    status: int
    body: Any
    seconds: float

    @property
    def is_pending(self) -> bool:
        return self.status == 202 and self.body.get("status") == "pending"


@dataclass(slots=True)
class Said:
    """One command under its Idempotency-Key, with the answer to every try."""

    key: str
    path: str
    params: dict[str, str]
    body: Any
    answers: list[Answer] = field(default_factory=list)

    @property
    def known(self) -> list[Answer]:
        """The answers that tell the outcome."""
        return [one for one in self.answers if one.status in KNOWN and not one.is_pending]

    @property
    def was_accepted(self) -> bool:
        """Whether somebody was told that this has, or will have, an outcome."""
        return any(one.status in KNOWN for one in self.answers)


class Client(threading.Thread):
    """Works on one site until `done` is set: imports, starts, pauses, resumes, cancels."""

    def __init__(self, septet: Septet, site: str, name: str, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.septet, self.site = septet, site
        self.said: list[Said] = []
        self.done = threading.Event()
        self.error: BaseException | None = None
        self._random = random.Random(f"{seed}/{name}")
        self._http = httpx.Client(base_url=septet.api.base_url, timeout=PATIENCE)
        self._run_id = ""

    def run(self) -> None:
        try:
            while not self.done.is_set():
                self._step()
                self.done.wait(self._random.uniform(0.1, 0.5))
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            self.error = error
        finally:
            self._http.close()

    def _step(self) -> None:
        wishes = ("import", "start", "pause", "resume", "cancel")
        match self._random.choices(wishes, (3, 5, 2, 4, 0.4))[0]:
            case "import":
                self._say("/planner/keywords", self._keywords(), site_id=self.site)
            case "start":
                body = self._say("/automation/run_now", site_id=self.site).body
                if isinstance(body, dict):
                    known = body.get("run_id") or body.get("active_run_id")
                    self._run_id = known or self._run_id
            case wish if self._run_id:
                self._say(f"/automation/{wish}", run_id=self._run_id)

    def _keywords(self) -> Any:
        number = len(self.said)
        words = self._random.sample(WORDS, 2)
        return {"keywords": [{"keyword": f"{self.name} {number} {word}"} for word in words]}

    def _say(self, path: str, body: Any = None, **params: str) -> Answer:
        """Send a command, again while nothing is known of it. Returns the last answer."""
        said = Said(f"{self.name}/{len(self.said)}", path, params, body)
        self.said.append(said)
        for _ in range(1 + self._random.randrange(RETRIES)):
            answer = ask(self._http, self.septet.key, said)
            said.answers.append(answer)
            if answer.status in KNOWN or self.done.wait(0.5):
                break
        return said.answers[-1]


def ask(http: httpx.Client, api_key: str, said: Said) -> Answer:
    """Send the command once more under its key."""
    began = time.monotonic()
    try:
        answer = http.post(
            f"/api/v1{said.path}",
            params=said.params,
            headers={"Authorization": f"Bearer {api_key}", "Idempotency-Key": said.key},
            **({} if said.body is None else {"json": said.body}),
        )
    except httpx.TransportError as error:
        return Answer(0, repr(error), time.monotonic() - began)
    return Answer(answer.status_code, _body(answer), time.monotonic() - began)


def _body(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text


def open_commands(septet: Septet, said: Sequence[Said], until: float) -> list[str]:
    """Return which commands have no outcome in time; one that the API never knew needs none."""
    account = septet.get("/account")["account_id"]
    waiting = [one for one in said if not one.known]
    while True:
        waiting = [one for one in waiting if _is_open(septet, derive("cmd", account, one.key))]
        if not waiting or time.monotonic() > until:
            return [f"{one.path} {one.key}: has no outcome" for one in waiting]
        time.sleep(0.2)


def _is_open(septet: Septet, command_id: str) -> bool:
    answer = septet.call("GET", f"/commands/{command_id}")
    return answer.status_code != 404 and answer.json()["status"] == "pending"


def wrong_answers(
    septet: Septet, everything: Sequence[Said], receipts: dict[str, str], *, away: bool
) -> Iterator[str]:
    """Yield what is wrong with what clients were told.

    `receipts` are the outcomes in the store (`accepted`, `refused`) by the command's id; `away`
    is whether connections to the API may fail.
    """
    account = septet.get("/account")["account_id"]
    with httpx.Client(base_url=septet.api.base_url, timeout=PATIENCE) as http:
        for said in everything:
            name = f"{said.path} {said.key}"
            outcome = receipts.get(derive("cmd", account, said.key))
            for answer in said.answers:
                if answer.status not in KNOWN | {503} and not (away and answer.status == 0):
                    yield f"{name}: answered {answer.status} {str(answer.body)[:200]}"
            if said.was_accepted:
                yield from _differing(septet, http, said, outcome)
            elif outcome and {one.status for one in said.answers} == {503}:
                yield f"{name}: was {outcome} and every answer said that nothing was sent"


def _differing(
    septet: Septet, http: httpx.Client, said: Said, outcome: str | None
) -> Iterator[str]:
    name = f"{said.path} {said.key}"
    final = ask(http, septet.key, said)
    if final.status not in KNOWN or final.is_pending:
        yield f"{name}: has no outcome at rest: {final.status} {str(final.body)[:200]}"
        return
    expected = "accepted" if final.status < 300 else "refused"
    if outcome != expected:
        yield f"{name}: was answered as {expected}, the store has {outcome}"
    for answer in said.known:
        if (answer.status, answer.body) != (final.status, final.body):
            yield f"{name}: answered {answer.body}, and under the same key {final.body}"
    for answer in said.answers:
        if answer.is_pending:
            told = septet.get(f"/commands/{answer.body['command_id']}")
            if told["status"] != expected:
                yield f"{name}: the pending command is {told}, under its key {final.body}"


def lost_keywords(septet: Septet, client: Client) -> Iterator[str]:
    """Yield which keywords of an accepted import are not on the site."""
    there, cursor = set[str](), ""
    while cursor is not None:
        params = {"cursor": cursor} if cursor else {}
        page = septet.get("/planner/keywords", site_id=client.site, limit=200, **params)
        there |= {one["keyword"] for one in page["items"]}
        cursor = page["next_cursor"]
    for said in client.said:
        if said.body and said.was_accepted:
            wanted = {one["keyword"] for one in said.body["keywords"]}
            if not wanted <= there:
                yield f"{said.key}: {sorted(wanted - there)} were accepted and are not there"


def statuses(everything: Sequence[Said]) -> dict[str, int]:
    """Return how often each status was answered; `none`: the connection failed."""
    found = Counter[str]()
    for answer in (one for said in everything for one in said.answers):
        found["202 pending" if answer.is_pending else str(answer.status or "none")] += 1
    return dict(sorted(found.items()))


def slowest(everything: Sequence[Said]) -> float:
    """Return the seconds of the slowest answer, 0 when there was none."""
    times = (one.seconds for said in everything for one in said.answers if one.status)
    return max(times, default=0.0)
