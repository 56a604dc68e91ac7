"""Accounts with their balance, their API keys and their sites."""

from datetime import datetime

import sqlalchemy as sa

from events.account import (
    AccountOpened,
    CreditsGranted,
    CreditsHeld,
    CreditsReleased,
    CreditsSettled,
    KeyIssued,
    KeyRevoked,
)
from events.commands import Role
from events.site import SiteCreated
from events.topics import Placed
from projections.database import (
    Row,
    Whole,
    insert_new,
    may,
    metadata,
    must,
    one,
    page,
    primary,
    stamp,
    upsert,
    write,
)

accounts = sa.Table(
    "accounts",
    metadata,
    primary("account_id"),
    may("name"),
    may("opened_at"),
    must("balance", Whole),
    must("held_credits", Whole),
    sqlite_with_rowid=False,
)
api_keys = sa.Table(
    "api_keys",
    metadata,
    primary("key_id"),
    must("account_id"),
    must("digest"),
    must("role"),
    must("revoked", sa.Boolean),
    must("created_at"),
    sa.Index("api_keys_digest", "digest"),
    sqlite_with_rowid=False,
)
site_table = sa.Table(
    "sites",
    metadata,
    primary("site_id"),
    must("account_id"),
    must("ordinal", Whole),
    must("name"),
    must("domain"),
    must("timezone"),
    must("created_at"),
    sa.Index("sites_account", "account_id", "ordinal"),
    sqlite_with_rowid=False,
)


class AccountRow(Row):
    """Whole credits; what is available is the balance less the holds of all runs."""

    account_id: str
    name: str
    balance: int
    held_credits: int
    available_credits: int


class KeyRow(Row):
    """An API key without its secret."""

    key_id: str
    account_id: str
    role: Role
    revoked: bool


class SiteRow(Row):
    site_id: str
    name: str
    domain: str
    timezone: str
    created_at: datetime


# Sites of an account arrive in any order, and before the account: its sums change by addition only.
ADD = upsert(
    accounts,
    lambda new: {
        "balance": accounts.c.balance + new.balance,
        "held_credits": accounts.c.held_credits + new.held_credits,
    },
)
OPEN = upsert(accounts, lambda new: {"name": new.name, "opened_at": new.opened_at})
ISSUE = insert_new(api_keys)
REVOKE = (
    sa.update(api_keys)
    .where(
        api_keys.c.key_id == sa.bindparam("which"),
        api_keys.c.account_id == sa.bindparam("whose"),
    )
    .values(revoked=True)
)
CREATE = insert_new(site_table)


def apply(tx: sa.Connection, placed: Placed) -> None:
    envelope = placed.envelope
    account_id = envelope.account_id
    match envelope.message:
        case CreditsSettled(amount=amount, from_hold=from_hold):
            _add(tx, account_id, -amount, -from_hold)
        case CreditsHeld(amount=amount):
            _add(tx, account_id, 0, amount)
        case CreditsReleased(amount=amount):
            _add(tx, account_id, 0, -amount)
        case CreditsGranted(amount=amount):
            _add(tx, account_id, amount, 0)
        case AccountOpened(name=name):
            row = {
                "account_id": account_id,
                "name": name,
                "opened_at": stamp(envelope.at),
                "balance": 0,
                "held_credits": 0,
            }
            write(tx, OPEN, row)
        case KeyIssued(key=key):
            row = {
                "key_id": key.key_id,
                "account_id": account_id,
                "digest": key.digest,
                "role": key.role,
                "revoked": False,
                "created_at": stamp(envelope.at),
            }
            write(tx, ISSUE, row)
        case KeyRevoked(key_id=key_id):
            tx.execute(REVOKE, {"which": key_id, "whose": account_id})
        case SiteCreated(name=name, domain=domain, timezone=timezone):
            row = {
                "site_id": envelope.site_id,
                "account_id": account_id,
                "ordinal": placed.position,
                "name": name,
                "domain": domain,
                "timezone": timezone,
                "created_at": stamp(envelope.at),
            }
            write(tx, CREATE, row)


def _add(tx: sa.Connection, account_id: str, balance: int, held: int) -> None:
    row = {"account_id": account_id, "balance": balance, "held_credits": held}
    write(tx, ADD, row)


FIND_KEY = sa.select(api_keys).where(api_keys.c.digest == sa.bindparam("digest"))
KEY = sa.select(api_keys).where(api_keys.c.key_id == sa.bindparam("key_id"))


def find_key(tx: sa.Connection, digest: str) -> KeyRow | None:
    """Return the key with this SHA-256 in hex, of whatever account, revoked or not."""
    return one(tx, KeyRow, FIND_KEY.params(digest=digest))


def key(tx: sa.Connection, key_id: str) -> KeyRow | None:
    """Return the key, of whatever account: for the operator, who may revoke any."""
    return one(tx, KeyRow, KEY.params(key_id=key_id))


def find(tx: sa.Connection, account_id: str) -> AccountRow | None:
    """Return the account once it has been opened."""
    available = (accounts.c.balance - accounts.c.held_credits).label("available_credits")
    opened = accounts.c.name.is_not(None)
    asked = sa.select(accounts, available).where(accounts.c.account_id == account_id, opened)
    return one(tx, AccountRow, asked)


def site(tx: sa.Connection, account_id: str, site_id: str) -> SiteRow | None:
    """Return the site when it is the account's."""
    mine = (site_table.c.account_id == account_id, site_table.c.site_id == site_id)
    return one(tx, SiteRow, sa.select(site_table).where(*mine))


def sites(
    tx: sa.Connection, account_id: str, limit: int, after: int | None
) -> tuple[list[SiteRow], int | None]:
    """Return the account's sites in the order in which they were added."""
    asked = (
        sa.select(site_table)
        .where(site_table.c.account_id == account_id, site_table.c.ordinal > (after or 0))
        .order_by(site_table.c.ordinal)
    )
    return page(tx, SiteRow, asked, "ordinal", limit)
