"""The read model against the log: its rows, sums of money, and the heads that it tells tenants.

The log was read up to a position, and both may have gone on since: what they have said after it is
no difference, what they have not said up to there is one.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice, takewhile
from pathlib import Path

import sqlalchemy as sa

from events.topics import Placed
from projections import audit_heads
from projections.accounts import accounts
from projections.ai_tasks import ai_tasks
from projections.compare import compare
from projections.database import ordinal_of, positions, reading
from projections.ledger import ledger
from projections.parts import AT_ONCE, Here
from services.audit.survey import MARK, MOST, Index, Survey
from services.orchestrator.store import Store

SETTLED = sa.func.sum(sa.case((ledger.c.type == "settle", ledger.c.amount), else_=0))
HELD = sa.func.sum(
    sa.case(
        (ledger.c.type == "hold", ledger.c.amount),
        (ledger.c.type == "settle", -ledger.c.from_hold),
        (ledger.c.type == "release", -ledger.c.amount),
        else_=0,
    )
)
BALANCE = sa.func.sum(
    sa.case(
        (ledger.c.type == "grant", ledger.c.amount),
        (ledger.c.type == "settle", -ledger.c.amount),
        else_=0,
    )
)


def row_differences(engine: sa.Engine, store: Store, until: int) -> tuple[int, list[str]]:
    """Return how many events were folded, and a line for each row that they make otherwise.

    They are all up to a position, and those after it that the tables have seen too.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Here(Path(folder) / "refold.db")) as part,
    ):
        count = _fold(part, takewhile(lambda one: one.position <= until, store.placed()))
        with reading(engine) as live:
            asked = sa.select(positions.c.key, positions.c.position)
            seen = dict(live.execute(asked).tuples().all())
            count += _fold(
                part, (one for one in store.placed(until) if one.position <= seen.get(one.key, 0))
            )
            found = islice(compare(live, [part.path]), MOST)
            return count, [f"read-model: {one.line}" for one in found]


def _fold(part: Here, placed: Iterator[Placed]) -> int:
    count = 0
    while some := list(islice(placed, AT_ONCE)):
        part.fold_placed(some)
        count += len(some)
    return count


def ledger_differences(
    engine: sa.Engine, surveys: Sequence[Survey], until: int, newest: Callable[[], int]
) -> tuple[int, list[str]]:
    """Return how many sums were compared, and those that the copies of the ledger have otherwise.

    Of each account: balance and holds, by the log, by the account's row, by its ledger's rows. Of
    each stage of each run: what the AI calls cost and what the ledger settled, by the log and by
    the AI task log's and the ledger's rows. The log was read up to `until`; rows from there to the
    `newest` that the store has by now came later.
    """
    money = {id_: sums for part in surveys for id_, sums in part.accounts.items()}
    spent: dict[tuple[str, int], list[int]] = {}
    for part in surveys:
        spent |= part.spent
    with reading(engine) as tx:
        rows = {
            row.account_id: (row.balance, row.held_credits)
            for row in tx.execute(
                sa.select(accounts.c.account_id, accounts.c.balance, accounts.c.held_credits)
            )
        }
        last = newest()  # after the first look at the tables, so that the store is ahead of them
        is_later = ledger.c.position.between(until + 1, last)
        sums, later = _sums(tx, ~is_later), _sums(tx, is_later)
        ended, following = ordinal_of(until + 1, 0), ordinal_of(last + 1, 0)
        is_early = sa.or_(ai_tasks.c.ordinal < ended, ai_tasks.c.ordinal >= following)
        calls = _by_stage(tx, ai_tasks, ai_tasks.c.credits, is_early)
        settled = _by_stage(tx, ledger, ledger.c.amount, ledger.c.type == "settle", ~is_later)
    found = [*_accounts(money, rows, sums, later), *_stages(spent, calls, settled)]
    return len(money) + len(spent), [f"ledger: {line}" for line in found]


Sums = dict[str, tuple[int, int]]


def _sums(tx: sa.Connection, which: sa.ColumnElement[bool]) -> Sums:
    """Return what those rows of the ledger sum up to: each account's balance and holds."""
    asked = sa.select(ledger.c.account_id, BALANCE, HELD).where(which)
    found = tx.execute(asked.group_by(ledger.c.account_id))
    return {id_: (int(balance), int(held)) for id_, balance, held in found}


def _by_stage(
    tx: sa.Connection,
    table: sa.Table,
    credits_used: sa.ColumnElement[int],
    *which: sa.ColumnElement[bool],
) -> dict[tuple[str, int], int]:
    stage = (table.c.run_id, table.c.stage)
    asked = sa.select(*stage, sa.func.sum(credits_used)).where(*which).group_by(*stage)
    return {(run_id or "", stage): int(amount) for run_id, stage, amount in tx.execute(asked)}


def _accounts(money: Sums, rows: Sums, sums: Sums, later: Sums) -> Iterator[str]:
    for id_ in sorted({*money, *rows, *sums}):
        balance, held = money.get(id_, (0, 0))
        more, more_held = later.get(id_, (0, 0))
        copies = (
            ("its row says", rows, (balance + more, held + more_held)),
            ("its ledger's rows sum up to", sums, (balance, held)),
        )
        for said, copy, expected in copies:
            there = copy.get(id_, (0, 0))
            if there != expected:
                yield (
                    f"{id_} has {expected[0]} credits of which {expected[1]} are held by the log, "
                    f"{said} {there[0]} and {there[1]}"
                )


def _stages(
    spent: dict[tuple[str, int], list[int]],
    calls: dict[tuple[str, int], int],
    settled: dict[tuple[str, int], int],
) -> Iterator[str]:
    for run_id, stage in sorted({*spent, *calls, *settled}):
        by_log = spent.get((run_id, stage), [0, 0])
        figures = {
            "the log's AI calls cost": by_log[0],
            "the log settled": by_log[1],
            "the AI task log has": calls.get((run_id, stage), 0),
            "the ledger has": settled.get((run_id, stage), 0),
        }
        if len(set(figures.values())) > 1:
            told = ", ".join(f"{said} {amount}" for said, amount in figures.items())
            yield f"{run_id} stage {stage}: {told}"


def head_differences(engine: sa.Engine, index: Index, until: int) -> list[str]:
    """Return the heads in the read model, up to a position, that are not those recorded."""
    table = audit_heads.audit_heads
    found = list[str]()
    with reading(engine) as tx:
        for row in tx.execute(sa.select(table).where(table.c.position <= until)):
            number = index.find(row.position)
            if number is None or bytes.fromhex(row.head)[:MARK] != index.head(number):
                found.append(
                    f"chain: audit_heads {row.key}: another head is recorded at {row.position}"
                )
    return found
