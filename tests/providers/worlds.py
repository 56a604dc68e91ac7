"""A provider, a server and a time that only passes when somebody waits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

from events.prices import Models
from services.stage_workers.ai.credential import Credential
from services.stage_workers.ai.gate import Time
from services.stage_workers.ai.local.provider import LocalProvider
from services.stage_workers.ai.model import Call
from services.stage_workers.ai.openai.line import Line
from services.stage_workers.ai.openai.provider import OpenAIProvider
from tests.providers.server import Answer, Server, serving

REMOTE = Models(text="writer", image="painter", embedding="embedder")


@dataclass
class Clock:
    """Seconds that pass when slept through; `slept` are the waits."""

    at: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds

    def time(self) -> Time:
        return Time(self.now, self.sleep, lambda: 0.0)


@dataclass
class World:
    server: Server
    clock: Clock
    line: Line
    provider: OpenAIProvider
    calls: list[Call] = field(default_factory=list)


@cache
def local() -> LocalProvider:
    return LocalProvider()


@asynccontextmanager
async def world(
    *answers: Answer,
    key: str = "sk-test-51f0c2a8d7e94b36",
    seconds: float = 20.0,
    models: Models = REMOTE,
    calls_at_once: int = 8,
) -> AsyncIterator[World]:
    """Open all; the connections are closed at the end."""
    async with serving(*answers) as server:
        clock = Clock()
        credential = Credential(server.url, key, seconds, calls_at_once)
        line = Line(credential, clock.time())
        try:
            yield World(server, clock, line, OpenAIProvider(credential, models, local(), line))
        finally:
            await line.aclose()
