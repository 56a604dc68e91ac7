"""The live stream, over a real server, as a transport in memory would wait for its end."""

import json
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from events import run as run_events


@pytest.fixture
def server(world):
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
    thread.join(timeout=10)


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
