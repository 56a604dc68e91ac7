"""What every event store promises: in memory, SQLite, and PostgreSQL where there is one."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event as Flag
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from events.commands import RunRequested
from events.envelope import Envelope, encode
from events.message import wire_name
from events.receipts import MessageAccepted
from events.run import RunPaused, RunResumed
from services.orchestrator.handler import Handler
from services.orchestrator.store import Recorded, StaleWriter, Store, migrate, open_store
from services.places import store_environment
from services.settings import Settings
from tests.builders import AT, IN_MEMORY, SITE, Scene

DATABASE = os.environ.get("SEPTET_TEST_DATABASE_URL", "")  # a test's own switch
KINDS = ["memory", "sqlite", *(["postgres"] if DATABASE else [])]


def settings_of(folder: Path, url: str = "") -> Settings:
    return Settings(_env_file=None, data_dir=folder, database_url=SecretStr(url))


@pytest.fixture
def postgres() -> Iterator[str]:
    """A schema of its own in the database that the environment names."""
    schema = f"test_{uuid4().hex}"  # no message's id follows from it
    with psycopg.connect(DATABASE, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {schema}")
    yield DATABASE.rsplit("/", 1)[0] + f"/{schema}"
    with psycopg.connect(DATABASE, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {schema} WITH (FORCE)")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield Store(IN_MEMORY)
        return
    url = request.getfixturevalue("postgres") if request.param == "postgres" else ""
    settings = settings_of(tmp_path, url)
    migrate(settings)
    opened = open_store(settings)
    yield opened
    opened.close()


def recorded(stream: str, version: int, id_: str = "") -> Recorded:
    message = RunPaused() if version % 2 else RunResumed()
    id_ = id_ or f"msg-{stream}-{version}"
    envelope = Envelope(
        id=id_, account_id="account-a", site_id=SITE, at=AT, cause=id_, message=message
    )
    return Recorded(stream, version, envelope)


def test_what_was_appended_is_read_in_order(store: Store) -> None:
    events = [recorded("run-a", version) for version in (1, 2, 3)]
    store.append(events[:2])
    store.append(events[2:])
    assert store.read("run-a") == events
    assert store.read("run-a", after=2) == events[2:]
    assert store.read("run-x") == []


def test_an_append_reaches_all_its_streams_or_none(store: Store) -> None:
    store.append([recorded("run-a", 1)])
    with pytest.raises(StaleWriter):
        store.append([recorded("site-a", 1), recorded("account-a", 1), recorded("run-a", 1)])
    assert (store.read("site-a"), store.read("account-a")) == ([], [])
    assert len(list(store.stored())) == 1


def test_after_a_stale_append_the_store_takes_the_next_one(store: Store) -> None:
    store.append([recorded("run-a", 1)])
    for _ in range(3):
        with pytest.raises(StaleWriter):
            store.append([recorded("run-a", 1)])
    store.append([recorded("run-a", 2)])
    assert [one.originator_version for one in store.read("run-a")] == [1, 2]


def test_a_message_has_one_receipt(store: Store) -> None:
    receipt = recorded("x", 1).envelope.model_copy(
        update={"message": MessageAccepted(kind="PauseRequested")}
    )
    store.append([Recorded("receipt-cmd-1", 1, receipt)])
    with pytest.raises(StaleWriter):
        store.append([recorded("run-a", 1), Recorded("receipt-cmd-1", 1, receipt)])
    assert store.read("run-a") == []


def test_positions_rise_in_the_order_of_appends(store: Store) -> None:
    for version in range(1, 6):
        store.append([recorded("run-a", version), recorded("site-a", version)])
    stored = list(store.stored())
    positions = [one.placed.position for one in stored]
    assert positions == sorted(set(positions))
    assert [(one.stream, one.version) for one in stored] == [
        (stream, version) for version in range(1, 6) for stream in ("run-a", "site-a")
    ]


def test_what_is_stored_are_the_bytes_that_are_published(store: Store) -> None:
    one = recorded("run-a", 1)
    store.append([one])
    (stored,) = store.stored()
    assert stored.body == encode(one.envelope)
    assert stored.name == wire_name(one.envelope.message)
    assert stored.placed.envelope == one.envelope


@pytest.mark.parametrize("store", [kind for kind in KINDS if kind != "memory"], indirect=True)
def test_what_is_written_is_what_is_stored_beyond_a_position(store: Store) -> None:
    assert (store.newest(), list(store.written())) == (0, [])
    for version in range(1, 4):
        store.append([recorded("run-a", version), recorded("site-a", version)])
    stored = [(one.placed.position, one.name, one.body) for one in store.stored()]
    assert list(store.written()) == stored
    assert list(store.written(stored[2][0])) == stored[3:]
    assert store.newest() == stored[-1][0]


def test_pages_follow_each_other_without_a_gap(store: Store) -> None:
    store.append([recorded("run-a", version) for version in range(1, 12)])
    versions, after = list[int](), 0
    while page := store.page(after, limit=3):
        assert len(page) <= 3
        versions += [one.version for one in page]
        after = page[-1].placed.position
    assert versions == list(range(1, 12))


def test_a_reader_that_follows_misses_nothing_that_four_writers_append(store: Store) -> None:
    each, finished, seen = 40, Flag(), list[tuple[str, int]]()

    def write(writer: int) -> None:
        for version in range(1, each + 1):
            store.append([recorded(f"run-{writer}", version), recorded(f"site-{writer}", version)])

    def follow() -> None:
        after = 0
        while True:
            last = finished.is_set()
            while page := store.page(after, limit=7):
                seen.extend((one.stream, one.version) for one in page)
                after = page[-1].placed.position
            if last:
                return

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(follow)
        for writer in [pool.submit(write, number) for number in range(4)]:
            writer.result()
        finished.set()
        reader.result()
    assert len(seen) == len(set(seen)) == 4 * 2 * each
    for stream in {stream for stream, _ in seen}:
        assert [version for name, version in seen if name == stream] == list(range(1, each + 1))


def test_of_writers_that_race_for_a_version_one_wins(store: Store) -> None:
    def attempt(writer: int) -> bool:
        try:
            store.append([recorded("run-a", 1, id_=f"msg-{writer}")])
        except StaleWriter:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    assert len(store.read("run-a")) == 1


def test_each_reader_has_its_own_place_and_it_only_rises(store: Store) -> None:
    assert store.position_of("relay:1") == 0
    store.append([recorded("run-a", version) for version in range(1, 4)])
    store.track("relay:1", 2)
    store.track("relay:1", 1)
    assert (store.position_of("relay:1"), store.position_of("relay:2")) == (2, 0)


def test_receipts_of_machines_are_not_placed(store: Store) -> None:
    for number, kind in enumerate(["StageBatchCompleted", "RunRequested"]):
        message = MessageAccepted(kind=kind)
        envelope = recorded("x", number).envelope.model_copy(update={"message": message})
        store.append([Recorded(f"receipt-{number}", 1, envelope)])
    assert [one.envelope.message for one in store.placed()] == [
        MessageAccepted(kind="RunRequested")
    ]


def test_migrating_twice_does_no_harm(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    migrate(settings)
    store = open_store(settings)
    store.append([recorded("run-a", 1)])
    store.close()
    migrate(settings)
    store = open_store(settings)
    assert len(store.read("run-a")) == 1
    store.close()


def test_what_was_appended_is_there_after_a_restart(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    migrate(settings)
    for version in (1, 2):
        store = open_store(settings)
        store.append([recorded("run-a", version)])
        store.close()
    again = open_store(settings)
    assert [one.originator_version for one in again.read("run-a")] == [1, 2]
    again.close()


def start_runs(environment: dict[str, str], worker: int, count: int) -> None:
    """One of the processes that ask for runs of the same site at once."""
    store = Store(environment)
    handler = Handler(store, lambda: AT, 600)
    scene = Scene(store)
    for number in range(count):
        handler.handle([scene.envelope(RunRequested(), id_=f"cmd-{worker}-{number}")])
    store.close()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_of_runs_that_four_processes_ask_for_at_once_one_starts(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres") if kind == "postgres" else ""
    settings = settings_of(tmp_path, url)
    migrate(settings)
    store = open_store(settings)
    Scene(store).furnish().submit("k1", "k2")
    context, environment = multiprocessing.get_context("spawn"), store_environment(settings)
    processes = [
        context.Process(target=start_runs, args=(environment, worker, 5)) for worker in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    names = [one.placed.envelope.message.TYPE for one in store.stored()]
    assert (names.count("RunStarted"), names.count("SiteOccupied")) == (1, 1)
    assert names.count("RunRefused") == 19
    store.close()


@pytest.mark.parametrize("store", [kind for kind in KINDS if kind != "memory"], indirect=True)
def test_rows_are_read_as_they_lie_there(store: Store) -> None:
    store.append([recorded(f"run-{name}", version) for version in range(1, 5) for name in "ab"])
    whole = [
        (one.placed.position, one.stream, one.version, one.name, one.body) for one in store.stored()
    ]
    assert [*store.raw(limit=3), *store.raw(after=whole[2][0])] == whole
    assert store.raw_stream("run-b") == [one for one in whole if one[1] == "run-b"]
    assert store.raw_stream("run-b", after=2, limit=1) == [one for one in whole if one[2] == 3][1:]
    assert store.raw(about="msg-run-a-3") == [one for one in whole if b"msg-run-a-3" in one[4]]
    assert store.newest() == whole[-1][0]
