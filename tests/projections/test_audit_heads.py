"""The head that a tenant is told: the newest of its site, after a refold as before it."""

from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from projections import audit_heads, runs
from projections.database import create_tables, open_engine, reading, writing
from projections.projector import project
from projections.rebuild import differences
from tests.builders import ACCOUNT, SITE
from tests.projections.tables import Told, again
from tests.whole_runs import chained, whole_run


def opened(folder: Path) -> sa.Engine:
    engine = open_engine(f"sqlite:///{folder / 'read-model.db'}")
    create_tables(engine)
    return engine


def nobody(_: object, reason: str) -> None:
    raise AssertionError(reason)


def head_of(engine: sa.Engine, key: str, account: str = ACCOUNT) -> tuple[int, str] | None:
    with reading(engine) as tx:
        row = audit_heads.find(tx, account, key)
    return None if row is None else (row.position, row.head)


def test_the_newest_head_of_each_key_is_kept_and_told_to_its_account_alone(tmp_path: Path) -> None:
    engine, log = opened(tmp_path), chained(whole_run().store)
    for start in range(0, len(log), 7):
        project(engine, log[start : start + 7], nobody)
    for key in (SITE, ACCOUNT):
        newest = [one for one in log if one.key == key][-1]
        assert newest.head is not None
        assert head_of(engine, key) == (newest.position, newest.head.chain.hex())
    assert head_of(engine, SITE, "account-b") is None
    engine.dispose()


def test_a_refold_leaves_what_the_relay_has_said(tmp_path: Path) -> None:
    engine, store = opened(tmp_path), whole_run().store
    project(engine, chained(store), nobody)
    told = head_of(engine, SITE)
    assert told is not None
    with writing(engine) as tx:
        tx.execute(sa.delete(runs.runs))
    assert again(engine, Told(list(store.placed()))).switched
    assert head_of(engine, SITE) == told
    assert differences(engine, store.placed()) == []
    engine.dispose()


def test_an_event_without_a_head_leaves_the_one_before(tmp_path: Path) -> None:
    engine, store = opened(tmp_path), whole_run().store
    *before, last = [one for one in chained(store) if one.key == SITE]
    project(engine, before, nobody)
    told = head_of(engine, SITE)
    project(engine, [replace(last, head=None)], nobody)
    assert head_of(engine, SITE) == told
    engine.dispose()
