"""A whole Septet of real processes for the system tests, driven as a user drives it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from events.kafka.connection import Broker
from events.kafka.producers import OrderedProducer
from events.kafka.reading import read_all
from events.topics import Record
from projections.database import open_engine
from projections.rebuild import differences
from services.invariants import violations
from services.orchestrator.store import open_store
from services.places import broker_of, read_model_url
from services.settings import Settings
from tests.engines import engines
from tests.engines.processes import free_port

ON_REAL_ENGINES = engines.CONTROL in os.environ  # else the embedded ones
ADMIN_TOKEN = "admin-token-of-the-tests"
FAST = {
    "within_stage_delay": 0,
    "between_stage_delay": 0,
    "stage_1_batch_size": 5,
    "stage_2_batch_size": 2,
    "stage_4_batch_size": 2,
    "stage_5_batch_size": 2,
    "stage_6_batch_size": 2,
}
KEYWORDS = (
    "cold brew coffee ratio",
    "cold brew at home",
    "how to make cold brew coffee",
    "cold brew concentrate recipe",
    "best espresso machine under 500",
    "espresso machine reviews",
    "best home espresso machine",
    "cheap espresso machine",
    "trail running shoes women",
    "best trail running shoes",
    "waterproof trail running shoes",
    "trail running shoes review",
)


def wait_for(what: str, look: Callable[[], Any], within: float = 60) -> Any:
    """Return what `look` finds as soon as it is true. Fails with `what` after so many seconds."""
    until = time.monotonic() + within
    while True:
        if found := look():
            return found
        assert time.monotonic() < until, f"{what}: not within {within:g} s"
        time.sleep(0.05)


class Septet:
    """`septet up` in a folder of its own, with an account of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port, self.broker_port = free_port(), free_port()
        self.kafka, database = self._engines(environment)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name[:7] != "SEPTET_"},
            "SEPTET_DATA_DIR": str(folder),
            "SEPTET_PORT": str(self.port),
            "SEPTET_EMBEDDED_BROKER_PORT": str(self.broker_port),
            "SEPTET_ADMIN_TOKEN": ADMIN_TOKEN,
            "SEPTET_BATCH_TIMEOUT_SECONDS": "30",
            "SEPTET_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "SEPTET_DATABASE_URL": database,
            **environment,
        }
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self.key = ""

    def _engines(self, environment: dict[str, str]) -> tuple[str, str]:
        """Return the address of a Kafka and the URL of a database; none: the embedded ones."""
        own_kafka = "SEPTET_KAFKA_BOOTSTRAP_SERVERS" in environment
        return engines.fresh() if ON_REAL_ENGINES and not own_kafka else ("", "")

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "up.out").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cli.main", "up"],
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        wait_for("septet up is ready", self.is_ready, within=90)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def kill_all(self) -> None:
        """SIGKILL the supervisor and every process below it at once."""
        family = [*psutil.Process(self.process.pid).children(recursive=True)]
        self.process.kill()
        for child in family:
            _kill(child)
        self.process.wait(10)

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "up.out").read_text()[-3000:])
        try:
            return self.api.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self, service: str) -> None:
        """SIGKILL one service: by its command, or by how the name of its program begins."""
        for child in self._processes(service):
            _kill(child)

    def _processes(self, service: str) -> list[psutil.Process]:
        found = [
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if service in (line := child.cmdline()) or Path(line[0]).name.startswith(service)
        ]
        assert found, f"no {service} runs"
        return found

    @contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """SIGSTOP a service meanwhile, and then let it go on."""
        found = self._processes(service)
        for child in found:
            child.suspend()
        try:
            yield
        finally:
            for child in found:
                child.resume()

    def lose_broker(self) -> None:
        """SIGKILL the broker; it comes back at the same address without any of its data."""
        if self.kafka:
            engines.kill_kafka(self.kafka)
            engines.start_kafka(self.kafka, empty=True)
        else:
            self.kill("tansu")

    # --- as a client

    def call(self, method: str, path: str, *, key: str | None = None, **request: Any) -> Any:
        headers = {"Authorization": f"Bearer {key or self.key}", **request.pop("headers", {})}
        return self.api.request(method, f"/api/v1{path}", headers=headers, **request)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.call("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, **params: Any) -> Any:
        request = {} if body is None else {"json": body}
        answer = self.call("POST", path, params=params, **request)
        assert answer.is_success, answer.text
        return answer.json()

    def new_account(self, amount: int = 100_000) -> str:
        body = {"name": "Tests", "credits": amount}
        answer = self.call("POST", "/admin/accounts", key=ADMIN_TOKEN, json=body)
        assert answer.is_success, answer.text
        self.key = answer.json()["api_key"]
        return str(answer.json()["account_id"])

    def new_site(self, keywords: tuple[str, ...] = KEYWORDS, **config: Any) -> str:
        body = {"name": "Corner Roastery", "domain": "example.org", "timezone": "UTC"}
        site_id = str(self.post("/sites", body)["site_id"])
        answer = self.call(
            "PUT", "/automation/update_config", params={"site_id": site_id}, json=FAST | config
        )
        assert answer.status_code == 200, answer.text
        if keywords:
            added = {"keywords": [{"keyword": keyword} for keyword in keywords]}
            counts = self.post("/planner/keywords", added, site_id=site_id)
            assert counts["imported"] == len(keywords)
        return site_id

    def start_run(self, site_id: str) -> str:
        """Start a run and return its id; it may take a while after an orchestrator was replaced."""
        answer = self.post("/automation/run_now", site_id=site_id)
        if answer["status"] != "pending":
            return str(answer["run_id"])
        path = f"/commands/{answer['command_id']}"

        def accepted() -> Any:
            outcome = self.get(path)
            return outcome if outcome["status"] == "accepted" else None

        return str(wait_for("the run is started", accepted)["run_id"])

    def run(self, run_id: str) -> Any:
        return self.get("/automation/run", run_id=run_id)

    def finished(self, run_id: str, within: float = 90) -> Any:
        def ended() -> Any:
            run = self.run(run_id)
            return run if run["status"] in ("completed", "failed", "cancelled") else None

        return wait_for(f"{run_id} ends", ended, within)

    def whole(self, run_id: str, items: int, within: float) -> None:
        """Fail unless the run is completed with so many items, and settled each of a stage once."""
        run = self.finished(run_id, within)
        assert (run["status"], run["error_message"]) == ("completed", None)
        assert run["stages"][0]["items_done"] == items
        settled = [
            (event["data"]["stage"], outcome["item"])
            for event in self.events(run_id)
            if event["type"] == "StageBatchCompleted"
            for outcome in event["data"]["outcomes"]
        ]
        assert len(settled) == len(set(settled))

    def events(self, run_id: str) -> list[Any]:
        found: list[Any] = []
        while page := self.get(
            "/automation/events", run_id=run_id, after=found[-1]["position"] if found else 0
        )["events"]:
            found += page
        return found

    # --- as an operator

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command line, signed in as the account."""
        environment = {
            **self.environment,
            "SEPTET_API_KEY": self.key,
            "SEPTET_API_URL": f"http://127.0.0.1:{self.port}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        return subprocess.run(
            [sys.executable, "-m", "services.cli.main", *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    # --- as an auditor

    @property
    def settings(self) -> Settings:
        names = {
            name[7:].lower(): value
            for name, value in self.environment.items()
            if name.startswith("SEPTET_")
        }
        return Settings(_env_file=None, **names)  # type: ignore[call-arg,arg-type]

    @property
    def broker(self) -> Broker:
        return broker_of(self.settings)

    def records(self, topic: str) -> list[Record]:
        async def read() -> list[Record]:
            return [record async for record in read_all(self.broker, topic)]

        return asyncio.run(read())

    def publish(self, *records: Record) -> None:
        async def send() -> None:
            producer = OrderedProducer(self.broker)
            await producer.start()
            await producer.send(records)
            await producer.stop()

        asyncio.run(send())

    def check(self) -> None:
        """The invariants hold over the log, and the rebuilt tables equal the live ones."""
        store = open_store(self.settings)
        engine = open_engine(read_model_url(self.settings))
        try:
            assert violations(store.stored()) == []
            wait_for(
                "the read model is level with the store",
                lambda: differences(engine, store.placed()) == [],
                within=20,
            )
        finally:
            engine.dispose()
            store.close()


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[Septet]:
    """Give a started Septet with an account, and end it, whatever happened."""
    septet = Septet(folder, **environment)
    try:
        septet.start()
        septet.new_account()
        yield septet
    finally:
        if septet.process.poll() is None:
            try:
                septet.stop()
            except subprocess.TimeoutExpired:
                septet.kill_all()
        if septet.kafka:
            engines.release(septet.kafka)
