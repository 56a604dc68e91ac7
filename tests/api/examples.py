"""Records the examples of the OpenAPI document: `python -m tests.api.examples` writes them anew.

Everything is asked of the real API over a scripted orchestrator, with made-up ids and a clock that
goes on by itself, so the same code records the same examples.
"""

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from events import run as run_events
from events import site as site_events
from tests.api.world import ADMIN_TOKEN, Client, Tenant, World

FILE = Path(__file__).parents[2] / "services" / "api" / "examples.json"
COMMAND = "python -m tests.api.examples"
SECRET = re.compile(r"\bsk_[A-Za-z0-9_-]+")
FAKE = "sk_example_this_is_no_real_key"
OWN_PROVIDER = {
    "base_url": "https://api.openai.com/v1",
    "api_key": "the-key-that-your-provider-gave-you",
    "text_model": "gpt-5-mini",
    "image_model": "gpt-image-1",
}
CSV = "keyword,volume,difficulty,intent\nindoor bonsai,5400,31,informational\nbonsai soil,,,\n"


class Recorder:
    """Asks, and keeps what was asked and answered, by operation and name."""

    def __init__(self, world: World, client: Client) -> None:
        self.world = world
        self.client = client
        self.kept: dict[str, dict[str, Any]] = {}

    def __call__(self, at: str, key: str | None, *, called: str = "example", **asked: Any) -> Any:
        """Return the answer of "METHOD /path", in which a path parameter stands in braces."""
        self.world.now += timedelta(seconds=asked.get("seconds", 30))
        method, _, path = at.partition(" ")
        parameters = asked.get("parameters", {})
        query = {name: value for name, value in parameters.items() if f"{{{name}}}" not in path}
        url = path.format(**parameters) + (f"?{urlencode(query)}" if query else "")
        request: dict[str, Any] = {"parameters": parameters}
        options: dict[str, Any] = {}
        if "json" in asked:
            request |= {"type": "application/json", "body": asked["json"]}
            options["json"] = asked["json"]
        if "csv" in asked:
            request |= {"type": "text/csv", "body": asked["csv"]}
            options |= {"content": asked["csv"], "headers": {"Content-Type": "text/csv"}}
        answer = self.client.ask(method, url, key, **options)
        self.client.start(self.world.key_uses.written()).result(timeout=60)
        assert answer.is_success, f"{at}: {answer.text}"
        self.keep(at, called, request, answer.status_code, kind_of(answer), shown(answer))
        return answer

    def keep(self, at: str, called: str, request: Any, status: int, kind: str, body: Any) -> None:
        """Keep an exchange; an answer without text has no body here."""
        answer: dict[str, Any] = {"status": status}
        if body is not None:
            answer |= {"type": kind, "body": body}
        self.kept.setdefault(at, {})[called] = {"request": request, "answer": answer}


def kind_of(answer: Any) -> str:
    kind: str = answer.headers.get("content-type", "")
    return kind.partition(";")[0]


def shown(answer: Any) -> Any:
    """Return what an example shows of the body: no real key, of metrics what is always the same."""
    kind = kind_of(answer)
    if not answer.content:
        return None
    if kind == "application/json":
        return json.loads(SECRET.sub(FAKE, answer.text))
    if kind == "text/plain":
        lines = answer.text.splitlines(keepends=True)
        return "".join([line for line in lines if "septet_http_requests_total" in line][:4])
    return answer.text if kind.startswith("text/") else None


async def hear(world: World, path: str, query: str, key: str, messages: int) -> str:
    """Return a stream's first messages, then go away as a client does."""
    enough = asyncio.Event()
    heard = ""

    async def receive() -> dict[str, Any]:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal heard
        if message["type"] == "http.response.start":
            assert message["status"] == 200, message
        heard += message.get("body", b"").decode()
        if heard.count("\n\n") >= messages:
            enough.set()

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"authorization", f"Bearer {key}".encode())],
    }
    async with asyncio.timeout(10):
        await world.app(scope, receive, send)  # type: ignore[arg-type]
    return "".join(re.findall(r".+?\n\n", heard, re.DOTALL)[:messages])


