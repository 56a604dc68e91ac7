"""A run as it happens: its stream and its log, gone on with at the place where they broke off."""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from services.cli.client import AUTOMATION, BASE, Away, Client, Json
from services.cli.output import as_json, note
from services.cli.progress import EventLines, Progress, following
from services.cli.shown import pause_line

FINAL = frozenset({"completed", "failed", "cancelled"})
LOOK_EVERY = 0.5  # seconds between looks at a log
TRY_EVERY = 0.5  # seconds between looks for an API that is away
BEAR_FOR = 120.0  # seconds that it may be away
LINES_AT_ONCE = 1000

LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")  # the half of \r\n that came first is not an end yet


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of an event stream. Progress has no `id`, as there is no going on from it.

    `retry` is the milliseconds after which to come again, none when it does not say so.
    """

    event: str
    data: str
    id: str | None
    retry: int | None


def sent(chunks: Iterable[bytes]) -> Iterator[Sent]:
    """Yield the messages of a text/event-stream that have come whole; comments are left out.

    Lines end where the format says so, not where Python's `splitlines` does: an event may hold
    U+2028.
    """
    fields: dict[str, list[str]] = {}
    rest = b""
    for chunk in chunks:
        *lines, rest = LINE_END.split(rest + chunk)
        for line in lines:
            if not line and fields:
                yield _message(fields)
                fields = {}
            name, _, value = line.decode(errors="replace").partition(":")
            if name:
                fields.setdefault(name, []).append(value.removeprefix(" "))


def _message(fields: dict[str, list[str]]) -> Sent:
    last = {name: values[-1] for name, values in fields.items()}
    retry = last.get("retry", "")
    return Sent(
        event=last.get("event", "message"),
        data="\n".join(fields.get("data", ())),
        id=last.get("id"),
        retry=int(retry) if retry.isdecimal() else None,
    )


class Patience:
    """The API over its restarts: that it is away is told once, and it is waited for."""

    def __init__(self, client: Client, tell: Callable[[str], None]) -> None:
        self.client = client
        self.tell = tell
        self.away_since: float | None = None

    def get(self, path: str, **query: object) -> Json:
        """Return the JSON object at the path. Raises Failed, Away after having waited long."""
        while True:
            try:
                found = self.client.get(path, **query)
            except Away as error:
                self._bear(error)
            else:
                self.away_since = None
                return found

    def stream(self, run_id: str) -> Iterator[Sent]:
        """Yield what the run's stream sends, every event once, for as long as anybody asks."""
        headers: dict[str, str] = {}
        while True:
            pause = TRY_EVERY
            try:
                chunks = self.client.chunks(f"{AUTOMATION}/stream", headers, run_id=run_id)
                for one in sent(chunks):
                    self.away_since = None
                    if one.retry is not None:
                        pause = one.retry / 1000
                    if one.id is not None:
                        headers = {"Last-Event-ID": one.id}
                    if one.data:
                        yield one
            except Away as error:
                self._bear(error)
            else:
                time.sleep(pause)

    def _bear(self, error: Away) -> None:
        now = time.monotonic()
        if self.away_since is None:
            self.away_since = now
            self.tell(f"the API does not answer; trying again for up to {BEAR_FOR:.0f} s")
        elif now - self.away_since > BEAR_FOR:
            raise error
        time.sleep(TRY_EVERY)


def ended(run: Json) -> bool:
    """Tell whether nothing more will come: a batch may be in flight when a run is cancelled."""
    return run["status"] in FINAL and run["quiet_at"] is not None


def follow(client: Client, run_id: str) -> Json:
    """Show a run until it has ended and return it as it was then. With JSON: its events."""
    run = client.get(f"{AUTOMATION}/run", run_id=run_id)
    if as_json():
        return Watch(client, EventLines()).follow(run)
    with following() as progress:
        return Watch(client, progress).follow(run)


class Watch:
    """A run and whoever shows it, from one change to the next."""

    def __init__(self, client: Client, progress: Progress) -> None:
        self.api = Patience(client, progress.tell)
        self.progress = progress
        self.position: int | None = None
        self.eta: float | None = None
        self.explained: str | None = None

    def follow(self, run: Json) -> Json:
        """Show each event once and the run after each change, and return it as it ended."""
        self._show(run)
        if not ended(run):
            run = self._listen(run)
        for event in events(self.api, run["run_id"], self.position):
            self.progress.heard(event)
        return run

    def _listen(self, run: Json) -> Json:
        """Return the run when it has ended.

        What comes before the first progress is history. Later, an event of a run that does not run
        may be its last one although the progress stays the same.
        """
        is_present = False
        for one in self.api.stream(run["run_id"]):
            said = json.loads(one.data)
            if one.event == "progress":
                is_present, self.eta = True, said["eta_seconds"]
            else:
                self.position = said["position"]
                self.progress.heard(said)
            if one.event == "progress" or (is_present and run["status"] != "running"):
                run = self.api.get(f"{AUTOMATION}/run", run_id=run["run_id"])
                self._show(run)
                if ended(run):
                    break
        return run

    def _show(self, run: Json) -> None:
        self.progress.show(run, self.eta)
        if run["status"] == "paused" and run["paused_at"] != self.explained:
            self.explained = run["paused_at"]
            self.progress.tell(pause_line(run, self.api.get(f"{BASE}/account")["account_id"]))


def events(api: Patience, run_id: str, after: int | None) -> Iterator[Json]:
    """Yield the run's events from there on, as far as there are any."""
    while page := api.get(f"{AUTOMATION}/events", run_id=run_id, after=after)["events"]:
        yield from page
        after = page[-1]["position"]


def log_lines(client: Client, run_id: str, lines: int, **only: str | int | None) -> Iterator[Json]:
    """Yield the newest lines of a run's log, then those that follow, until the run has ended.

    It goes on from a line's position: of lines of the same moment none is lost or repeated.
    """
    api = Patience(client, note)
    page = client.get(f"{AUTOMATION}/logs", run_id=run_id, lines=lines, **only)["lines"]
    after, is_over = 0, False
    while True:
        yield from page
        if page:
            after = page[-1]["position"]
        elif is_over:
            return
        else:
            time.sleep(LOOK_EVERY)
        is_over = is_over or ended(api.get(f"{AUTOMATION}/run", run_id=run_id))
        asked = {"run_id": run_id, "after": after, "lines": LINES_AT_ONCE, **only}
        page = api.get(f"{AUTOMATION}/logs", **asked)["lines"]
