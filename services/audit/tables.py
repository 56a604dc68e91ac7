"""The read model against the log: its sums of money, and the heads that it tells tenants."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from projections import audit_heads
from projections.accounts import accounts
from projections.ai_tasks import ai_tasks
from projections.database import reading
from projections.ledger import ledger
from services.audit.survey import MARK, Index, Survey

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


def ledger_differences(engine: sa.Engine, surveys: Sequence[Survey]) -> tuple[int, list[str]]:
    """Return how many sums were compared, and those that the copies of the ledger have otherwise.

    Of each account: balance and holds, by the log, by the account's row, by its ledger's rows. Of
    each stage of each run: what the AI calls cost and what the ledger settled, by the log and by
    the AI task log's and the ledger's rows.
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
        sums = {
            id_: (int(balance), int(held))
            for id_, balance, held in tx.execute(
                sa.select(ledger.c.account_id, BALANCE, HELD).group_by(ledger.c.account_id)
            )
        }
        calls = _by_stage(tx, ai_tasks, sa.func.sum(ai_tasks.c.credits))
        settled = _by_stage(tx, ledger.select().where(ledger.c.type == "settle").subquery())
    found = [*_accounts(money, rows, sums), *_stages(spent, calls, settled)]
    return len(money) + len(spent), [f"ledger: {line}" for line in found]


def _by_stage(
    tx: sa.Connection, table: sa.FromClause, total: sa.ColumnElement[int] | None = None
) -> dict[tuple[str, int], int]:
    spent = sa.func.sum(table.c.amount) if total is None else total
    asked = sa.select(table.c.run_id, table.c.stage, spent).group_by(table.c.run_id, table.c.stage)
    return {(run_id or "", stage): int(amount) for run_id, stage, amount in tx.execute(asked)}


def _accounts(
    money: dict[str, tuple[int, int]],
    rows: dict[str, tuple[int, int]],
    sums: dict[str, tuple[int, int]],
) -> Iterator[str]:
    copies = (("its row says", rows), ("its ledger's rows sum up to", sums))
    for id_ in sorted({*money, *rows, *sums}):
        balance, held = money.get(id_, (0, 0))
        for said, copy in copies:
            there = copy.get(id_, (0, 0))
            if there != (balance, held):
                yield (
                    f"{id_} has {balance} credits of which {held} are held by the log, "
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
