"""Whether the broker that a consumer joined still is the one that answers."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from events.kafka.admin import Admin, group_in
from events.kafka.connection import LOST, Broker, NotLetIn, OtherBroker

SAME_EVERY = 2.0  # seconds between looks whether the same broker answers, with our topics


class SameBroker:
    """Looks on whether the broker that answers now goes on answering, with the topics that we read.

    A consumer that lives through a broker's loss of all data may go on from offsets and group
    memberships that nobody knows, and hear nothing for ever: it has to begin anew.
    """

    def __init__(self, broker: Broker, cluster: str, topics: Sequence[str]) -> None:
        self._broker, self._cluster, self._topics = broker, cluster, topics
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def now(cls, broker: Broker, topics: Sequence[str]) -> "SameBroker":
        """Return one for who answers now; other topics we may have no right to see.

        Raises LOST errors and NotLetIn.
        """
        admin = Admin(broker)
        try:
            await admin.start()
            return cls(broker, await admin.cluster(), topics)
        finally:
            await admin.stop()

    def group(self, name: str) -> str:
        """Return the group to join: on the embedded broker one for each of its lives.

        It loses its data with every restart, and then takes what a member of before commits:
        offsets below which nobody would ever read what comes.
        """
        return group_in(self._broker, name, self._cluster)

    def require(self) -> None:
        """Raise OtherBroker when it is another one, or has lost the topics."""
        if self._watching.done():
            self._watching.result()

    async def lost(self) -> OtherBroker:
        """Return, when it is another one, what has happened."""
        try:
            await asyncio.shield(self._watching)
        except OtherBroker as error:
            return error
        raise AssertionError("watching ends with an error alone")

    async def stop(self) -> None:
        self._watching.cancel()
        await asyncio.wait({self._watching})

    async def _watch(self) -> None:
        while True:
            admin = Admin(self._broker)
            with suppress(*LOST, NotLetIn):  # away is not another: it may come back with all
                try:
                    await admin.start()
                    while True:
                        await admin.require_same(self._cluster, self._topics)
                        await asyncio.sleep(SAME_EVERY)
                finally:
                    await admin.stop()
            await asyncio.sleep(SAME_EVERY)
