"""Each service as a process of its own, two of what there may be many of: the same results."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from services.broker import command as broker_command
from tests.engines import engines
from tests.system.septet import KEYWORDS, Septet, wait_for

SERVICES = (
    ("orchestrator",),
    ("orchestrator",),
    ("projector",),
    ("projector",),
    ("scheduler",),
    ("scheduler",),
    ("api",),
    *(("stage-worker", "--stage", str(stage)) for stage in range(1, 8)),
    ("stage-worker", "--stage", "4", "--stage", "6"),
)


@contextmanager
def apart(folder: Path) -> Iterator[Septet]:
    """Start every service by its own command, as a deployment does; end them all."""
    septet = Septet(folder)
    folder.mkdir(parents=True)
    commands = [[sys.executable, "-m", "services.cli.main", *service] for service in SERVICES]
    if septet.settings.embedded_broker:
        commands.insert(0, broker_command(septet.broker_port))
    subprocess.run(
        [sys.executable, "-m", "services.cli.main", "migrate"], env=septet.environment, check=True
    )
    with (folder / "out").open("ab") as out:
        processes = [
            subprocess.Popen(one, env=septet.environment, stdout=out, stderr=out)
            for one in commands
        ]
    try:
        wait_for("every service answers", lambda: _is_ready(septet), within=150)
        yield septet
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            _end(process)
        if septet.kafka:
            engines.release(septet.kafka)


def _is_ready(septet: Septet) -> bool:
    try:
        return septet.api.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def test_services_that_run_apart_make_the_same_of_a_run(tmp_path: Path):
    with apart(tmp_path / "data") as septet:
        septet.new_account()
        runs = [septet.start_run(septet.new_site()) for _ in range(2)]
        for run_id in runs:
            run = septet.finished(run_id, within=150)
            assert (run["status"], run["stages"][0]["items_done"]) == ("completed", len(KEYWORDS))
        septet.check()
