"""What a site's stages have done so far: what its estimates are learned from."""

from typing import Any

import sqlalchemy as sa

from events.estimate import History, Past
from events.site import ItemsMoved
from events.topics import Placed
from projections.database import Whole, metadata, must, primary, read_all, upsert, write

stage_history = sa.Table(
    "stage_history",
    metadata,
    primary("site_id"),
    primary("stage", sa.Integer),
    must("account_id"),
    must("items", Whole),
    must("made", Whole),
    must("credits_used", Whole),
    must("listed_credits", Whole),
    sqlite_with_rowid=False,
)

KEEP = upsert(
    stage_history,
    lambda new: {name: new[name] for name in Past.model_fields},
)
PAST = tuple(stage_history.c[name] for name in Past.model_fields)
FIND = sa.select(*PAST).where(
    stage_history.c.site_id == sa.bindparam("site"), stage_history.c.stage == sa.bindparam("number")
)


def apply(tx: sa.Connection, placed: Placed) -> None:
    match placed.envelope.message:
        case ItemsMoved() as moved:
            _learn(tx, placed, moved)


def _learn(tx: sa.Connection, placed: Placed, moved: ItemsMoved) -> None:
    envelope = placed.envelope
    found = read_all(tx, FIND, {"site": envelope.site_id, "number": moved.stage})
    past = moved.teach(_past(dict(zip(Past.model_fields, found[0], strict=True)) if found else {}))
    known = {
        "site_id": envelope.site_id,
        "stage": moved.stage,
        "account_id": envelope.account_id,
    }
    write(tx, KEEP, known | past.model_dump())


def _past(row: Any) -> Past:
    return Past(**{name: row[name] for name in Past.model_fields if name in row})


def history(tx: sa.Connection, account_id: str, site_id: str) -> History:
    """Return what the site's stages have done, by stage; nothing for a site without a past."""
    mine = (stage_history.c.account_id == account_id, stage_history.c.site_id == site_id)
    found = tx.execute(sa.select(stage_history).where(*mine)).mappings()
    return {row["stage"]: _past(row) for row in found}
