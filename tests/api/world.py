"""The API over a real read model, with a scripted orchestrator in place of Kafka."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from events import account, commands, content, receipts, run, site
from events.chain import Head, digest_of, extend, first
from events.config import Config
from events.envelope import Envelope, encode
from events.ids import derive, keyword_id_of
from events.kafka.connection import AnswerLost, NothingSent
from events.message import Event, wire_name
from events.quality import Measure, Quality
from events.reading import read
from events.topics import Placed, Record
from projections.database import create_tables, open_engine
from projections.projector import project
from services.allowed_hosts import allowed_hosts
from services.api import sender
from services.api.app import create_app
from services.api.key_uses import open_key_uses
from services.api.pending import PendingCommands, open_pending, send_open
from services.vault import Vault

ADMIN_TOKEN = "the-admin-token"
VAULT_KEY = bytes(range(32))
ALLOWED_HOSTS = "api.openai.com, http://127.0.0.1:8080"
START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
QUALITY = Quality(
    passed=True,
    rewritten=True,
    measures=(
        Measure(
            name="length",
            value=640,
            passed=True,
            detail="It has 640 words; between 300 and 5,000 are expected.",
        ),
        Measure(
            name="keyword_coverage",
            value=1.0,
            passed=True,
            detail="1 of 1 target keywords are in the text; the first and 60% of all are expected.",
        ),
        Measure(
            name="grammar",
            value=None,
            passed=True,
            advisory=True,
            detail="It was not checked: the checker is for English, and this is de.",
        ),
    ),
)


class Kept:
    """Artifacts in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.files[digest] = data
        return digest

    async def get(self, digest: str) -> bytes:
        return self.files[digest]


class World:
    """What stands behind the API: `script` says what follows from a command, [] nothing yet."""

    def __init__(
        self, folder: Path, *, requests_per_minute: int = 0, streams_per_key: int = 0
    ) -> None:
        self.engine = open_engine(f"sqlite:///{folder / 'read-model.db'}")
        create_tables(self.engine)
        self.database = f"sqlite:///{folder / 'pending.db'}"
        self.pending = open_pending(self.database)
        self.key_uses = open_key_uses(self.database)
        self.vault = Vault(open_engine(f"sqlite:///{folder / 'vault.db'}"), [VAULT_KEY])
        self.vault.create_tables()
        self.artifacts = Kept()
        self.now = START
        self.position = 0
        self.heads: dict[str, Head] = {}
        self.ids = 0
        self.sent: list[Envelope] = []
        self.recorded: set[str] = set()
        self.script: Callable[[Envelope], list[Event]] = accept
        self.failure: Exception | None = None
        self.unready: dict[str, str] = {"broker": "", "read model": ""}
        self.lock = threading.Lock()
        self.app = self.new_app(self.pending, requests_per_minute, streams_per_key)

    def new_app(
        self, pending: PendingCommands, requests_per_minute: int = 0, streams_per_key: int = 0
    ) -> FastAPI:
        """Return an API before all this, as another process would have one."""
        return create_app(
            engine=self.engine,
            pending=pending,
            key_uses=self.key_uses,
            vault=self.vault,
            allowed_hosts=allowed_hosts(ALLOWED_HOSTS),
            publish=self.publish,
            artifacts=self.artifacts,
            admin_token=ADMIN_TOKEN,
            clock=lambda: self.now,
            new_id=self.new_id,
            ready=self.ready,
            asyncapi=lambda: {"asyncapi": "3.0.0"},
            requests_per_minute=requests_per_minute,
            streams_per_key=streams_per_key,
        )

    def new_id(self, kind: str) -> str:
        self.ids += 1
        return f"{kind}-{self.ids:032x}"

    async def ready(self) -> dict[str, str]:
        return self.unready

    async def publish(self, record: Record) -> None:
        if isinstance(self.failure, NothingSent):
            raise self.failure
        command = read(record)
        self.sent.append(command)
        if isinstance(self.failure, AnswerLost):
            raise self.failure
        await asyncio.to_thread(self.handle, command)

    def handle(self, command: Envelope) -> None:
        """Do what the orchestrator, relay and projector do: one outcome for a command."""
        with self.lock:
            if command.id in self.recorded:
                return
            events = self.script(command)
            if events:
                self.recorded.add(command.id)
            self.project(command, events)

    def send_again(self) -> list[str]:
        """Do what the API's background task does, some seconds later."""
        self.now += timedelta(seconds=6)
        again = send_open(self.pending, self.engine, self.now)
        for command in again:
            self.handle(command)
        return [command.id for command in again]

    def project(self, cause: Envelope, events: list[Event]) -> None:
        placed = []
        for number, event in enumerate(events):
            self.position += 1
            envelope = cause.reply(event, number, self.now)
            digest = digest_of(wire_name(event), encode(envelope))
            head = extend(self.heads.get(envelope.key) or first(envelope.key), digest, shown=True)
            self.heads[envelope.key] = head
            placed.append(Placed(self.position, envelope, head))
        project(self.engine, placed, lambda _, error: pytest.fail(f"set aside: {error!r}"))

    def happen(self, account_id: str, site_id: str, run_id: str | None, *events: Event) -> None:
        """Let events happen that no command of the API asked for."""
        self.ids += 1
        message_id = f"msg-{self.ids}"
        cause = Envelope(
            id=message_id,
            account_id=account_id,
            site_id=site_id,
            run_id=run_id,
            at=self.now,
            cause=message_id,
            message=receipts.MessageAccepted(kind="Test"),
        )
        with self.lock:
            self.project(cause, list(events))


