"""`septet demo`: one account, one site and the sample keywords through all seven stages."""

import asyncio
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from services.broker import PortTaken, free_port
from services.cli.client import AUTOMATION, BASE, Client, Json, connect
from services.cli.environment import Access, admin_token, api_url, start_settings
from services.cli.keywords import counts
from services.cli.live import FINAL
from services.cli.output import Failed, as_json, cell, emit, note, say, table
from services.cli.progress import Progress, clock, following
from services.cli.run import finish
from services.cli.seed import seed
from services.cli.shown import estimate_line, result_text
from services.cli.up import require_two_ports, supervisor_of
from services.settings import Settings
from services.supervisor import (
    AlreadyRunning,
    StartFailed,
    interruptible,
    locked,
    supervised,
)

LOOK_EVERY = 0.25
CONFIG = {
    "within_stage_delay": 0,
    "between_stage_delay": 0,
    "stage_1_batch_size": 50,
    "stage_2_batch_size": 10,
    "stage_3_batch_size": 50,
    "stage_4_batch_size": 5,
    "stage_5_batch_size": 10,
    "stage_6_batch_size": 5,
    "max_parallel_batches": 2,
}
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


class Interrupted(Exception):
    """Somebody wants the demo to end."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where the demo plays: the API, the folder, whether anybody wants it to end.

    `patience` is the seconds that a run may stand still.
    """

    url: str
    token: str
    folder: Path
    interrupted: threading.Event
    patience: float

    def connect(self, credential: str) -> Client:
        return connect(self.url, credential)


def run_demo() -> None:
    """Start everything, run the pipeline once, show the results, stop what was started.

    It is always the embedded broker and SQLite, so that it touches nobody's Kafka or PostgreSQL.
    """
    asked = start_settings()
    began = time.monotonic()
    try:
        with locked(asked.data_dir):
            _in_folder(asked.data_dir, asked, began)
    except AlreadyRunning:
        beside = asked.data_dir / "demo-beside"
        note(f"Septet runs in {asked.data_dir} already, so the demo uses {beside}")
        try:
            with locked(beside):
                _in_folder(beside, asked, began)
        except AlreadyRunning as error:
            raise Failed(str(error)) from error


def _in_folder(folder: Path, asked: Settings, began: float) -> None:
    try:
        settings = start_settings(
            data_dir=folder,
            port=free_port(asked.host, asked.port),
            embedded_broker_port=free_port("127.0.0.1", asked.embedded_broker_port),
            kafka_bootstrap_servers="",
            database_url="",
        )
        require_two_ports(settings)
        asyncio.run(_started(settings, began))
    except (StartFailed, PortTaken) as error:
        raise Failed(str(error)) from error


async def _started(settings: Settings, began: float) -> None:
    token = admin_token(settings)
    tells: list[Callable[[str], None]] = [note]

    def tell(line: str) -> None:
        tells[-1](line)

    supervisor = supervisor_of(settings, token, tell)
    scene = Scene(
        url=api_url(settings, Access(api_url="")),
        token=token,
        folder=settings.data_dir,
        interrupted=threading.Event(),
        patience=max(60, 2 * settings.ai_timeout_seconds),
    )

    async def work() -> None:
        _tell(f"Starting Septet in {settings.data_dir}, AI provider: {settings.ai_provider}")
        async with supervised(supervisor):
            took = time.monotonic() - began
            _tell(f"{len(supervisor.children)} services are up after {took:.1f} s")
            journey = asyncio.create_task(asyncio.to_thread(_journey, scene, tells, began))
            try:
                await asyncio.shield(journey)
            except asyncio.CancelledError:
                scene.interrupted.set()
                await asyncio.gather(journey, return_exceptions=True)
                raise

    if not await interruptible(work(), supervisor):
        raise KeyboardInterrupt


def _journey(scene: Scene, tells: list[Callable[[str], None]], began: float) -> None:
    """Do over HTTP what a user would do. Runs in a thread of its own."""
    made = seed(scene.connect(scene.token), scene.connect)
    client, site = scene.connect(made["api_key"]), made["site_id"]
    _tell(f"{counts(made['keywords'])} into Harbour Coffee ({site})")
    client.put(f"{AUTOMATION}/update_config", CONFIG, site_id=site)
    _tell(estimate_line(client.get(f"{AUTOMATION}/estimate", site_id=site)))
    run_id = client.post(f"{AUTOMATION}/run_now", site_id=site)["run_id"]
    _tell(f"{run_id} running")
    if as_json():
        run = _watched(scene, client, run_id, None)
    else:
        with following() as progress:
            tells.append(progress.tell)
            try:
                run = _watched(scene, client, run_id, progress)
            finally:
                tells.pop()
    finish(run)
    folder = scene.folder / "demo" / _short(run_id)
    titles = _write_articles(client, site, folder.absolute())
    _show(run, made, titles, folder.absolute(), time.monotonic() - began)


