"""The benchmark's log is one that the rules could have made; its rebuild makes the same rows."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from benchmarks import multiplied as replayed
from benchmarks.multiplied import multiplied, one_account
from benchmarks.replay import insert
from projections import parts
from projections.database import create_tables, open_engine
from projections.projector import project
from projections.rebuild import rebuild
from services.invariants import violations
from services.orchestrator.store import Store, migrate, open_store
from services.settings import Settings
from tests.projections.tables import dump, folder_of, nothing_set_aside

ACCOUNTS = 3


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(replayed, "AT_ONCE", 1)  # so that a short log has whole runs
    settings = Settings(data_dir=tmp_path, database_url=SecretStr(""))
    migrate(settings)
    insert(settings, multiplied(one_account(900), ACCOUNTS))
    with closing(open_store(settings)) as opened:
        yield opened


def test_a_multiplied_log_is_as_promised(store: Store) -> None:
    assert violations(store.stored()) == []
    owners = [one.placed.envelope.account_id for one in store.stored()]
    assert len(set(owners)) == ACCOUNTS
    assert len({owners.count(owner) for owner in owners}) == 1
    assert len({one.placed.envelope.id for one in store.stored()}) == len(owners)
    types = {one.placed.envelope.message.TYPE for one in store.stored()}
    assert {"RunCompleted", "RunPaused", "ContentApproved", "ItemsMoved"} <= types


def test_several_processes_fold_it_as_one_by_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SPREAD_FROM", 0)
    singly, together = (
        open_engine(f"sqlite:///{tmp_path / name}.db", disposable=name == "singly")
        for name in ("singly", "together")
    )
    for engine in (singly, together):
        create_tables(engine)
    for placed in store.placed():
        project(singly, [placed], nothing_set_aside)
    assert rebuild(together, store, folder_of(together), nothing_set_aside).switched
    assert dump(together) == dump(singly)
    assert len(dump(together)["run_events"]) == sum(1 for _ in store.placed())
    for engine in (singly, together):
        engine.dispose()
