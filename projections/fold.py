"""Folds events into every table, each event once, one bad event stopping no other."""

import logging
from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa

from events.topics import Placed
from projections import (
    accounts,
    ai_tasks,
    audit_heads,
    configs,
    estimates,
    ledger,
    overview,
    planner,
    receipts,
    refusals,
    run_events,
    run_log,
    runs,
    timers,
    writer,
)
from projections.database import (
    Whole,
    claim,
    metadata,
    must,
    primary,
    track,
    write,
)

logger = logging.getLogger(__name__)

SetAside = Callable[[Placed, str], None]
"""Takes an event that cannot be projected, and why."""
Apply = Callable[[sa.Connection, Placed], None]

# In this order: the log and the timers look at the run as the event left it, and a receipt appears
# last, with all that its command did.
PROJECTIONS: tuple[Apply, ...] = (
    accounts.apply,
    ledger.apply,
    configs.apply,
    runs.apply,
    run_log.apply,
    overview.apply,
    estimates.apply,
    planner.apply,
    writer.apply,
    ai_tasks.apply,
    timers.apply,
    refusals.apply,
    receipts.apply,
)

set_aside_events = sa.Table(
    "set_aside_events",
    metadata,
    primary("position", Whole),
    must("account_id"),
    must("key"),
    must("type"),
    must("error"),
)
SET_ASIDE = sa.insert(set_aside_events)


class Overtaken(Exception):
    """Events came after newer ones of their key had been applied: only a refold places them."""

    def __init__(self, events: Sequence[Placed]) -> None:
        super().__init__(f"{len(events)} events were overtaken, first {events[0].position}")
        self.events = tuple(events)


def fold(tx: sa.Connection, batch: Sequence[Placed], set_aside: SetAside) -> int:
    """Apply what is new and return how many events that was. Raises Overtaken, having done nothing.

    `set_aside` returns when the dead letter is safe, so it is there before the position moves.
    """
    seen = claim(tx, {placed.key for placed in batch})
    new = list(_new(tx, batch, seen))
    if new and not _all_applied(tx, new):
        _apply_singly(tx, new, set_aside)
    run_events.record(tx, new)
    audit_heads.record(tx, new)
    track(tx, {placed.key: placed.position for placed in new})
    return len(new)


def _new(tx: sa.Connection, batch: Sequence[Placed], seen: dict[str, int]) -> Iterator[Placed]:
    """Give each event that was not applied yet, once, in the order of the store."""
    by_position = {placed.position: placed for placed in batch}
    in_order = [by_position[position] for position in sorted(by_position)]
    old = [placed for placed in in_order if placed.position <= seen[placed.key]]
    if old:
        known = run_events.applied(tx, [placed.position for placed in old])
        overtaken = [placed for placed in old if placed.position not in known]
        if overtaken:
            raise Overtaken(overtaken)
    return (placed for placed in in_order if placed.position > seen[placed.key])


def _all_applied(tx: sa.Connection, new: Sequence[Placed]) -> bool:
    """Apply all in one savepoint, as most batches are good; on an error undo and say so."""
    try:
        with tx.begin_nested():
            for placed in new:
                _apply(tx, placed)
    except sa.exc.OperationalError:
        raise
    except Exception:  # noqa: BLE001  # each is applied again by itself, where the error is logged
        return False
    return True


def _apply_singly(tx: sa.Connection, new: Sequence[Placed], set_aside: SetAside) -> None:
    for placed in new:
        try:
            with tx.begin_nested():
                _apply(tx, placed)
        except sa.exc.OperationalError:
            raise  # the database's fault, not the event's: start again
        except Exception as error:
            told = {"position": placed.position, "type": placed.envelope.message.TYPE}
            logger.exception("event set aside", extra=told)
            set_aside(placed, reason_of(error))
            row = {"account_id": placed.envelope.account_id, "key": placed.key}
            write(tx, SET_ASIDE, told | row | {"error": type(error).__name__})


def reason_of(error: Exception) -> str:
    """Return an error as a dead letter tells it."""
    return f"{type(error).__name__}: {error}"


def _apply(tx: sa.Connection, placed: Placed) -> None:
    for apply in PROJECTIONS:
        apply(tx, placed)
