"""Who answers: broker, store, read model, and every service by its consumer group."""

import asyncio
from collections.abc import Callable

import sqlalchemy as sa
from eventsourcing.persistence import PersistenceError

from events.kafka import LOST, Admin
from events.pipeline import STAGES
from projections.database import positions, reading
from services.orchestrator.store import Store, open_store
from services.places import broker_of
from services.settings import Settings

GROUPS = {
    "orchestrator": "septet-orchestrator",
    "projector": "septet-projector",
    "scheduler": "septet-scheduler",
    **{f"stage-{stage.number}": f"septet-stage-{stage.number}" for stage in STAGES},
}
AWAY = "does not answer"
MISSING = "no process of it is there"


class Readiness:
    """Asks everyone whether they are there, over connections that are kept."""

    def __init__(self, settings: Settings, engine: sa.Engine) -> None:
        self.settings = settings
        self.engine = engine
        self.admin: Admin | None = None
        self.store: Store | None = None
        self.asking = asyncio.Lock()

    async def look(self) -> dict[str, str]:
        """Return of each part what is wrong with it, "" when nothing is."""
        async with self.asking:
            return {
                **await self._kafka(),
                "store": await _away(self._ask_store),
                "read model": await _away(self._ask_tables),
            }

    async def close(self) -> None:
        """Close the connections."""
        if self.admin is not None:
            await self.admin.stop()
        if self.store is not None:
            self.store.close()

    async def _kafka(self) -> dict[str, str]:
        """Return what the broker says of itself and of the groups; without it nothing works."""
        try:
            if self.admin is None:
                self.admin = Admin(broker_of(self.settings))
                await self.admin.start()
            await self.admin.cluster()
            members = {name: await self.admin.members(group) for name, group in GROUPS.items()}
        except LOST:
            if self.admin is not None:
                await self.admin.stop()
                self.admin = None
            return {"broker": AWAY}
        return {"broker": ""} | {name: "" if count else MISSING for name, count in members.items()}

    def _ask_store(self) -> None:
        if self.store is None:
            self.store = open_store(self.settings)
        self.store.page(0, limit=1)

    def _ask_tables(self) -> None:
        with reading(self.engine) as tx:
            tx.execute(sa.select(positions).limit(1)).first()


async def _away(question: Callable[[], None]) -> str:
    try:
        async with asyncio.timeout(3):
            await asyncio.to_thread(question)
    except (PersistenceError, sa.exc.SQLAlchemyError, OSError, TimeoutError):
        return AWAY
    return ""