def accept(command: Envelope) -> list[Event]:
    """Return what the rules would record of a command that nothing forbids."""
    message = command.message
    match message:
        case commands.AccountRequested():
            made: list[Event] = [
                account.AccountOpened(name=message.name),
                account.KeyIssued(key=message.key),
                account.CreditsGranted(amount=message.amount, reason="opening"),
            ]
        case commands.KeyRequested():
            made = [account.KeyIssued(key=message.key)]
        case commands.KeyRevocationRequested():
            made = [account.KeyRevoked(key_id=message.key_id)]
        case commands.AiProviderRequested():
            made = [account.AiProviderChosen(**dict(message))]
        case commands.AiProviderDropRequested():
            made = [account.AiProviderDropped()]
        case commands.CreditsRequested():
            made = [account.CreditsGranted(amount=message.amount, reason=message.reason)]
        case commands.SiteRequested():
            made = [site.SiteCreated(**message.model_dump())]
        case commands.ConfigUpdateRequested():
            config = Config(**message.changes.chosen())
            made = [site.ConfigUpdated(config=config, next_run_at=None)]
        case commands.KeywordsSubmitted():
            return add_keywords(command, message)
        case commands.RunRequested():
            numbers = {"estimated_credits": 10, "required_credits": 12}
            return [started(), receipts.MessageAccepted(kind=message.TYPE, numbers=numbers)]
        case commands.PauseRequested():
            made = [run.RunPaused(note=message.note)]
        case commands.ResumeRequested():
            made = [run.RunResumed(note=message.note)]
        case commands.CancelRequested():
            made = [run.RunCancelled(note=message.note)]
        case commands.ApprovalRequested():
            made = [site.ContentApproved(content_id=message.content_id)]
        case _:
            made = []
    return [*made, receipts.MessageAccepted(kind=message.TYPE)]


def add_keywords(command: Envelope, message: commands.KeywordsSubmitted) -> list[Event]:
    assert command.site_id is not None
    new: dict[str, content.Keyword] = {}
    for one in message.keywords:
        keyword_id = keyword_id_of(command.site_id, one.keyword)
        new.setdefault(keyword_id, content.Keyword(id=keyword_id, **one.model_dump()))
    doubled = len(message.keywords) - len(new)
    return [
        site.KeywordsAdded(keywords=tuple(new.values()), duplicates=doubled),
        receipts.MessageAccepted(
            kind=message.TYPE, numbers={"imported": len(new), "duplicates": doubled}
        ),
    ]


def started() -> run.RunStarted:
    return run.RunStarted(
        trigger_type="manual",
        config=Config(),
        prices=1,
        site_name="Shop",
        estimated_credits=10,
        required_credits=12,
        available_credits=100,
    )


def refuse(code: str, **numbers: int | str) -> Callable[[Envelope], list[Event]]:
    """Return the script that refuses everything."""

    def script(command: Envelope) -> list[Event]:
        kind = command.message.TYPE
        return [receipts.MessageRefused(kind=kind, code=code, detail="No.", numbers=numbers)]

    return script


def silent(_: Envelope) -> list[Event]:
    """Say nothing yet."""
    return []


@contextmanager
def impatience() -> Iterator[None]:
    """Let requests that are not answered at once be pending."""
    before, sender.ANSWER_WITHIN = sender.ANSWER_WITHIN, 0.1
    try:
        yield
    finally:
        sender.ANSWER_WITHIN = before


