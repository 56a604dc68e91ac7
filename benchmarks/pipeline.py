"""How fast is the whole: many sites run the seven stages at once, on real processes.

    python -m benchmarks.pipeline --sites 50 --keywords 20 [--provider instant local]

Prints one JSON object: the machine, the settings, and for each provider what was reached. Times
are seconds, CPU is the sum over all processes, memory the peak sum of their unique pages (USS).
The `instant` provider answers at once, so what is left is the engine: commands, decisions, two
databases and the broker. Engines come from the environment as for the system tests.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.words import keywords_for
from services.orchestrator.store import open_store
from tests.system.septet import FAST, Septet, running

IDLE_SECONDS = 10
PROBES = 40


@dataclass
class Usage:
    """What the processes below a Septet use; `peak` is bytes, `cpu` seconds by service."""

    process: psutil.Process
    peak: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu(self) -> dict[str, float]:
        by_service: dict[str, float] = {}
        for one in self.family():
            times = one.cpu_times()
            name = _name(one)
            by_service[name] = by_service.get(name, 0.0) + times.user + times.system
        return by_service

    def watch(self) -> None:
        while not self._stop.wait(0.5):
            self.peak = max(self.peak, sum(_unique_bytes(one) for one in self.family()))

    def stop(self) -> None:
        self._stop.set()


def _unique_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def _name(process: psutil.Process) -> str:
    line = process.cmdline()
    words = [word for word in line if not word.startswith("-")]
    if line and Path(line[0]).name.startswith("tansu"):
        return "broker"
    return words[-1] if len(words) > 1 else Path(words[0]).name


@contextmanager
def watched(septet: Septet) -> Iterator[Usage]:
    usage = Usage(psutil.Process(septet.process.pid))
    thread = threading.Thread(target=usage.watch, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        usage.stop()
        thread.join()


async def start_all(septet: Septet, sites: list[str]) -> dict[str, tuple[str, float, float]]:
    """Start a run on every site at once; return for each its run, when it was asked, and how long
    the answer took."""
    headers = {"Authorization": f"Bearer {septet.key}"}
    url = f"http://127.0.0.1:{septet.port}/api/v1/automation/run_now"
    async with httpx.AsyncClient(headers=headers, timeout=60) as client:

        async def start(site: str) -> tuple[str, float, float]:
            asked = time.time()
            answer = await client.post(url, params={"site_id": site})
            answer.raise_for_status()
            return answer.json()["run_id"], asked, time.time() - asked

        started = await asyncio.gather(*(start(site) for site in sites))
    return dict(zip(sites, started, strict=True))


def answers_one_by_one(septet: Septet) -> list[float]:
    """Return how long run_now takes when nothing else is going on, after a moment of quiet each."""
    took = []
    for _ in range(PROBES):
        site = septet.new_site(("one keyword",))
        time.sleep(0.1)
        before = time.perf_counter()
        run_id = septet.start_run(site)
        took.append(time.perf_counter() - before)
        septet.finished(run_id)
    return took


def measure(provider: str, sites: int, keywords: int) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as folder,
        running(
            Path(folder) / "data",
            SEPTET_AI_PROVIDER=provider,
            SEPTET_REQUESTS_PER_MINUTE="0",
        ) as septet,
        watched(septet) as usage,
    ):
        time.sleep(2)
        idle = usage.cpu()
        time.sleep(IDLE_SECONDS)
        idle_share = _share(idle, usage.cpu(), IDLE_SECONDS)
        alone = answers_one_by_one(septet)
        septet.new_account(10_000_000)
        ids = [septet.new_site(keywords_for(n, keywords), **FAST_AND_SMALL) for n in range(sites)]
        before, began = usage.cpu(), time.time()
        runs = asyncio.run(start_all(septet, ids))
        for run_id, _, _ in runs.values():
            septet.finished(run_id, within=900)
        ended, after = time.time(), usage.cpu()
        log = log_of(septet, {run_id for run_id, _, _ in runs.values()})
        first = [log.first_batch[run] - asked for run, asked, _ in runs.values()]
        return {
            "provider": provider,
            "runs": len(runs),
            "batches": log.batches,
            "events": log.events,
            "seconds": round(log.last - began, 2),
            "seconds_until_shown": round(ended - began, 2),
            "runs_per_second": round(len(runs) / (log.last - began), 2),
            "batches_per_second": round(log.batches / (log.last - began), 1),
            "events_per_second": round(log.events / (log.last - began), 1),
            "cpu_seconds": round(sum(after.values()) - sum(before.values()), 2),
            "cpu_seconds_by_service": _differences(before, after),
            "cpu_milliseconds_per_batch": round(
                1000 * (sum(after.values()) - sum(before.values())) / log.batches, 2
            ),
            "peak_memory_mb": round(usage.peak / 2**20),
            "idle_share_of_one_core": idle_share,
            "run_now_answer_ms": _quantiles(alone),
            "run_now_answer_ms_all_at_once": _quantiles([took for _, _, took in runs.values()]),
            "command_to_first_batch_ms_all_at_once": _quantiles(first),
        }


FAST_AND_SMALL = {
    **FAST,
    "stage_1_batch_size": 20,
    "stage_3_batch_size": 20,
    **{f"stage_{stage}_batch_size": 1 for stage in (2, 4, 5, 6)},
}


@dataclass
class Log:
    """What the store says of the measured runs; times are seconds since 1970."""

    events: int = 0
    batches: int = 0
    last: float = 0.0
    first_batch: dict[str, float] = field(default_factory=dict)


def log_of(septet: Septet, runs: set[str]) -> Log:
    store, log = open_store(septet.settings), Log()
    for stored in store.stored():
        envelope = stored.placed.envelope
        if envelope.run_id not in runs:
            continue
        log.events += 1
        at: datetime = envelope.at
        match envelope.message.TYPE:
            case "StageBatchCompleted" if stored.stream == envelope.run_id:
                log.batches += 1
            case "StageBatchRequested":
                log.first_batch.setdefault(envelope.run_id, at.timestamp())
            case "RunCompleted":
                log.last = max(log.last, at.timestamp())
            case _:
                pass
    store.close()
    return log


def _quantiles(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(1000 * cuts[49], 1), "p99": round(1000 * cuts[98], 1)}


def _differences(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: round(spent - before.get(name, 0.0), 2) for name, spent in after.items()}


def _share(before: dict[str, float], after: dict[str, float], seconds: float) -> dict[str, float]:
    shares = {name: round(one / seconds, 3) for name, one in _differences(before, after).items()}
    return {"all": round(sum(shares.values()), 3), **shares}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--sites", type=int, default=50)
    arguments.add_argument("--keywords", type=int, default=20)
    arguments.add_argument("--provider", nargs="+", default=["instant", "local"])
    chosen = arguments.parse_args()
    print(
        json.dumps(
            {
                "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
                "sites": chosen.sites,
                "keywords": chosen.keywords,
                "measured": [
                    measure(provider, chosen.sites, chosen.keywords) for provider in chosen.provider
                ],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
