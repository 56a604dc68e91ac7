"""The example of a subscriber, as a real process: each approved article once, nothing missed."""

import ast
import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from events.topics import RUN_EVENTS, Record
from tests.system.septet import ADMIN_TOKEN, KEYWORDS, Septet, wait_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "downstream_consumer"
ALLOWED = {"aiokafka", "httpx"}
CSV = (EXAMPLE.parent / "keywords.csv").read_text("utf-8").splitlines()[1:61]
MANY = tuple(dict.fromkeys(line.partition(",")[0] for line in CSV))
LARGE_BATCHES = {"stage_1_batch_size": 60} | {f"stage_{n}_batch_size": 10 for n in (2, 4, 5, 6)}


class Troubles(ThreadingHTTPServer):
    """Stands before the API: says 503 or 429 to the first ask of every path, and can hold back."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.http = httpx.Client(base_url=upstream, timeout=30)
        self.asked, self.answered = Counter[str](), Counter[str]()
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Event()
        self.hold_after: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def articles(self) -> Counter[str]:
        """How often each article was given out."""
        return Counter({p: n for p, n in self.answered.items() if "/writer/content/" in p})


class Forward(BaseHTTPRequestHandler):
    server: Troubles

    def do_GET(self) -> None:
        desk, path = self.server, self.path
        desk.asked[path] += 1
        if "/writer/" in path and "?" not in path and desk.asked[path] == 1:
            busy = sum(map(ord, path)) % 2
            self._say(429 if busy else 503, b"{}", {"Retry-After": "0"})
            return
        if "/writer/content/" in path and len(desk.articles()) == desk.hold_after:
            desk.waiting.set()
            desk.open.wait(60)
        answer = desk.http.get(path, headers={"Authorization": self.headers["Authorization"]})
        kept = {"Content-Type": answer.headers["Content-Type"]}
        self._say(answer.status_code, answer.content, kept)
        if answer.is_success:
            desk.answered[path] += 1

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        pass


class Mirror:
    """The program, in a folder of its own."""

    def __init__(self, septet: Septet, folder: Path, url: str) -> None:
        body = {"role": "viewer"}
        account = septet.get("/account")["account_id"]
        made = septet.call("POST", f"/admin/accounts/{account}/keys", key=ADMIN_TOKEN, json=body)
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "KAFKA_BOOTSTRAP_SERVERS": septet.settings.brokers,
            "SEPTET_API_URL": url,
            "SEPTET_API_KEY": made.json()["api_key"],
            "MIRROR_FOLDER": str(folder),
            "MIRROR_COMPARE_SECONDS": "60",
        }
        self.log = folder.with_suffix(".log")

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, EXAMPLE / "mirror.py"],
                env=self.environment,
                stdout=out,
                stderr=out,
                cwd=self.folder.parent,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def status(self) -> dict[str, int]:
        done = subprocess.run(
            [sys.executable, EXAMPLE / "mirror.py", "--status"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        counts: dict[str, int] = json.loads(done.stdout)
        return counts

    def has(self, septet: Septet, article: dict[str, Any]) -> bool:
        """Tell whether the article is there: its text and every image, byte for byte."""
        path = self.folder / article["site_id"] / f"{article['slug']}.md"
        if not path.exists():
            return False
        head, _, body = path.read_text("utf-8").removeprefix("---\n").partition("\n---\n")
        facts = {
            name: json.loads(value)
            for name, _, value in (line.partition(": ") for line in head.splitlines())
        }
        assert (facts["id"], facts["title"]) == (article["id"], article["title"])
        assert body.strip() == article["body"].strip()
        rendered = {one["id"] for one in article["images"] if one["file"]}
        assert {Path(one["file"]).stem for one in facts["images"]} == rendered
        for image in facts["images"]:
            file = path.parent / image["file"]
            asked = f"/writer/images/{file.stem}/file"
            assert file.read_bytes() == septet.call("GET", asked).content
        return True


@contextmanager
def troubles(septet: Septet) -> Iterator[Troubles]:
    server = Troubles(f"http://127.0.0.1:{septet.port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.open.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def mirror(own_septet: Septet, tmp_path: Path) -> Iterator[tuple[Mirror, Troubles]]:
    with troubles(own_septet) as server:
        made = Mirror(own_septet, tmp_path / "articles", server.url)
        made.start()
        try:
            yield made, server
        finally:
            made.kill()


def in_review(septet: Septet, site: str) -> list[dict[str, Any]]:
    listed = septet.get("/writer/content", site_id=site, status="review", limit=100)["items"]
    return [septet.get(f"/writer/content/{one['id']}") for one in listed]


def approve(septet: Septet, articles: list[dict[str, Any]]) -> None:
    for article in articles:
        septet.post(f"/writer/content/{article['id']}/approve")


def test_each_approved_article_is_downloaded_once_whatever_dies(
    own_septet: Septet, mirror: tuple[Mirror, Troubles]
) -> None:
    septet, (reader, server) = own_septet, mirror
    site = septet.new_site(MANY, **LARGE_BATCHES)
    septet.finished(septet.start_run(site))
    articles = in_review(septet, site)
    assert len(articles) >= 7
    left_out, articles = articles[0], articles[1:]
    third = len(articles) // 3
    assert third >= 2

    # killed in the middle of an article
    server.open.clear()
    server.hold_after = 1
    approve(septet, articles[:third])
    assert server.waiting.wait(60)
    reader.kill()
    held = reader.status()
    assert held["wanted"] + held["done"] >= 1
    assert held["wanted"] > 0
    server.hold_after = None
    server.open.set()

    # approved while nobody listens
    approve(septet, articles[third : 2 * third])
    reader.start()
    all_there(septet, reader, articles[: 2 * third])

    # everything is published again, to a broker that has lost it all
    septet.lose_broker()
    wait_for("everything answers again", septet.is_ready)
    approve(septet, articles[2 * third :])
    all_there(septet, reader, articles)
    wait_for("it has seen all", lambda: reader.status()["seen"] == published(septet))

    counts = reader.status()
    assert counts["done"] == len(articles)
    assert (counts["wanted"], counts["gone"], counts["gaps"], counts["newer"]) == (0, 0, 0, 0)
    assert not (reader.folder / site / f"{left_out['slug']}.md").exists()
    times = server.articles()
    in_hand = {path for path, n in times.items() if n > 1}
    assert len(times) == len(articles)
    assert sum(times.values()) - len(articles) == len(in_hand) <= 1, "but for the one in hand"
    assert server.asked.total() > server.answered.total(), "busy answers were repeated"
    assert "no event has said so" not in reader.log.read_text()
    assert reader.stop() == 0
    assert not list(reader.folder.rglob("*.part"))


def all_there(septet: Septet, reader: Mirror, articles: list[dict[str, Any]]) -> None:
    for article in articles:
        now = article | {"status": "approved"}
        wait_for(f"{article['slug']} is there", lambda now=now: reader.has(septet, now), 90)


def published(septet: Septet) -> int:
    account = septet.get("/account")["account_id"]
    ids = {
        record.header("ce_id")
        for record in septet.records(RUN_EVENTS)
        if record.header("ce_accountid") == account
    }
    return len(ids)


def test_what_is_strange_on_the_topic_stops_no_subscriber(septet: Septet, tmp_path: Path) -> None:
    account = septet.new_account()
    site = septet.new_site(KEYWORDS[:2])
    septet.finished(septet.start_run(site))
    (first, *_) = in_review(septet, site)

    def strange(**headers: str | None) -> Record:
        named = {
            "ce_id": "x", "ce_type": "septet.New.v1", "ce_accountid": account, "ce_position": "1"
        } | headers  # fmt: skip
        pairs = tuple((name, value.encode()) for name, value in named.items() if value is not None)
        return Record(RUN_EVENTS, b"strange", b"\xff{", pairs)

    septet.publish(
        strange(),
        strange(ce_id=None),
        strange(ce_id="y", ce_position="many"),
        strange(ce_id="bad", ce_type="septet.ContentApproved.v1"),
        strange(ce_id="newer", ce_type="septet.ContentApproved.v2"),
        replace(strange(ce_id="z", ce_position="9", ce_chain="0" * 64), key=b"gap"),
    )
    with troubles(septet) as server:
        reader = Mirror(septet, tmp_path / "articles", server.url)
        reader.start()
        try:
            approve(septet, [first])
            all_there(septet, reader, [first])
            expected = {"done": 1, "newer": 1, "gaps": 1}
            wait_for("all is seen", lambda: expected.items() <= reader.status().items())
            assert "1 gaps: reading the topic again" in reader.log.read_text()
            assert reader.stop() == 0
        finally:
            reader.kill()


def test_an_article_whose_event_does_not_come_is_noticed_and_downloaded(
    septet: Septet, tmp_path: Path
) -> None:
    site = septet.new_site(KEYWORDS[:2])
    septet.finished(septet.start_run(site))
    (first, *_) = in_review(septet, site)
    reader = Mirror(septet, tmp_path / "articles", f"http://127.0.0.1:{septet.port}")
    reader.environment |= {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "MIRROR_COMPARE_SECONDS": "1",
    }
    reader.start()
    try:
        approve(septet, [first])
        all_there(septet, reader, [first])
        assert f"{first['id']} is approved, and no event has said so" in reader.log.read_text()
        assert reader.status()["seen"] == 0
        assert reader.stop() == 0
    finally:
        reader.kill()


def test_a_refused_key_ends_it_with_a_sentence(septet: Septet, tmp_path: Path) -> None:
    reader = Mirror(septet, tmp_path / "articles", f"http://127.0.0.1:{septet.port}")
    reader.environment["SEPTET_API_KEY"] = "sk_wrong"
    reader.start()
    assert reader.process.wait(30) == 1
    assert "the API key is refused" in reader.log.read_text()


def test_nothing_is_taken_from_septet_but_what_is_on_the_wire() -> None:
    modules = {path.stem for path in EXAMPLE.glob("*.py")}
    found = set()
    for path in EXAMPLE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Import(names=names):
                    found |= {name.name.partition(".")[0] for name in names}
                case ast.ImportFrom(module=module):
                    found.add((module or "").partition(".")[0])
    assert found - set(sys.stdlib_module_names) - modules == ALLOWED
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    pinned = project["dependencies"]
    assert {one.partition("==")[0] for one in pinned} == ALLOWED
    assert (EXAMPLE / "requirements.txt").read_text().split() == pinned
