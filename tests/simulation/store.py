"""The real store in memory, which others may write to in between, and which may be away."""

from collections.abc import Callable, Sequence

from services.orchestrator.store import Recorded, StaleWriter, Store, StoreAway
from tests.builders import IN_MEMORY
from tests.simulation.faults import Faults


class SimStore(Store):
    """`between` moves other actors before an append, `look` sees every append at once.

    `tracked` is told before a reader's position is saved.
    """

    def __init__(
        self,
        faults: Faults,
        between: Callable[[], None],
        look: Callable[[], None],
        tracked: Callable[[str, int], None],
    ) -> None:
        super().__init__(IN_MEMORY)
        self._faults, self._between, self._look, self._tracked = faults, between, look, tracked

    def append(self, recorded: Sequence[Recorded]) -> None:
        faults = self._faults
        if faults.strikes(faults.race):
            self._between()
        if faults.strikes(faults.store / 2, "store away"):
            raise StoreAway("the store is away")
        try:
            super().append(recorded)
        except StaleWriter:
            faults.counted["another writer was faster"] += 1
            faults.sometimes("two orchestrators raced for one stream")
            raise
        self._look()
        if faults.strikes(faults.store / 2, "answer of an append lost"):
            raise StoreAway("whether it was appended is unknown")

    def track(self, reader: str, position: int) -> None:
        self._tracked(reader, position)
        super().track(reader, position)
