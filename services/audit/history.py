"""What happened to a run or a site, and what it was at any position, by the rules' own `evolve`."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic_core import from_json

from events.envelope import Envelope, decode
from events.message import bare_name
from events.pipeline import STAGES
from events.topics import is_published_as
from services.orchestrator.rules.evolve import evolve_account, evolve_run, evolve_site
from services.orchestrator.rules.state import Account, Run, Site
from services.orchestrator.store import PAGE, Raw, Store

NAMES = {stage.number: stage.name for stage in STAGES}
Fold = Callable[[Any, Envelope], Any]
FOLDS: dict[str, Fold] = {
    "run": lambda state, one: evolve_run(state, one.message),
    "site": lambda state, one: evolve_site(state, one.message, one.run_id or ""),
    "account": lambda state, one: evolve_account(state, one.message, one.run_id or ""),
}


def events_of(store: Store, id_: str, after: int, until: int) -> Iterator[Raw]:
    """Yield every published event of a run or a site, in store order, a page in memory at a time.

    They stand in several streams: the run's, the site's, the account's, and a receipt each. The
    database gives only rows that contain the id. They are not decoded: a newer release may have
    written some.
    """
    while page := store.raw(after, PAGE, about=id_):
        for row in page:
            if row[0] > until:
                return
            fields = from_json(row[4])
            is_about = id_ in (fields.get("run_id"), fields.get("site_id"))
            if is_about and is_published_as(row[3], fields):
                yield row
        after = page[-1][0]


def line_of(position: int, name: str, body: bytes) -> str:
    """Return an event as a line of JSON: its place and its type before its very bytes."""
    head = f'{{"position":{position},"type":"{bare_name(name)}","ce_type":"{name}",'
    return head + body[1:].decode()


def state_of_run(store: Store, run_id: str, until: int) -> dict[str, Any] | None:
    """Return the run, its site and its account as they were with a position; none before it was."""
    begun = next(_past(store, run_id, until), None)
    if begun is None or begun.site_id is None:
        return None
    run: Run = _folded(store, "run", Run(id=run_id), until)
    money: Account = _folded(store, "account", Account(id=begun.account_id), until)
    return {
        "run": _run(run, money),
        **_around(store, begun.site_id, money, until),
    }


def state_of_site(store: Store, site_id: str, until: int) -> dict[str, Any] | None:
    """Return the site, its active run and its account as they were; none before it was."""
    begun = next(_past(store, site_id, until), None)
    if begun is None:
        return None
    money: Account = _folded(store, "account", Account(id=begun.account_id), until)
    around = _around(store, site_id, money, until)
    active = around["site"]["active_run_id"]
    run = _folded(store, "run", Run(id=active), until) if active else None
    return {"run": run and _run(run, money), **around}


def _around(store: Store, site_id: str, money: Account, until: int) -> dict[str, Any]:
    site: Site = _folded(store, "site", Site(id=site_id), until)
    return {"site": _site(site), "account": _account(money)}


def _folded(store: Store, kind: str, empty: Any, until: int) -> Any:
    state = empty
    for envelope in _past(store, empty.id, until):
        state = FOLDS[kind](state, envelope)
    return state


def _past(store: Store, stream: str, until: int) -> Iterator[Envelope]:
    """Yield the events of a stream up to a position."""
    version = 0
    while page := store.raw_stream(stream, version):
        for row in page:
            if row[0] > until:
                return
            yield decode(row[3], row[4])
        version = page[-1][2]


def _run(run: Run, money: Account) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "status": run.status,
        "current_stage": run.stage,
        "stage_name": NAMES.get(run.stage),
        "stage_is_open": run.is_open,
        "items_total": len(run.items),
        "items_done": run.tally.items_done,
        "items_failed": run.tally.items_failed,
        "batches_in_flight": len(run.in_flight),
        "total_credits_used": run.credits_used,
        "held_credits": money.holds.get(run.id, 0),
        "waits_for_timer": run.timer,
    }


def _site(site: Site) -> dict[str, Any]:
    return {
        "site_id": site.id,
        "name": site.name,
        "active_run_id": site.active,
        "next_run_at": site.next_run_at,
        "config": site.config.model_dump(mode="json"),
        "waiting": _by_stage(site.pending),
        "failed": _by_stage(site.failed),
        "taken": len(site.taken),
        "content": len(site.contents),
    }


def _by_stage(items: Iterable[Any]) -> dict[str, int]:
    return {NAMES[number]: len(those) for number, those in enumerate(items, 1)}


def _account(account: Account) -> dict[str, Any]:
    return {
        "account_id": account.id,
        "balance": account.balance,
        "held_credits": sum(account.holds.values()),
        "available_credits": account.available,
    }
