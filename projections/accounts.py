"""Accounts with their balance, their API keys, their sites and their own AI providers."""

from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
from pydantic import Field

from events.account import (
    AccountOpened,
    AiProviderChosen,
    AiProviderDropped,
    CreditsGranted,
    CreditsHeld,
    CreditsReleased,
    CreditsSettled,
    KeyIssued,
    KeyRevoked,
)
from events.commands import Role
from events.prices import Models
from events.site import SiteCreated
from events.topics import Placed
from projections.database import (
    FOLDS,
    Parsed,
    Row,
    Whole,
    as_json,
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
    must("ordinal", Whole),
    must("digest"),
    must("role"),
    must("revoked", sa.Boolean),
    must("created_at"),
    sa.Index("api_keys_digest", "digest"),
    sa.Index("api_keys_account", "account_id", "ordinal"),
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

ai_choices = sa.Table(
    "ai_choices",
    metadata,
    primary("position", Whole),
    must("account_id"),
    must("base_url"),
    must("models"),
    may("secret_id"),
    must("chosen_at"),
    must("current", sa.Boolean),
    sa.Index("ai_choices_account", "account_id", info=FOLDS),
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
    """An API key without its secret, of which only the SHA-256 in hex is known."""

    key_id: str
    account_id: str
    digest: str = Field(repr=False)
    role: Role
    revoked: bool
    created_at: datetime


class SiteRow(Row):
    site_id: str
    name: str
    domain: str
    timezone: str
    created_at: datetime


class AiChoiceRow(Row):
    """The provider that an account has chosen; `secret_id` names the key in the vault, if any."""

    account_id: str
    base_url: str
    models: Annotated[Models, Parsed]
    secret_id: str | None
    chosen_at: datetime


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
CHOOSE = insert_new(ai_choices)
DROP = (
    sa.update(ai_choices)
    .where(ai_choices.c.account_id == sa.bindparam("whose"), ai_choices.c.current)
    .values(current=False)
)


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
                "ordinal": placed.position,
                "digest": key.digest,
                "role": key.role,
                "revoked": False,
                "created_at": stamp(envelope.at),
            }
            write(tx, ISSUE, row)
        case KeyRevoked(key_id=key_id):
            write(tx, REVOKE, {"which": key_id, "whose": account_id})
        case AiProviderChosen(base_url=base_url, models=models, secret_id=secret_id):
            row = {
                "position": placed.position,
                "account_id": account_id,
                "base_url": base_url,
                "models": as_json(models),
                "secret_id": secret_id,
                "chosen_at": stamp(envelope.at),
                "current": True,
            }
            write(tx, DROP, {"whose": account_id})
            write(tx, CHOOSE, row)
        case AiProviderDropped():
            write(tx, DROP, {"whose": account_id})
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


def key_of(tx: sa.Connection, account_id: str, key_id: str) -> KeyRow | None:
    """Return the key when it is the account's."""
    mine = (api_keys.c.account_id == account_id, api_keys.c.key_id == key_id)
    return one(tx, KeyRow, sa.select(api_keys).where(*mine))


def keys(
    tx: sa.Connection, account_id: str, limit: int, after: int | None
) -> tuple[list[KeyRow], int | None]:
    """Return the account's keys in the order in which they were issued, revoked ones too."""
    asked = (
        sa.select(api_keys)
        .where(api_keys.c.account_id == account_id, api_keys.c.ordinal > (after or 0))
        .order_by(api_keys.c.ordinal)
    )
    return page(tx, KeyRow, asked, "ordinal", limit)


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


def ai_choice(tx: sa.Connection, account_id: str) -> AiChoiceRow | None:
    """Return the provider that the account has chosen, none when it asks the installation's."""
    mine = (ai_choices.c.account_id == account_id, ai_choices.c.current)
    return one(tx, AiChoiceRow, sa.select(ai_choices).where(*mine))


def models_of(tx: sa.Connection, account_id: str, installation: Models) -> Models:
    """Return the models that the account's runs ask which begin now."""
    choice = ai_choice(tx, account_id)
    return installation if choice is None else choice.models


def past_secrets(tx: sa.Connection, account_id: str) -> set[str]:
    """Return the ids of the account's keys that no run will need any more."""
    asked = sa.select(ai_choices.c.secret_id, ai_choices.c.current).where(
        ai_choices.c.account_id == account_id, ai_choices.c.secret_id.is_not(None)
    )
    found = tx.execute(asked).all()
    return {row.secret_id for row in found} - {row.secret_id for row in found if row.current}
