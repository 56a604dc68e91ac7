"""The first things that a newcomer starts: the demo, and a Septet with samples in it."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.engines.processes import free_port
from tests.system.septet import wait_for

ROOT = Path(__file__).parents[2]
STAGES = ["clusters", "ideas", "tasks", "content", "prompts", "images", "review"]


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "SEPTET_DATA_DIR": str(folder / "data"),
        "SEPTET_PORT": str(free_port()),
        "SEPTET_EMBEDDED_BROKER_PORT": str(free_port()),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli.main", *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_demo_runs_seven_stages_and_leaves_what_it_made(tmp_path: Path):
    demo = started(tmp_path, "demo")
    said, complaints = demo.communicate(timeout=120)
    assert demo.returncode == 0, complaints
    rows = [line.split() for line in said.splitlines()]
    assert [row[1] for row in rows if len(row) > 2 and row[1] in STAGES][-7:] == STAGES
    places = {row[0]: Path(row[1]) for row in rows if row[:1] in (["Articles"], ["Images"])}
    articles, images = (sorted(places[name].iterdir()) for name in ("Articles", "Images"))
    assert sum(path.suffix == ".md" for path in articles) > 20
    assert sum(path.suffix == ".webp" for path in images) > 20
    assert "128 keywords imported" in said


def test_an_empty_store_is_seeded_when_asked_for_and_only_an_empty_one(tmp_path: Path):
    up = started(tmp_path, "up", "--demo", "--output", "json")
    try:
        assert up.stdout is not None
        began = json.loads(up.stdout.readline())
        address = began["api_url"]
        assert all(
            one["ready_seconds"] == round(one["ready_seconds"], 2) for one in began["services"]
        )
        made = json.loads(up.stdout.readline())
        assert made["keywords"] == {"imported": 128, "duplicates": 0, "rejected": []}
        assert sites(address, made["api_key"]) == [made["site_id"]]
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(30) == 0
    again = started(tmp_path, "up", "--demo", "--output", "json")
    try:
        assert again.stdout is not None
        assert again.stderr is not None
        address = json.loads(again.stdout.readline())["api_url"]
        assert "the store is not empty" in again.stderr.readline()
        wait_for("it is there", lambda: sites(address, made["api_key"]) == [made["site_id"]])
    finally:
        again.send_signal(signal.SIGINT)
        assert again.wait(30) == 0


def sites(address: str, key: str) -> list[Any]:
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.get(f"{address}/api/v1/sites", headers=headers, timeout=10)
    return [one["site_id"] for one in answer.json()["items"]]
