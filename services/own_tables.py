"""Tables that a service keeps for itself: in no event, and in no rebuild of the read model."""

from typing import ClassVar

import sqlalchemy as sa

from projections.database import writing


class OwnTables:
    """What a class of such tables has in common; `METADATA` names them. All methods block."""

    METADATA: ClassVar[sa.MetaData]

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create_tables(self) -> None:
        """Make the tables where they are missing; several processes may do so at once."""
        with writing(self._engine, alone=True) as tx:
            self.METADATA.create_all(tx)

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()
