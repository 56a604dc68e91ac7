"""Reads of the read model, off the event loop and with a deadline."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import sqlalchemy as sa

from projections import receipts
from projections.database import reading
from projections.receipts import ReceiptRow
from services.api.problems import Unavailable

T = TypeVar("T")

READ_WITHIN = 5.0  # seconds
LOOK_EVERY = 0.005  # seconds
AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)


async def look_up(engine: sa.Engine, query: Callable[[sa.Connection], T]) -> T:
    """Return what the query finds, off the event loop. Raises Unavailable, at the deadline too."""

    def in_thread() -> T:
        with reading(engine) as tx:
            return query(tx)

    try:
        async with asyncio.timeout(READ_WITHIN):
            return await asyncio.to_thread(in_thread)
    except (*AWAY, TimeoutError) as error:
        raise Unavailable from error


class Receipts:
    """Waits for outcomes: one look at the read model for all requests that wait."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._waiting: dict[tuple[str, str], set[asyncio.Future[ReceiptRow]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def wait(self, account_id: str, message_id: str) -> ReceiptRow:
        """Return the message's receipt when the read model has it. The caller sets the deadline."""
        wanted = (account_id, message_id)
        future: asyncio.Future[ReceiptRow] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(wanted, set()).add(future)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            return await future
        finally:
            self._waiting[wanted].discard(future)
            if not self._waiting[wanted]:
                del self._waiting[wanted]

    async def _look(self) -> None:
        while self._waiting:
            try:
                found = await asyncio.to_thread(self._find, tuple(self._waiting))
            except AWAY:
                found = []  # the command may be under way: its sender waits on to its deadline
            for wanted, receipt in found:
                for future in self._waiting.get(wanted, ()):
                    if not future.done():
                        future.set_result(receipt)
            await asyncio.sleep(LOOK_EVERY)

    def _find(self, wanted: Sequence[tuple[str, str]]) -> list[tuple[tuple[str, str], ReceiptRow]]:
        with reading(self._engine) as tx:
            looked = [(one, receipts.find(tx, *one)) for one in wanted]
        return [(one, receipt) for one, receipt in looked if receipt is not None]
