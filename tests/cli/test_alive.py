"""The file by which a container's health check knows a service: young while it works, else not."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services import heartbeats
from services.cli import processes
from services.settings import Settings

KAFKA = "127.0.0.1:9"  # with Apache Kafka there are no beats in the data folder


def age(file: Path) -> float:
    """Return how many beats ago the file was touched; infinitely many when it is not there."""
    try:
        return (heartbeats.time.time() - file.stat().st_mtime) / heartbeats.BEAT_EVERY
    except FileNotFoundError:
        return float("inf")


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def served(work: Callable[..., Any], alive: Path | None, kafka: str = KAFKA) -> None:
    settings = Settings(
        data_dir=Path("data"), alive_file=alive, kafka_bootstrap_servers=kafka, _env_file=None
    )
    asyncio.run(processes._until_signal(settings, work, ["projector"]))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(heartbeats, "BEAT_EVERY", 0.05)
    monkeypatch.chdir(tmp_path)


def test_the_file_is_there_from_ready_on_and_renewed_until_the_end(tmp_path: Path) -> None:
    alive, seen = tmp_path / "alive", []

    async def work(_: Settings, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        await asyncio.sleep(0.2)
        seen.append(alive.exists())  # starting is not working
        ready()
        tasks = len(asyncio.all_tasks())
        ready()  # whoever lost the broker is ready again, and the scheduler at every look
        seen.append(len(asyncio.all_tasks()) == tasks)
        for _ in range(3):
            await asyncio.sleep(0.2)
            seen.append(age(alive) < 3)
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()

    served(work, alive)
    assert seen == [False, True, True, True, True]
    assert not alive.exists()


def test_a_service_whose_event_loop_hangs_lets_the_file_grow_old(tmp_path: Path) -> None:
    alive, seen = tmp_path / "alive", []

    async def work(_: Settings, __: asyncio.Event, ready: Callable[[], None]) -> None:
        ready()
        await asyncio.sleep(0.2)
        heartbeats.time.sleep(0.5)
        seen.append(age(alive))

    served(work, alive)
    assert seen[0] >= 8


def test_without_the_setting_there_is_no_file_and_beside_kafka_none_in_the_data_folder(
    tmp_path: Path,
) -> None:
    seen = []

    async def work(_: Settings, __: asyncio.Event, ready: Callable[[], None]) -> None:
        ready()
        await asyncio.sleep(0.1)
        seen.append(files_below(tmp_path))

    served(work, None)
    served(work, None, kafka="")
    assert seen == [[], ["projector"]]


def test_a_service_that_cannot_stop_ends_all_the_same() -> None:
    program = """
import asyncio, os, signal
from services.cli import processes
from services.settings import Settings

async def work(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)  # a client that tries for ever

processes.END_WITHIN = 0.5
asyncio.run(processes._until_signal(Settings(_env_file=None), work, ["projector"]))
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert done.returncode == os.EX_TEMPFAIL
