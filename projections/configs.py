"""Each site's automation config, and which schedules are due."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json

from events.config import Config
from events.run import RunStarted
from events.site import ConfigUpdated, ScheduleAdvanced, SiteCreated
from events.topics import Placed
from projections.database import Row, insert_new, many, may, metadata, must, primary, stamp, write

configs = sa.Table(
    "configs",
    metadata,
    primary("site_id"),
    must("account_id"),
    must("config"),
    must("is_enabled", sa.Boolean),
    may("last_run_at"),
    may("next_run_at"),
    sa.Index("configs_due", "next_run_at"),
    sqlite_with_rowid=False,
)


class ConfigRow(Config):
    """The whole config; `next_run_at` is none while the schedule is disabled."""

    site_id: str
    last_run_at: datetime | None
    next_run_at: datetime | None


class DueSchedule(Row):
    """A schedule whose time has come: `slot` is that time."""

    account_id: str
    site_id: str
    slot: datetime


MAKE = insert_new(configs)
OF_SITE = configs.c.site_id == sa.bindparam("which")
CHANGE = (
    sa.update(configs)
    .where(OF_SITE)
    .values(
        config=sa.bindparam("body"),
        is_enabled=sa.bindparam("enabled"),
        next_run_at=sa.bindparam("next"),
    )
)
ADVANCE = sa.update(configs).where(OF_SITE).values(next_run_at=sa.bindparam("next"))
RAN = sa.update(configs).where(OF_SITE).values(last_run_at=sa.bindparam("last"))


def apply(tx: sa.Connection, placed: Placed) -> None:
    envelope = placed.envelope
    match envelope.message:
        case SiteCreated(timezone=timezone):
            row = {
                "site_id": envelope.site_id,
                "account_id": envelope.account_id,
                "config": Config(timezone=timezone).model_dump_json(),
                "is_enabled": False,
                "last_run_at": None,
                "next_run_at": None,
            }
            write(tx, MAKE, row)
        case ConfigUpdated(config=config, next_run_at=at):
            change: dict[str, Any] = {
                "which": envelope.site_id,
                "body": config.model_dump_json(),
                "enabled": config.is_enabled,
                "next": _or_none(at),
            }
            write(tx, CHANGE, change)
        case ScheduleAdvanced(next_run_at=at):
            write(tx, ADVANCE, {"which": envelope.site_id, "next": _or_none(at)})
        case RunStarted():
            write(tx, RAN, {"which": envelope.site_id, "last": stamp(envelope.at)})


def _or_none(at: datetime | None) -> str | None:
    return None if at is None else stamp(at)


def find(tx: sa.Connection, account_id: str, site_id: str) -> ConfigRow | None:
    """Return the site's config when the site is the account's."""
    mine = (configs.c.account_id == account_id, configs.c.site_id == site_id)
    found = tx.execute(sa.select(configs).where(*mine)).first()
    if found is None:
        return None
    known = {
        "site_id": found.site_id,
        "last_run_at": found.last_run_at,
        "next_run_at": found.next_run_at,
    }
    return ConfigRow.model_validate(from_json(found.config) | known)


def due(tx: sa.Connection, at: datetime) -> list[DueSchedule]:
    """Return the schedules of all accounts whose time has come, the oldest first."""
    asked = (
        sa.select(configs, configs.c.next_run_at.label("slot"))
        .where(configs.c.is_enabled, configs.c.next_run_at <= stamp(at))
        .order_by(configs.c.next_run_at, configs.c.site_id)
    )
    return many(tx, DueSchedule, asked)
