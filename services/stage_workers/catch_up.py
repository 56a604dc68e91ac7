"""Waits until the read model shows a request: one look for all that wait, however many they are."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from projections.database import positions, reading
from services.stage_workers.threads import in_thread

LOOK_EVERY = 0.005  # seconds


@dataclass(eq=False, slots=True)
class Waiting:
    """One that waits for a position of its key."""

    key: str
    position: int
    reached: asyncio.Event = field(default_factory=asyncio.Event)


class CatchUp:
    """Looks only while somebody waits."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._waiting: set[Waiting] = set()
        self._looking: asyncio.Task[None] | None = None

    async def reach(self, key: str, position: int, within: float) -> bool:
        """Tell whether the read model has come to the position within so many seconds."""
        mine = Waiting(key, position)
        self._waiting.add(mine)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(within):
                await mine.reached.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(mine)
        return True

    async def _look(self) -> None:
        while self._waiting:
            reached = await in_thread(self._reached, {one.key for one in self._waiting})
            there = {one for one in self._waiting if reached.get(one.key, 0) >= one.position}
            self._waiting -= there
            for one in there:
                one.reached.set()
            if not there:
                await asyncio.sleep(LOOK_EVERY)

    def _reached(self, keys: set[str]) -> Mapping[str, int]:
        asked = sa.select(positions.c.key, positions.c.position).where(
            positions.c.key.in_(sorted(keys))
        )
        with reading(self._engine) as tx:
            return {row.key: row.position for row in tx.execute(asked)}
