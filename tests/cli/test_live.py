"""Following a run and its log, also when the API goes away: nothing lost, nothing twice."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from typer.testing import Result

from services.cli import live
from services.cli.live import Sent, sent
from tests.cli.conftest import Api
from tests.cli.rows import AT, FLYING, STARTED, run_row

Septet = Callable[..., Result]

AWAY = "the API does not answer; trying again for up to 120 s\n"


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_EVERY", 0)
    monkeypatch.setattr(live, "TRY_EVERY", 0)


def event(position: int) -> dict[str, Any]:
    return {"position": position, "type": "T", "at": AT, "data": {}}


def progress(done: int = 0) -> str:
    return f'event: progress\ndata: {{"eta_seconds": null, "items_done": {done}}}\n\n'


class Stream:
    """A run's stream that breaks off after as many events as it is told, and then goes on.

    Each break is an end, as of an API that stops, or an error, as of one that is killed.
    """

    def __init__(self, api: Api, positions: Sequence[int], breaks: Sequence[int] = ()) -> None:
        self.api, self.positions, self.breaks = api, positions, list(breaks)
        api.answers["GET", "/api/v1/automation/stream"] = [self]
        api.answers["GET", "/api/v1/automation/events"] = [self.page]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        after = int(request.headers.get("Last-Event-ID", 0))
        coming = [position for position in self.positions if position > after]
        some = coming[: self.breaks.pop(0)] if self.breaks else coming
        told = "".join(f"id: {one}\ndata: {json.dumps(event(one))}\n\n" for one in some)
        half = f"id: {coming[-1]}\ndata: {{" if len(some) < len(coming) else ""
        return httpx.Response(200, text=f"retry: 0\n\n{told}{progress()}{half}")

    def page(self, request: httpx.Request) -> httpx.Response:
        after = int(request.url.params.get("after", 0))
        left = [event(position) for position in self.positions if position > after]
        return httpx.Response(200, json={"events": left})


def positions(result: Result) -> list[int]:
    return [json.loads(line)["position"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_stream_is_read_the_same_however_it_is_cut(size: int) -> None:
    text = (
        b": alive\n\nretry: 1000\n\n"
        b'id: 3\ndata: {"a": "x\xe2\x80\xa8y"}\n\n'
        b"event: progress\r\ndata:1\r\ndata: 2\r\n\r\n"
        b"id: 4\rdata: last\r\r"
        b"id: 5\ndata: cut off"
    )
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(sent(chunks)) == [
        Sent("message", "", None, 1000),
        Sent("message", '{"a": "x\u2028y"}', "3", None),
        Sent("progress", "1\n2", None, None),
        Sent("message", "last", "4", None),
    ]


def test_watching_as_json_prints_each_event_once_over_breaks(api: Api, septet: Septet) -> None:
    runs = [run_row(), run_row(), run_row(), run_row("completed")]
    api.on("GET", "/automation/run", *runs)
    Stream(api, (3, 5, 8, 9), breaks=(1, 2))
    done = septet("run", "watch", "run-1", "--output", "json")
    assert (done.exit_code, positions(done)) == (0, [3, 5, 8, 9])
    resumed = [
        one.headers.get("last-event-id") for one in api.asked if one.url.path.endswith("/stream")
    ]
    assert resumed == [None, "3", "8"]


def test_an_api_that_is_away_is_told_once_and_waited_for(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/run", run_row(), run_row("completed"))
    stream = Stream(api, (3, 5))
    gone = httpx.ConnectError("gone")
    api.on("GET", "/automation/stream", gone, httpx.RemoteProtocolError("cut"), httpx.Response(502))
    api.answers["GET", "/api/v1/automation/stream"].append(stream)
    done = septet("run", "watch", "run-1", "--output", "json")
    assert (done.exit_code, positions(done), done.stderr) == (0, [3, 5], AWAY)


def test_an_api_that_stays_away_is_given_up(
    api: Api, septet: Septet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BEAR_FOR", -1.0)
    api.on("GET", "/automation/run", run_row())
    api.on("GET", "/automation/stream", httpx.ConnectError("gone"))
    done = septet("run", "watch", "run-1")
    assert done.exit_code == 1
    assert "error: no server answers at " in done.stderr.splitlines()[-1]


def test_a_key_that_was_revoked_ends_the_watching(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/run", run_row())
    api.problem("GET", "/automation/stream", 401, "unauthenticated")
    assert septet("run", "watch", "run-1").exit_code == 4


def test_watching_without_a_terminal_prints_a_line_a_change(api: Api, septet: Septet) -> None:
    first, second = run_row(), run_row("completed")
    first["stages"][0] |= {"status": "running", "items_total": 2}
    second["stages"][0] |= {"status": "completed", "items_total": 2, "items_done": 2}
    api.on("GET", "/automation/run", first, first, second)
    Stream(api, (3, 5), breaks=(1,))
    done = septet("run", "watch", "run-1")
    assert done.exit_code == 0
    assert [line.split()[1:4] for line in done.stdout.splitlines()] == [
        ["1", "clusters", "running"],
        ["run", "running", "7"],
        ["1", "clusters", "completed"],
        ["run", "completed", "7"],
    ]


def test_a_started_run_is_watched(api: Api, septet: Septet) -> None:
    api.on("POST", "/automation/run_now", STARTED, status=202)
    api.on("GET", "/automation/run", run_row(), run_row("completed"))
    Stream(api, (3,))
    done = septet("run", "start", "--site", "site-1", "--watch", "--output", "json")
    started, only = map(json.loads, done.stdout.splitlines())
    assert (done.exit_code, started, only) == (0, STARTED, event(3))


def test_a_cancelled_run_is_watched_until_nothing_is_in_flight(api: Api, septet: Septet) -> None:
    flying = run_row("cancelled", **FLYING)
    api.on("GET", "/automation/run", flying, flying, run_row("cancelled"))
    Stream(api, (3, 5), breaks=(1,))
    done = septet("run", "watch", "run-1", "--output", "json")
    assert (done.exit_code, positions(done)) == (1, [3, 5])


def test_a_run_that_has_ended_is_shown_without_a_stream(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/run", run_row("completed"))
    Stream(api, (3, 5))
    assert positions(septet("run", "watch", "run-1", "--output", "json")) == [3, 5]
    assert not [one for one in api.asked if one.url.path.endswith("/stream")]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_watched_run_that_does_not_complete_is_code_1(
    api: Api, septet: Septet, status: str
) -> None:
    api.on("GET", "/automation/run", run_row(status, error_message="the provider is away"))
    Stream(api, ())
    done = septet("run", "watch", "run-1")
    assert done.exit_code == 1
    assert done.stderr == f"error: run-1 {status}: the provider is away\n"


@pytest.mark.parametrize(
    ("pause", "said"),
    [
        (
            {
                "pause_reason": "insufficient_credits",
                "missing_credits": 23,
                "missing_to_finish": 70,
            },
            "run-1 is paused: 23 credits missing for the next batch, about 70 to finish. Add them "
            "with septet account credit account-1 70, then go on with septet run resume run-1\n",
        ),
        (
            {"note": "Lunch"},
            "run-1 was paused by key-1: Lunch. Go on with septet run resume run-1\n",
        ),
    ],
)
def test_a_pause_is_explained_once_and_the_watching_goes_on(
    api: Api, septet: Septet, pause: dict[str, Any], said: str
) -> None:
    paused = run_row("paused", **pause)
    api.on("GET", "/automation/run", run_row(), paused, paused, run_row("completed"))
    api.on("GET", "/account", {"account_id": "account-1"})
    Stream(api, (3, 5, 8), breaks=(1, 1))
    done = septet("run", "watch", "run-1")
    assert (done.exit_code, done.stderr) == (0, said)


def test_a_wait_for_the_provider_is_told_once(api: Api, septet: Septet) -> None:
    waits = run_row(waiting_until=AT, waiting_for="Too many requests.")
    api.on("GET", "/automation/run", run_row(), waits, waits, run_row("completed"))
    Stream(api, (3, 5, 8), breaks=(1, 1))
    told = septet("run", "watch", "run-1").stdout
    assert told.count(" for the AI provider: Too many requests.\n") == 1


def log(*numbers: int) -> dict[str, Any]:
    """Return lines that are all of the same moment."""
    lines = [
        {"position": n, "at": AT, "level": "info", "stage": 4, "message": f"Batch {n} done"}
        for n in numbers
    ]
    return {"run_id": "run-1", "lines": lines}


def test_a_followed_log_goes_on_after_the_last_line_and_ends_with_the_run(
    api: Api, septet: Septet
) -> None:
    api.on("GET", "/automation/run", run_row(), run_row(), run_row("completed"))
    api.on("GET", "/automation/logs", log(3, 5), log(), log(8), log(9), log())
    done = septet("run", "logs", "run-1", "--follow", "--output", "json")
    assert (done.exit_code, positions(done)) == (0, [3, 5, 8, 9])
    asked = [dict(one.url.params) for one in api.asked if one.url.path.endswith("/logs")]
    assert [one.get("after") for one in asked] == [None, "5", "5", "8", "9"]
    assert [one["lines"] for one in asked] == ["100", *["1000"] * 4]


def test_lines_that_come_as_the_run_ends_are_not_lost(api: Api, septet: Septet) -> None:
    ends: list[bool] = []

    def run(_: httpx.Request) -> httpx.Response:
        ends.append(len(ends) == 1)  # it ends right before the second look at it
        return httpx.Response(200, json=run_row("completed" if any(ends) else "running"))

    def lines(request: httpx.Request) -> httpx.Response:
        after = int(request.url.params.get("after", 0))
        there = (3, 5, 9) if any(ends) else (3, 5)
        return httpx.Response(200, json=log(*(one for one in there if one > after)))

    api.answers["GET", "/api/v1/automation/run"] = [run]
    api.answers["GET", "/api/v1/automation/logs"] = [lines]
    done = septet("run", "logs", "run-1", "--follow", "--output", "json")
    assert (done.exit_code, positions(done)) == (0, [3, 5, 9])


def test_a_log_that_is_empty_yet_is_followed_from_its_beginning(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/run", run_row("completed"))
    api.on("GET", "/automation/logs", log(), log(3), log())
    done = septet("run", "logs", "run-1", "-f", "--level", "warning", "--stage", "4")
    assert done.stdout.endswith("INFO     4  Batch 3 done\n")
    assert len(done.stdout.splitlines()) == 1
    for one in api.asked:
        if one.url.path.endswith("/logs"):
            assert (one.url.params["level"], one.url.params["stage"]) == ("warning", "4")
            assert one.url.params.get("after") != ""


def test_a_followed_log_survives_an_api_that_is_away(api: Api, septet: Septet) -> None:
    gone = httpx.ConnectError("gone")
    api.on("GET", "/automation/run", gone, run_row(), run_row("completed"))
    api.on("GET", "/automation/logs", log(3), gone, httpx.Response(503), log(5), log())
    done = septet("run", "logs", "run-1", "--follow")
    assert done.exit_code == 0
    assert [line.split()[-2] for line in done.stdout.splitlines()] == ["3", "5"]
    assert done.stderr == AWAY * 2  # away, back for one answer, and away again


def test_a_log_that_is_not_followed_is_one_object(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/logs", log(3, 5))
    done = septet("run", "logs", "run-1", "--lines", "7", "--output", "json")
    assert json.loads(done.stdout) == log(3, 5)
    assert dict(api.asked[0].url.params) == {"run_id": "run-1", "lines": "7", "level": "info"}


def test_ctrl_c_ends_the_following_quietly(api: Api, septet: Septet) -> None:
    def interrupted(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    api.on("GET", "/automation/logs", log(3))
    api.answers["GET", "/api/v1/automation/run"] = [interrupted]
    done = septet("run", "logs", "run-1", "--follow")
    assert (done.exit_code, done.stderr.strip()) == (130, "")
