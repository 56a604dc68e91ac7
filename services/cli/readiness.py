"""Who answers: broker, store, read model, and every service by its consumer group."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import sqlalchemy as sa
from eventsourcing.persistence import PersistenceError

from events.kafka.admin import Admin
from events.kafka.connection import LOST, NotLetIn
from events.pipeline import STAGES
from projections.database import positions, reading
from services.heartbeats import is_silent
from services.orchestrator.store import Store, open_store
from services.places import broker_of
from services.settings import Settings

logger = logging.getLogger(__name__)

GROUPS = {
    "orchestrator": "septet-orchestrator",
    "projector": "septet-projector",
    "scheduler": "septet-scheduler",
    **{f"stage-{stage.number}": f"septet-stage-{stage.number}" for stage in STAGES},
}
AWAY = "does not answer"
REFUSES = "does not let us in"
MISSING = "no process of it is there"
ANSWER_WITHIN = 3.0  # seconds for each, so that a 503 within five names who did not answer


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
            kafka, store, tables = await asyncio.gather(
                self._kafka(), _away(self._ask_store), _away(self._ask_tables)
            )
        return {**kafka, **self._silent(), "store": store, "read model": tables}

    async def close(self) -> None:
        """Close the connections."""
        if self.admin is not None:
            await self.admin.stop()
        if self.store is not None:
            self.store.close()

    async def _kafka(self) -> dict[str, str]:
        """Return what the broker says of itself and of the groups; without it nothing works."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                if self.admin is None:
                    self.admin = Admin(broker_of(self.settings))
                    await self.admin.start()
                here = await self.admin.cluster()
                members = {
                    name: await self.admin.members(group, here) for name, group in GROUPS.items()
                }
        except (*LOST, TimeoutError):
            await self._forget()
            return {"broker": AWAY}
        except NotLetIn as error:
            await self._forget()
            logger.warning("the broker does not let us in", extra={"error": str(error)})
            return {"broker": REFUSES}
        return {"broker": ""} | {name: "" if count else MISSING for name, count in members.items()}

    async def _forget(self) -> None:
        lost, self.admin = self.admin, None
        with suppress(*LOST, TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN / 3):
                if lost is not None:
                    await lost.stop()

    def _silent(self) -> dict[str, str]:
        """Return the services that do not live, where the broker would not notice."""
        if not self.settings.embedded_broker:
            return {}
        return {name: MISSING for name in GROUPS if is_silent(self.settings, name)}

    def _ask_store(self) -> None:
        if self.store is None:
            self.store = open_store(self.settings)
        self.store.page(0, limit=1)

    def _ask_tables(self) -> None:
        with reading(self.engine) as tx:
            tx.execute(sa.select(positions).limit(1)).first()


async def _away(question: Callable[[], None]) -> str:
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            await asyncio.to_thread(question)
    except (PersistenceError, sa.exc.SQLAlchemyError, OSError, TimeoutError):
        return AWAY
    return ""
