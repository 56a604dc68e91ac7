"""Which release folded the tables, and what it could not read: another one may have to refold.

These tables say what happened to the read model, not what is in it: a refold does not empty them,
and an audit does not compare them.
"""

import re
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from events.envelope import is_readable
from events.shapes import digest
from projections.database import (
    Whole,
    about,
    must,
    primary,
    reading,
    upsert,
    write_all,
    writing,
)

folded_by = sa.Table("folded_by", about, primary("shapes"))
unread_names = sa.Table("unread_names", about, primary("name"), must("times", Whole))
ADD = upsert(unread_names, lambda _: {"times": unread_names.c.times + sa.literal_column("1")})
WIRE_NAME = re.compile(r"septet\.[A-Za-z]{1,100}\.v[0-9]{1,6}")


def is_folded_by_this(engine: sa.Engine) -> bool:
    """Tell whether the last fold of all events was by a release with the same messages as this.

    Rows hold what messages say, so a field more in a message is a difference in a row.
    """
    with reading(engine) as tx:
        return tx.scalars(sa.select(folded_by.c.shapes)).all() == [digest()]


def sign(tx: sa.Connection) -> None:
    """Write down that this release has folded all events."""
    tx.execute(sa.delete(folded_by))
    tx.execute(sa.insert(folded_by).values(shapes=digest()))


def remember(tx: sa.Connection, names: Iterable[str]) -> None:
    """Write down that events of these names were met; what can be no name of ours is not."""
    write_all(tx, ADD, [{"name": name, "times": 1} for name in names if WIRE_NAME.fullmatch(name)])


def readable_now(engine: sa.Engine) -> dict[str, int]:
    """Return the names that could not be read when they were met, and can be in this release.

    With each stands how often it was met.
    """
    with reading(engine) as tx:
        found = tx.execute(sa.select(unread_names)).all()
    return {row.name: row.times for row in found if is_readable(row.name)}


def forget(engine: sa.Engine, folded: Mapping[str, int]) -> None:
    """Forget names whose events have been folded, but for those that were met again meanwhile."""
    with writing(engine) as tx:
        for name, times in folded.items():
            is_same = (unread_names.c.name == name) & (unread_names.c.times == times)
            tx.execute(sa.delete(unread_names).where(is_same))