def _watched(scene: Scene, client: Client, run_id: str, progress: Progress | None) -> Json:
    seen, since = None, time.monotonic()
    while True:
        run = client.get(f"{AUTOMATION}/run", run_id=run_id)
        if progress is not None:
            query = {"site_id": run["site_id"], "run_id": run_id}
            now = client.get(f"{AUTOMATION}/current_processing", **query)
            progress.show(run, now["eta_seconds"])
        if run["status"] in FINAL:
            return run
        if run["status"] == "paused":
            why = run["error_message"] or "see its log"
            raise Failed(f"{run_id} was paused: {why}", problem=run)
        if run != seen:
            seen, since = run, time.monotonic()
        if time.monotonic() - since > scene.patience:
            raise Failed(
                f"{run_id} has not moved for {scene.patience:.0f} s. See {scene.folder / 'logs'}",
                problem=run | {"code": "no_progress"},
            )
        if scene.interrupted.wait(LOOK_EVERY):
            raise Interrupted


def _write_articles(client: Client, site: str, folder: Path) -> list[str]:
    """Write the site's finished articles as Markdown with their images beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    titles, cursor = list[str](), None
    while True:
        page = client.get(f"{BASE}/writer/content", site_id=site, limit=100, cursor=cursor)
        for item in page["items"]:
            content = client.get(f"{BASE}/writer/content/{item['id']}")
            _write_article(client, content, folder)
            titles.append(content["title"])
        cursor = page["next_cursor"]
        if cursor is None:
            return titles


def _write_article(client: Client, content: Json, folder: Path) -> None:
    slug = content["slug"]
    shown = []
    for number, image in enumerate(_rendered(content["images"]), start=1):
        answer = client.file(f"{BASE}/writer/images/{image['id']}/file")
        name = f"{slug}-{number}{_suffix(answer)}"
        (folder / name).write_bytes(answer.content)
        shown.append(f"![{image.get('alt') or content['title']}]({name})")
    head = "".join(
        f"{name}: {json.dumps(content[name], ensure_ascii=False)}\n"  # a JSON string is YAML
        for name in ("title", "meta_title", "meta_description")
    )
    body = str(content["body"]).strip()
    text = "\n\n".join([f"---\n{head}---", shown[0] if shown else "", body, *shown[1:]])
    (folder / f"{slug}.md").write_text(f"{text.strip()}\n", encoding="utf-8")


def _rendered(images: list[Json]) -> list[Json]:
    return [image for image in images if image.get("status", "rendered") == "rendered"]


def _suffix(answer: httpx.Response) -> str:
    kind = answer.headers.get("content-type", "").split(";")[0].strip()
    return SUFFIXES.get(kind, ".bin")


def _show(run: Json, made: Json, titles: list[str], folder: Path, took: float) -> None:
    rows = [
        (
            f"{stage['stage']} {stage['name']}",
            stage["items_total"],
            result_text(stage),
            stage["credits_used"],
            _seconds(stage),
        )
        for stage in run["stages"]
    ]
    articles, images = len(list(folder.glob("*.md"))), _images(folder)
    samples = "\n".join(f"  {cell(title)}" for title in titles[:5])
    text = (
        f"\n{table(('stage', 'items', 'made', 'credits', 'seconds'), rows)}\n\n"
        f"{run['total_credits_used']} credits used. Some of the {articles} articles:\n{samples}\n\n"
        f"Articles  {folder} ({articles} files)\n"
        f"Images    {folder} ({images} files)\n"
        f"Next      {_program()} up, then in another terminal "
        f"SEPTET_API_KEY={made['api_key']} {_program()} run show {run['run_id']}\n"
        f"Done in {clock(took)}"
    )
    answer: dict[str, Any] = {
        **made,
        "run": run,
        "titles": titles,
        "folder": str(folder),
        "articles": articles,
        "images": images,
        "seconds": round(took, 1),
    }
    emit(answer, text)


def _program() -> str:
    """Return how this program is called here: by name, or by its path when that is not found."""
    return "septet" if shutil.which("septet") else os.path.relpath(sys.argv[0])


def _images(folder: Path) -> int:
    return sum(path.suffix in SUFFIXES.values() for path in folder.iterdir())


def _seconds(stage: Json) -> float | None:
    from datetime import datetime

    if stage["started_at"] is None or stage["completed_at"] is None:
        return None
    ended = datetime.fromisoformat(stage["completed_at"])
    return (ended - datetime.fromisoformat(stage["started_at"])).total_seconds()


def _short(run_id: str) -> str:
    return run_id.rsplit("-", 1)[-1][:8]


def _tell(line: str) -> None:
    if not as_json():
        say(line)
