"""Folds the store into the read model again, for the projector and for operators."""

from typing import Any

import sqlalchemy as sa

from projections import audit_heads
from projections.database import writing
from projections.fold import SetAside
from projections.rebuild import Rebuilt, rebuild
from services.orchestrator.chain import open_chain
from services.orchestrator.store import Store
from services.places import rebuild_folder
from services.settings import Settings


def refold(
    settings: Settings, engine: sa.Engine, store: Store, set_aside: SetAside, **how: Any
) -> Rebuilt:
    """Rebuild, and say the heads that the relay has recorded. Raises and takes what `rebuild` does.

    A head is what the relay has said, so tables of a fold cannot have it.
    """
    found = rebuild(engine, store, rebuild_folder(settings), set_aside, **how)
    if not how.get("compare_only"):
        chain = open_chain(settings)
        try:
            heads = [
                (found.owners[one.key], one.key, one.position, one.head)
                for one in chain.newest()
                if one.key in found.owners
            ]
        finally:
            chain.close()
        with writing(engine) as tx:
            audit_heads.fill(tx, heads)
    return found
