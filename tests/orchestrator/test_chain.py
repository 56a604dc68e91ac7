"""The chain: what it covers, what the relay records of it, and what shows when the past changes."""

import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from events.chain import NOTHING, Head, digest_of, extend, first, head_in, link
from events.reading import read_placed
from events.topics import RUN_EVENTS, is_published, published
from projections import audit_heads
from projections.audit_heads import HeadRow
from projections.database import create_tables, open_engine, reading
from services.cli.refold import refold
from services.orchestrator import chain as chains
from services.orchestrator.chain import Chain, open_chain
from services.orchestrator.store import Stored, migrate, open_store
from services.places import read_model_url
from services.settings import Settings
from tests.builders import ACCOUNT, SITE
from tests.whole_runs import whole_run

DATABASE = os.environ.get("SEPTET_TEST_DATABASE_URL", "")  # a test's own switch
KINDS = ["sqlite", *(["postgres"] if DATABASE else [])]
LOG = whole_run().log()
AT_ONCE = 7


@pytest.fixture(params=KINDS)
def chain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Chain]:
    if request.param == "sqlite":
        yield from _opened(Settings(_env_file=None, data_dir=tmp_path))
        return
    name = f"test_{uuid4().hex}"
    with psycopg.connect(DATABASE, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        url = SecretStr(DATABASE.rsplit("/", 1)[0] + f"/{name}")
        yield from _opened(Settings(_env_file=None, data_dir=tmp_path, database_url=url))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _opened(settings: Settings) -> Iterator[Chain]:
    chains.migrate(settings)
    chains.migrate(settings)
    opened = open_chain(settings)
    opened.begin()
    yield opened
    opened.close()


def relay(chain: Chain, log: list[Stored]) -> dict[int, Head]:
    """Read a log as the relay does, page by page, and return what it would publish."""
    chain.begin()
    said, after = dict[int, Head](), 0
    for start in range(0, len(log), AT_ONCE):
        page = log[start : start + AT_ONCE]
        said |= chain.extend(page, after)
        after = page[-1].placed.position
    return said


def altered(log: list[Stored], number: int) -> list[Stored]:
    one = log[number]
    return [*log[:number], replace(one, body=one.body.replace(b"a", b"b", 1)), *log[number + 1 :]]


def followed(log: list[Stored], said: dict[int, Head]) -> dict[str, bytes]:
    """Follow the chains as a subscriber does who sees only what is published."""
    heads = dict[str, bytes]()
    for stored in log:
        if not is_published(stored.placed.envelope.message):
            continue
        public, *_ = published(
            replace(stored.placed, head=said[stored.placed.position]), stored.name, stored.body
        )
        key, name, chain = stored.placed.key, public.header("ce_type"), public.header("ce_chain")
        assert name is not None
        assert chain is not None
        assert public.value is not None
        unseen = bytes.fromhex(public.header("ce_chainunseen") or "") or NOTHING
        before = heads.get(key) or first(key).chain
        assert link(before, unseen, digest_of(name, public.value)).hex() == chain
        heads[key] = bytes.fromhex(chain)
    return heads


def test_a_link_is_sha_256_of_what_came_before_the_name_and_the_body() -> None:
    start = hashlib.sha256(b"septet.chain.v1\nsite-a").digest()
    assert first("site-a") == Head(start)
    body = b'{"id":"msg-1"}'
    digest = hashlib.sha256(b"\0\0\0\x04name" + body).digest()
    assert digest_of("name", body) == digest
    by_hand = hashlib.sha256(start + bytes(32) + digest).digest()
    assert extend(first("site-a"), digest, shown=True) == Head(by_hand)
    hidden = hashlib.sha256(bytes(64) + digest).digest()
    assert extend(first("site-a"), digest, shown=False) == Head(start, hidden)


def test_no_two_events_are_framed_alike() -> None:
    assert digest_of("ab", b"c") != digest_of("a", b"bc")
    assert first("site-a") != first("site-b")


def test_what_headers_say_that_is_no_hash_says_nothing() -> None:
    assert head_in(None, None) is None
    assert head_in("f" * 63, None) is None
    assert head_in("F" * 64, None) is None
    assert head_in("f" * 64, "x") == Head(b"\xff" * 32)


def test_whoever_sees_only_what_is_published_can_follow_every_link(chain: Chain) -> None:
    said = relay(chain, LOG)
    heads = followed(LOG, said)
    assert heads == {one.key: one.head.chain for one in chain.newest()}
    assert any(head.unseen != NOTHING for head in said.values())
    assert any(not is_published(one.placed.envelope.message) for one in LOG)


def test_a_record_says_its_place_and_is_read_with_it(chain: Chain) -> None:
    said = relay(chain, LOG)
    one = LOG[0]
    head = said[one.placed.position]
    public, *requests = published(replace(one.placed, head=head), one.name, one.body)
    assert public.topic == RUN_EVENTS
    assert read_placed(public).head == head
    assert all(request.header("ce_chain") is None for request in requests)


def test_reading_the_store_again_says_the_same_and_records_nothing_new(
    chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    said = relay(chain, LOG)
    recorded = chain.within(0, LOG[-1].placed.position)
    assert relay(chain, LOG) == said
    assert chain.within(0, LOG[-1].placed.position) == recorded
    assert [one.position for one in recorded] == [one.placed.position for one in LOG]
    assert caplog.records == []


def test_it_goes_on_from_where_it_was_in_any_page(chain: Chain) -> None:
    for number, one in enumerate(LOG):
        chain.begin()
        chain.extend([one], LOG[number - 1].placed.position if number else 0)
    steps = chain.within(0, LOG[-1].placed.position)
    whole = {position: head.chain for position, head in relay(chain, LOG).items()}
    assert {one.position: one.head.chain for one in steps if one.shown} == whole


@pytest.mark.parametrize("change", ["altered", "gone", "put in"])
def test_an_altered_past_is_told_once_and_the_recorded_heads_stay(
    chain: Chain, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    number = len(LOG) // 2
    position = LOG[number].placed.position
    before = [*LOG[:number], *LOG[number + 1 :]] if change == "put in" else LOG
    after = {
        "altered": altered(LOG, number),
        "gone": [*LOG[:number], *LOG[number + 1 :]],
        "put in": LOG,
    }[change]
    said = relay(chain, before)
    recorded = chain.within(0, LOG[-1].placed.position)
    assert caplog.records == []
    again = relay(chain, after)
    assert chain.within(0, LOG[-1].placed.position) == recorded
    (told,) = caplog.records
    assert (told.levelno, told.message) == (logging.ERROR, "the store was altered")
    assert (getattr(told, "position", None), getattr(told, "key", None)) == (
        position,
        LOG[number].placed.key,
    )
    assert {at: head for at, head in again.items() if at != position} == {
        at: head for at, head in said.items() if at != position
    }


def test_a_store_that_had_no_chain_is_refolded_with_the_heads_that_the_relay_says(
    tmp_path: Path,
) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)
    migrate(settings)
    chains.migrate(settings)
    store, chain = open_store(settings), open_chain(settings)
    log = whole_run(store).log()
    said = relay(chain, log)
    engine = open_engine(read_model_url(settings))
    create_tables(engine)
    refold(settings, engine, store, lambda _, reason: pytest.fail(reason))
    for key in (SITE, ACCOUNT):
        newest = [
            one.placed
            for one in log
            if one.placed.key == key and is_published(one.placed.envelope.message)
        ][-1]
        with reading(engine) as tx:
            row = audit_heads.find(tx, ACCOUNT, key)
        assert row == HeadRow(
            key=key, position=newest.position, head=said[newest.position].chain.hex()
        )
    engine.dispose()
    store.close()
    chain.close()


def test_heads_lie_beside_the_store_so_appends_never_wait_for_them(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)
    migrate(settings)
    chains.migrate(settings)
    holder = sqlite3.connect(tmp_path / "chain.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    store: Any = open_store(settings)
    assert whole_run(store).log()
    store.close()
    holder.close()