def record() -> dict[str, dict[str, Any]]:
    """Return one good exchange of every operation, and several where that says more."""
    with a_world() as (world, client):
        ask, _ = play(world, client)
        return dict(sorted(ask.kept.items()))


def play(world: World, client: Client) -> tuple[Recorder, Tenant]:
    """Ask for everything once; return what was asked, and who asked."""
    ask = Recorder(world, client)
    tenant = accounts(ask)
    sites_and_keywords(ask, tenant)
    runs(ask, tenant)
    reviews(ask, tenant)
    at_the_root(ask)
    return ask, tenant


@contextmanager
def a_world() -> Iterator[tuple[World, Client]]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        client = Client(world)
        try:
            yield world, client
        finally:
            client.close()
            world.engine.dispose()
            world.pending.close()
            world.key_uses.close()
            world.vault.close()


def accounts(ask: Recorder) -> Tenant:
    admin = partial(ask, key=ADMIN_TOKEN)
    admin("POST /api/v1/admin/accounts", json={"name": "Bonsai Trade", "credits": 500})
    tenant = Tenant(ask.world, ask.client, "bonsai")
    whose = {"account_id": tenant.account_id}
    admin("GET /api/v1/admin/accounts/{account_id}", parameters=whose)
    viewer = admin(
        "POST /api/v1/admin/accounts/{account_id}/keys", parameters=whose, json={"role": "viewer"}
    ).json()
    admin("GET /api/v1/admin/accounts/{account_id}/keys", parameters=whose | {"limit": 2})
    admin("DELETE /api/v1/admin/keys/{key_id}", parameters={"key_id": viewer["key_id"]})
    admin(
        "POST /api/v1/admin/accounts/{account_id}/credits",
        parameters=whose,
        json={"amount": 250, "reason": "invoice 2026-031"},
    )
    mine = partial(ask, key=tenant.key)
    mine("GET /api/v1/account")
    mine("GET /api/v1/account/prices")
    operator = mine("POST /api/v1/account/keys", json={"role": "operator"}).json()
    mine("GET /api/v1/account/keys", seconds=0)  # at another time it would note its own use
    mine("DELETE /api/v1/account/keys/{key_id}", parameters={"key_id": operator["key_id"]})
    ai = "/api/v1/account/ai"
    mine(f"GET {ai}", called="the installation's")
    mine(f"PUT {ai}", json=OWN_PROVIDER)
    mine(f"GET {ai}", called="the account's own")
    mine(f"DELETE {ai}")
    return tenant


def sites_and_keywords(ask: Recorder, tenant: Tenant) -> None:
    mine = partial(ask, key=tenant.key)
    site = {"site_id": tenant.site_id}
    new = {"name": "Bonsai Blog", "domain": "blog.bonsai.example", "timezone": "Europe/Berlin"}
    mine("POST /api/v1/sites", json=new)
    mine("GET /api/v1/sites", parameters={"limit": 1})
    mine("GET /api/v1/automation/config", parameters=site)
    mine(
        "PUT /api/v1/automation/update_config",
        parameters=site,
        json={"frequency": "weekly", "schedule_weekday": 0, "stage_1_batch_size": 50},
    )
    keywords = [
        {"keyword": "Bonsai for beginners", "volume": 12100, "difficulty": 42},
        {"keyword": "bonsai  for Beginners"},
        {"keyword": "juniper bonsai", "intent": "commercial"},
        {"keyword": ""},
    ]
    importing = "POST /api/v1/planner/keywords"
    mine(importing, called="as JSON", parameters=site, json={"keywords": keywords})
    mine(importing, called="as CSV", parameters=site, csv=CSV)
    mine("GET /api/v1/planner/keywords", parameters=site | {"limit": 2})
    mine("GET /api/v1/automation/estimate", parameters=site)


