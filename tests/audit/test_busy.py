"""A system at work: what goes on while the copies are compared is no difference."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa

from events.commands import RunRequested
from events.run import StageBatchRequested
from events.topics import Placed
from projections.database import open_engine
from projections.ledger import ledger
from projections.projector import project
from services.audit import log, verify
from services.orchestrator.store import open_store
from services.places import read_model_url
from tests.audit.conftest import Copies
from tests.builders import RUN, SITE, Scene, answer, report


@dataclass
class Busy:
    """A run that goes on a batch at a time, as far as the relay and the projector keep up."""

    copies: Copies
    scene: Scene
    engine: Any
    behind: list[Placed] = field(default_factory=list)

    def work(self) -> None:
        """Let one batch be reported, the next be asked for, and credits come in."""
        before = self.scene.last_position
        request = next(self.scene.open_requests())
        assert isinstance(request.message, StageBatchRequested)
        said = report(request.message)
        self.scene.handle(answer(request, said, self.scene.now))
        self.scene.grant(7)
        self.behind += self.scene.store.placed(before)

    def relay(self) -> None:
        self.copies.link()

    def project(self) -> None:
        """Bring the tables up to date."""
        project(self.engine, self.behind, lambda _, reason: pytest.fail(reason))
        self.behind.clear()

    def go_on(self) -> None:
        self.work()
        self.relay()
        self.project()


@pytest.fixture
def busy(copies: Copies) -> Iterator[Busy]:
    store = open_store(copies.settings)
    scene = Scene(store)
    scene.sent = 1_000  # those below are the whole run's
    before = scene.last_position
    scene.grant(10_000)
    scene.submit(*(f"word {number}" for number in range(200)))
    scene.send(RunRequested(), site=SITE, run=f"{RUN}-2")
    engine = open_engine(read_model_url(copies.settings))
    one = Busy(copies, scene, engine, list(store.placed(before)))
    one.relay()
    one.project()
    yield one
    engine.dispose()
    store.close()


def test_what_goes_on_after_the_log_was_read_is_no_difference(
    busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_log = log.read_log

    def read(*given: Any, **how: Any) -> log.Log:
        found = read_log(*given, **how)
        busy.go_on()
        return found

    monkeypatch.setattr(verify, "read_log", read)
    assert busy.copies.found() == []
    assert busy.copies.found("read-model") == busy.copies.found("ledger") == []


def test_a_read_model_that_comes_after_while_the_log_grows_agrees(
    busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        busy.relay()
        busy.project()
        busy.work()  # at every look something is behind

    monkeypatch.setattr(verify, "SETTLE_WITHIN", 60)
    monkeypatch.setattr(time, "sleep", sleep)
    busy.work()
    assert busy.copies.found() == []
    assert 1 <= len(slept) <= 3


def test_what_never_comes_stays_a_difference_however_much_follows(busy: Busy) -> None:
    busy.work()
    busy.behind.clear()
    busy.relay()
    busy.work()
    busy.behind[:] = [one for one in busy.behind if one.key != SITE]
    busy.project()
    found = busy.copies.found("read-model", "ledger")
    assert [line for line in found if line.startswith("read-model: ")]
    assert [line for line in found if line.startswith("ledger: ")]


def test_a_row_beyond_the_end_of_the_store_is_none_that_came_later(busy: Busy) -> None:
    with busy.engine.begin() as tx:
        row = dict(tx.execute(sa.select(ledger).where(ledger.c.type == "grant")).mappings().first())
        forged = {**row, "id": "msg-forged", "position": row["position"] + 1_000_000, "amount": 5}
        tx.execute(sa.insert(ledger).values(forged))
    busy.copies.sql("accounts", "UPDATE accounts SET balance = balance + 5")
    found = busy.copies.found("ledger")
    assert [line for line in found if "its ledger's rows sum up to" in line]
