"""An account's own AI provider in a whole Septet: a wrong key, a good one, none, and no trace."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from events.topics import COMMANDS, RUN_EVENTS, STAGE_REPORTS, stage_topic
from services.orchestrator.store import open_store
from tests.providers.author import willing
from tests.providers.server import Asked, fails, serving
from tests.system.septet import ADMIN_TOKEN, Septet, running, wait_for

WRONG = "planted-wrong-key-0123456789-abcd"
GOOD = "planted-good-key-0123456789-wxyz"
TOPICS = (COMMANDS, STAGE_REPORTS, RUN_EVENTS, *(stage_topic(stage) for stage in range(1, 8)))


class Provider:
    """A willing server that knows one key, on a thread of its own."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []

    def keys(self) -> list[str]:
        return [one.headers.get("authorization", "").removeprefix("Bearer ") for one in self.asked]


@contextmanager
def a_provider() -> Iterator[Provider]:
    provider, up, loop = Provider(), threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()
    refuse, agree = fails(401, "Incorrect API key provided.", "invalid_api_key"), willing()

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        is_known = asked.headers.get("authorization") == f"Bearer {GOOD}"
        await (agree if is_known else refuse)(asked, writer)

    async def serve() -> None:
        async with serving(answer) as server:
            provider.url, provider.asked = server.url, server.asked
            up.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert up.wait(10)
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(timeout=10)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with a_provider() as started:
        yield started


def paused(septet: Septet, run_id: str, reason: str) -> Any:
    def look() -> Any:
        run = septet.run(run_id)
        assert run["status"] in {"running", "paused"}, run
        is_it = (run["status"], run["pause_reason"]) == ("paused", reason)
        return run if is_it and not run["batches_in_flight"] else None

    return wait_for(f"{run_id} pauses: {reason}", look)


def everything_written(septet: Septet, folder: Path) -> dict[str, bytes]:
    """Return the files, the topics and the store, by name."""
    store = open_store(septet.settings)
    try:
        stored = b"\n".join(one.body for one in store.written())
    finally:
        store.close()
    topics = {
        topic: b"\n".join(
            (one.value or b"") + repr((one.key, one.headers)).encode()
            for one in septet.records(topic)
        )
        for topic in TOPICS
    }
    files = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {"store": stored, **topics, **files}


def test_a_run_asks_its_accounts_own_provider_and_leaves_no_trace_of_the_key(
    tmp_path: Path, provider: Provider
) -> None:
    origin = provider.url.removesuffix("/v1")
    environment = {
        "SEPTET_AI_ALLOWED_HOSTS": origin,
        "SEPTET_SECRETS_KEY": base64.b64encode(bytes(range(32))).decode(),
        "SEPTET_LOG_LEVEL": "DEBUG",
    }
    with running(tmp_path / "data", **environment) as septet:
        body = {"base_url": provider.url, "api_key": WRONG, "text_model": "author-1"}
        unlisted = body | {"base_url": "http://127.0.0.1:1/v1"}
        assert septet.call("PUT", "/account/ai", json=unlisted).status_code == 400
        chosen = septet.call("PUT", "/account/ai", json=body)
        assert chosen.status_code == 200, chosen.text
        site = septet.new_site(("cold brew ratio",))
        run_id = septet.start_run(site)

        # With a wrong key the run pauses, says why, and has lost nothing.
        run = paused(septet, run_id, "provider_key_refused")
        assert run["note"]
        assert [stage["items_failed"] for stage in run["stages"]] == [0] * 7
        assert set(provider.keys()) == {WRONG}

        # A new key serves the run that is under way, whose models stay.
        put = septet.command(
            "account", "ai", "set", provider.url, "--text-model", "another-1", "--no-key"
        )
        assert put.returncode == 0, put.stderr
        again = body | {"api_key": GOOD, "text_model": "another-1"}
        assert septet.call("PUT", "/account/ai", json=again).status_code == 200
        before = len(provider.asked)
        septet.post("/automation/resume", run_id=run_id)
        septet.whole(run_id, items=1, within=120)
        assert set(provider.keys()[before:]) == {GOOD}
        assert {one.body["model"] for one in provider.asked} == {"author-1"}
        tasks = septet.get("/account/ai_tasks", run_id=run_id, limit="200")["items"]
        assert {one["model"] for one in tasks} == {"author-1", "local-1"}

        # Another account stays with the installation's provider.
        calls, mine = len(provider.asked), septet.key
        septet.new_account()
        other = septet.start_run(septet.new_site(("espresso grind",)))
        septet.whole(other, items=1, within=60)
        assert len(provider.asked) == calls
        septet.key = mine

        # Without a provider any more nothing is asked for elsewhere.
        second = septet.start_run(septet.new_site(("trail running shoes",), between_stage_delay=2))
        assert septet.call("DELETE", "/account/ai").status_code == 204
        run = paused(septet, second, "provider_misconfigured")
        assert "the account has none any more" in run["note"]
        septet.post("/automation/cancel", run_id=second)

        answers = json.dumps(
            [
                septet.get("/account/ai"),
                septet.get("/account/ledger"),
                septet.events(run_id),
                septet.get("/automation/logs", run_id=run_id),
            ]
        )
        written = everything_written(septet, tmp_path)
        septet.check()
    written["answers"] = answers.encode()
    assert any(name.endswith(".log") for name in written)
    assert b"AiProviderChosen" in b"".join(written[name] for name in ("store", RUN_EVENTS))
    for name, content in written.items():
        for secret in (WRONG, GOOD, ADMIN_TOKEN):
            for part in (secret, secret[:-4]):
                assert part.encode() not in content, name