def runs(ask: Recorder, tenant: Tenant) -> None:
    mine = partial(ask, key=tenant.key)
    site = {"site_id": tenant.site_id}
    processing = "GET /api/v1/automation/current_processing"
    mine(processing, called="no run is active", parameters=site)
    started = mine("POST /api/v1/automation/run_now", called="started", parameters=site)
    command = ask.world.sent[-1].id
    tenant.run_id = started.json()["run_id"]
    run = {"run_id": tenant.run_id}
    mine("GET /api/v1/commands/{command_id}", parameters={"command_id": command})
    items = mine("GET /api/v1/planner/keywords", parameters=site | {"limit": 2}).json()["items"]
    first = items[0]["id"]
    tenant.happen(
        run_events.StageStarted(stage=1, items=(first, items[1]["id"])), tenant.asked(1, first)
    )
    mine(processing, called="a run is active", parameters=site)
    mine("GET /api/v1/automation/current_run", parameters=site)
    path = "/api/v1/automation/stream"
    heard = hear(ask.world, path, urlencode(run), tenant.key, messages=4)
    text = ask.client.start(heard).result(timeout=60)
    ask.keep(f"GET {path}", "example", {"parameters": run}, 200, "text/event-stream", text)
    for verb in ("pause", "resume", "cancel"):
        note = {"note": f"{verb.capitalize()} it until the prices are checked."}
        mine(f"POST /api/v1/automation/{verb}", parameters=run, json=note)
    retried = mine("POST /api/v1/automation/retry_failed", called="started", parameters=run)
    tenant.run_id = retried.json()["run_id"]
    tenant.write_article()
    run = {"run_id": str(tenant.run_id)}
    mine("GET /api/v1/automation/run", parameters=run)
    mine("GET /api/v1/automation/history", parameters=site | {"limit": 1})
    mine("GET /api/v1/automation/logs", parameters=run | {"lines": 3})
    mine("GET /api/v1/automation/events", parameters=run | {"after": 0, "limit": 4})
    mine("GET /api/v1/automation/pipeline_overview", parameters=site)
    mine("GET /api/v1/account/ledger", parameters={"limit": 2})
    mine("GET /api/v1/account/ai_tasks", parameters=run | {"limit": 2})
    refused = site_events.RunRefused(
        trigger_type="scheduled",
        slot=ask.world.now,
        code="insufficient_credits",
        detail="The run needs 300 credits and 100 are available.",
        numbers={"estimated_credits": 250, "required_credits": 300, "available_credits": 100},
    )
    tenant.happen(refused)
    mine("GET /api/v1/automation/why", parameters=site)
    mine("GET /api/v1/automation/audit_head", parameters=site)


def reviews(ask: Recorder, tenant: Tenant) -> None:
    mine = partial(ask, key=tenant.key)
    site = {"site_id": tenant.site_id}
    for path in ("planner/clusters", "planner/ideas", "writer/tasks"):
        mine(f"GET /api/v1/{path}", parameters=site)
    (article,) = mine("GET /api/v1/writer/content", parameters=site).json()["items"]
    (image,) = mine("GET /api/v1/writer/images", parameters=site).json()["items"]
    content = {"content_id": article["id"]}
    at = "/api/v1/writer/content/{content_id}"
    mine(f"GET {at}", parameters=content)
    mine("GET /api/v1/writer/images/{image_id}/file", parameters={"image_id": image["id"]})
    note = "Name the tools in the second part."
    mine(f"POST {at}/request_changes", parameters=content, json={"note": note})
    mine(f"POST {at}/reject", parameters=content, json={"reason": "Off topic."})
    mine(f"POST {at}/approve", parameters=content)


def at_the_root(ask: Recorder) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/asyncapi.json"):
        ask(f"GET {path}", None)


def text_of(exchanges: dict[str, dict[str, Any]]) -> str:
    """Return the file's text."""
    return json.dumps(exchanges, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text_of(record()), "utf-8")
