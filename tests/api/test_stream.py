"""The live stream, over a real server, as a transport in memory would wait for its end."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from events import run as run_events
from services.api.rates import Streams
from services.api.stream import LiveStream

TWO = pytest.mark.parametrize("limits", [{"streams_per_key": 2}])


@pytest.fixture
def server(world):
    with serving(world) as url:
        yield url


@contextmanager
def serving(world):
    config = uvicorn.Config(
        world.app, port=0, log_level="error", server_header=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/api/v1"
    server.should_exit = True
    thread.join(timeout=30)


@contextmanager
def listening(server, tenant, query, **headers):
    headers = {"Authorization": f"Bearer {tenant.key}", **headers}
    url = f"{server}/automation/stream?{query}"
    with httpx.stream("GET", url, headers=headers, timeout=5) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield messages(answer)


def messages(answer):
    """Yield (id, event name, data) of every message."""
    fields = {}
    for line in answer.iter_lines():
        if line == "" and "data" in fields:
            yield fields.get("id"), fields.get("event"), json.loads(fields["data"])
        if line == "":
            fields = {}
            continue
        name, _, value = line.partition(": ")
        fields[name] = value


def until(found, kind):
    """Return the ids and types of events up to the first of that type, and all progress."""
    events, progress = [], []
    for number, name, data in found:
        if name == "progress":
            assert number is None
            progress.append(data)
            continue
        assert int(number) == data["position"]
        events.append((data["position"], data["type"]))
        if data["type"] == kind:
            break
    return events, progress


def test_a_stream_tells_the_past_then_what_happens(server, one):
    run = one.start_run()
    with listening(server, one, f"run_id={run}") as found:
        past, _ = until(found, "MessageAccepted")
        assert past[0][1] == "RunStarted"
        one.happen(run_events.StageStarted(stage=1, items=("kw-1",)), one.asked(1, "kw-1"))
        now, _ = until(found, "StageBatchRequested")
        assert [kind for _, kind in now] == ["StageStarted", "StageBatchRequested"]
        progress = next(data for _, name, data in found if name == "progress")
        assert (progress["run_id"], progress["items_total"]) == (run, 1)


def test_last_event_id_and_after_resume_without_loss(server, one):
    run = one.start_run()
    one.write_article()
    path = f"/automation/events?run_id={run}"
    whole = [(event["position"], event["type"]) for event in one.get(path).json()["events"]]
    middle = whole[4][0]
    with listening(server, one, f"run_id={run}", **{"Last-Event-ID": str(middle)}) as found:
        assert until(found, whole[-1][1])[0][0] == whole[5]
    with listening(server, one, f"run_id={run}&after={middle}") as found:
        assert [next(iter(until(found, whole[5][1])[0]))] == [whole[5]]


def test_the_stream_of_a_site_has_all_its_runs(server, one):
    one.add_keywords("a")
    first = one.start_run()
    with listening(server, one, f"site_id={one.site_id}") as found:
        events, _ = until(found, "RunStarted")
        assert "KeywordsAdded" in [kind for _, kind in events]
        progress = next(data for _, name, data in found if name == "progress")
        assert progress["run_id"] == first


def test_a_foreign_run_or_site_is_a_404(server, one, other):
    run = other.start_run()
    for query in (f"run_id={run}", f"site_id={other.site_id}"):
        headers = {"Authorization": f"Bearer {one.key}"}
        answer = httpx.get(f"{server}/automation/stream?{query}", headers=headers)
        assert answer.status_code == 404


def test_a_revoked_key_stops_listening(server, one, client):
    run = one.start_run()
    started = time.monotonic()
    with listening(server, one, f"run_id={run}") as found:
        client.ask("DELETE", f"/admin/keys/{one.key_id}", "the-admin-token")
        list(found)
    assert time.monotonic() - started < 3


def test_no_server_header_is_sent(server):
    assert "server" not in httpx.get(server).headers


def ask(server, tenant, query):
    headers = {"Authorization": f"Bearer {tenant.key}"}
    return httpx.get(f"{server}/automation/stream?{query}", headers=headers, timeout=5)


def are_left(world, number):
    """Tell whether so many streams are left, within a few seconds."""
    deadline = time.monotonic() + 5
    while world.app.state.parts.streams.count() != number and time.monotonic() < deadline:
        time.sleep(0.01)
    return world.app.state.parts.streams.count() == number


@TWO
def test_a_key_has_so_many_streams_at_once_and_another_when_one_ends(server, world, one, other):
    query = f"run_id={one.start_run()}"
    theirs = f"run_id={other.start_run()}"
    with listening(server, one, query) as kept:
        until(kept, "RunStarted")
        with listening(server, one, query):
            refused = ask(server, one, query)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["content-type"] == "application/problem+json"
            with listening(server, other, theirs) as found:
                until(found, "RunStarted")
        assert are_left(world, 1)
        with listening(server, one, query) as found:
            until(found, "RunStarted")
    assert are_left(world, 0)


@TWO
def test_a_refused_or_missing_stream_counts_for_nothing(server, world, one, other):
    for _ in range(5):
        assert ask(server, one, f"run_id={other.start_run()}").status_code == 404
        assert ask(server, one, "after=x").status_code == 400
        other.post(f"/automation/cancel?run_id={other.run_id}")
    assert are_left(world, 0)


@TWO
def test_a_client_that_is_gone_before_the_first_byte_frees_its_stream(server, world, one):
    run = one.start_run()
    where = urlsplit(server)
    ended = 'septet_http_request_seconds_count{method="GET",route="/api/v1/automation/stream"} 20.0'
    for _ in range(20):
        with socket.create_connection((where.hostname, where.port)) as line:
            line.sendall(
                f"GET {where.path}/automation/stream?run_id={run} HTTP/1.1\r\nHost: a\r\n"
                f"Authorization: Bearer {one.key}\r\n\r\n".encode()
            )
    deadline = time.monotonic() + 10
    while ended not in world.app.state.metrics.text().decode() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended in world.app.state.metrics.text().decode()
    assert are_left(world, 0)
    with listening(server, one, f"run_id={run}") as found:
        until(found, "RunStarted")


@TWO
def test_a_revoked_keys_streams_end_and_are_free(server, world, one, client):
    with listening(server, one, f"run_id={one.start_run()}") as found:
        client.ask("DELETE", f"/admin/keys/{one.key_id}", "the-admin-token")
        list(found)
    assert are_left(world, 0)


@TWO
def test_a_server_that_stops_frees_every_stream(world, one):
    query = f"run_id={one.start_run()}"
    with serving(world) as url:
        found = listening(url, one, query)
        said = found.__enter__()
        until(said, "RunStarted")
        assert world.app.state.parts.streams.count() == 1
    assert world.app.state.parts.streams.count() == 0
    found.__exit__(None, None, None)


async def endless():
    while True:
        yield "retry: 1\n\n"
        await asyncio.sleep(0)


async def broken():
    yield "retry: 1\n\n"
    raise RuntimeError("a bug")


async def short():
    yield "retry: 1\n\n"


async def gone():
    return {"type": "http.disconnect"}


async def never(*_):
    await asyncio.Event().wait()


async def anything(_):
    pass


async def lost(_):
    raise OSError("the connection is lost")


@pytest.mark.parametrize("spec", ["2.3", "2.4"])
@pytest.mark.parametrize(
    ("told", "receive", "send"),
    [
        (endless, gone, never),
        (endless, gone, anything),
        (endless, never, lost),
        (endless, never, never),
        (broken, never, anything),
        (short, never, anything),
    ],
)
def test_a_stream_is_given_back_however_its_answer_ends(told, receive, send, spec):
    streams = Streams(1)
    response = LiveStream(told(), streams, "key-1")
    scope = {"type": "http", "asgi": {"spec_version": spec}}

    async def answer():
        async with asyncio.timeout(0.05):
            await response(scope, receive, send)

    with suppress(Exception):
        asyncio.run(answer())
    assert streams.count() == 0
    with streams.one("key-1"):
        assert streams.count() == 1


@TWO
@pytest.mark.parametrize(("receive", "send"), [(gone, never), (never, lost), (never, never)])
def test_an_answer_that_never_begins_frees_its_stream(world, one, receive, send):
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/api/v1/automation/stream",
        "query_string": f"run_id={one.start_run()}".encode(),
        "headers": [(b"authorization", f"Bearer {one.key}".encode())],
        "client": ("192.0.2.1", 1),
    }
    held = []

    async def answer():
        async def send_first(message):
            held.append((world.app.state.parts.streams.count(), message["type"]))
            limit.reschedule(asyncio.get_running_loop().time() + 0.05)
            await send(message)

        async with asyncio.timeout(5) as limit:
            await world.app(scope, receive, send_first)

    with suppress(Exception):
        asyncio.run(answer())
    assert held[0] == (1, "http.response.start")
    assert world.app.state.parts.streams.count() == 0


def test_no_limit_means_as_many_streams_as_one_likes():
    streams = Streams(0)
    with streams.one("key-1"), streams.one("key-1"), streams.one("key-2"):
        assert streams.count() == 3
    assert streams.count() == 0
