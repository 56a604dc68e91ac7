"""The newest head of each key's chain, for tenants to note and keep where nobody of ours writes.

A head is what the relay has said, and a refold says it again; so it stays while other tables are
emptied, and is compared with the recorded chain rather than with a refold.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from events.chain import Head
from events.topics import Placed
from projections.database import Row, Whole, about, must, one, primary, upsert, write_all

audit_heads = sa.Table(
    "audit_heads",
    about,
    primary("key"),
    must("account_id"),
    must("position", Whole),
    must("head"),
)
MOVE_ON = upsert(
    audit_heads,
    lambda new: {"position": new.position, "head": new.head},
    where=audit_heads.c.position < sa.literal_column("excluded.position"),
)


class HeadRow(Row):
    """The SHA-256, in hex, over all that had happened to the key up to and with the position."""

    key: str
    position: int
    head: str


def record(tx: sa.Connection, batch: Sequence[Placed]) -> None:
    """Keep the head of each key's newest event, once a key however many events there are."""
    newest = {placed.key: placed for placed in batch if placed.head is not None}
    fill(
        tx,
        [
            (newest[key].envelope.account_id, key, newest[key].position, head)
            for key in sorted(newest)
            if (head := newest[key].head) is not None
        ],
    )


def fill(tx: sa.Connection, heads: Sequence[tuple[str, str, int, Head]]) -> None:
    """Keep heads by account, key and position, but where a newer one is there."""
    rows = [
        {"key": key, "account_id": account, "position": position, "head": head.chain.hex()}
        for account, key, position, head in heads
    ]
    write_all(tx, MOVE_ON, rows)


def find(tx: sa.Connection, account_id: str, key: str) -> HeadRow | None:
    """Return the head of a site or of the account itself, when it is the account's."""
    mine = (audit_heads.c.account_id == account_id, audit_heads.c.key == key)
    return one(tx, HeadRow, sa.select(audit_heads).where(*mine))