class Client:
    """A blocking client; requests of several threads run side by side in one event loop."""

    def __init__(self, world: World, app: FastAPI | None = None) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        transport = httpx.ASGITransport(app=app or world.app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://septet.test")

    def start(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def ask(self, method: str, path: str, key: str | None = None, **options: Any) -> Any:
        return self.begin(method, path, key, **options).result(timeout=60)

    def begin(
        self, method: str, path: str, key: str | None = None, **options: Any
    ) -> "Future[httpx.Response]":
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        at_root = path.startswith(
            ("/healthz", "/readyz", "/metrics", "/docs", "/openapi", "/async")
        )
        url = path if at_root or path.startswith("/api") else f"/api/v1{path}"
        return self.start(self.http.request(method, url, headers=headers, **options))

    async def finish(self) -> None:
        await self.http.aclose()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close(self) -> None:
        self.start(self.finish()).result(timeout=60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=30)
        self.loop.close()


class Tenant:
    """An account with a key, a site, and a way to ask in its name."""

    def __init__(self, world: World, client: Client, name: str) -> None:
        opened = client.ask(
            "POST", "/admin/accounts", ADMIN_TOKEN, json={"name": name, "credits": 1000}
        )
        assert opened.status_code == 201, opened.text
        self.world, self.client, self.name = world, client, name
        self.account_id: str = opened.json()["account_id"]
        self.key: str = opened.json()["api_key"]
        self.key_id: str = opened.json()["key_id"]
        body = {"name": f"{name} shop", "domain": f"{name}.example", "timezone": "Europe/Berlin"}
        self.site_id: str = self.post("/sites", json=body).json()["site_id"]
        self.run_id: str | None = None

    def get(self, path: str, **options: Any) -> Any:
        return self.client.ask("GET", path, self.key, **options)

    def post(self, path: str, **options: Any) -> Any:
        return self.client.ask("POST", path, self.key, **options)

    def put(self, path: str, **options: Any) -> Any:
        return self.client.ask("PUT", path, self.key, **options)

    def add_keywords(self, *keywords: str) -> None:
        rows = [{"keyword": keyword} for keyword in keywords]
        answer = self.post(f"/planner/keywords?site_id={self.site_id}", json={"keywords": rows})
        assert answer.status_code == 200, answer.text

    def start_run(self) -> str:
        answer = self.post(f"/automation/run_now?site_id={self.site_id}")
        assert answer.status_code == 202, answer.text
        self.run_id = answer.json()["run_id"]
        return self.run_id

    def happen(self, *events: Event) -> None:
        """Let events happen in the tenant's run."""
        self.world.happen(self.account_id, self.site_id, self.run_id, *events)

    def write_article(self) -> str:
        """Let the run make one article with one image, and return the article's id."""
        word = self.name.upper()
        mine = [derive(kind, self.account_id) for kind in ("kw", "cl", "idea", "task", "doc")]
        keyword, cluster, idea, task, draft = mine
        prompt, image = derive("prompt", self.account_id), derive("image", self.account_id)
        body = self.world.artifacts.put(f"# Body of {word}".encode())
        file = self.world.artifacts.put(f"image of {word}".encode())
        facts: dict[int, tuple[str, Any]] = {
            1: (keyword, content.Cluster(
                id=cluster, name=f"Cluster {word}", intent="commercial", first=keyword)),
            2: (cluster, content.Idea(
                id=idea, cluster_id=cluster, title=f"Idea {word}", intent="commercial",
                outline=("One",), target_keywords=("a",))),
            3: (idea, content.Task(id=task, idea_id=idea, title=f"Task {word}")),
            4: (task, content.Draft(
                id=draft, task_id=task, title=f"Title {word}", slug="title", body=body,
                meta_title="Meta", meta_description="Description", word_count=4,
                keywords=("a",), quality=QUALITY)),
            5: (draft, content.Prompt(
                id=prompt, content_id=draft, role="featured", section="", text="A picture",
                alt="Alt")),
            6: (prompt, content.Image(
                id=image, prompt_id=prompt, content_id=draft, file=file,
                media_type="image/png", width=1, height=1, size=9, alt="Alt")),
        }  # fmt: skip
        for stage, (item, fact) in facts.items():
            self.happen(
                run.StageStarted(stage=stage, items=(item,)),
                self.asked(stage, item),
                *self.reported(stage, item, fact),
            )
        self.happen(site.ItemsMoved(stage=7, done=(draft,), failed=(), made=()))
        return draft

    def asked(self, stage: int, item: str) -> run.StageBatchRequested:
        return run.StageBatchRequested(
            stage=stage,
            batch_id=derive("batch", self.account_id, stage),
            attempt=1,
            items=(item,),
            prices=1,
            site_name="Shop",
            last=True,
            so_far=content.Tally(),
            answer_by=self.world.now + timedelta(hours=1),
        )

    def reported(self, stage: int, item: str, fact: Any) -> tuple[Event, Event]:
        outcomes = (content.Outcome(item=item, made=(fact.id,)),)
        calls = (
            content.AiCall(
                function="write_article", model="local", status="succeeded", credits_used=2
            ),
        )
        tally = content.tally_of(stage, outcomes, (fact,), calls)
        batch = derive("batch", self.account_id, stage)
        report = run.StageBatchCompleted(
            stage=stage,
            batch_id=batch,
            attempt=1,
            outcomes=outcomes,
            made=(fact,),
            calls=calls,
            tally=tally,
        )
        made = (site.Made(id=fact.id, of=item),)
        moved = site.ItemsMoved(stage=stage, done=(item,), failed=(), made=made)
        return report, moved
