"""Anything, in any order: the log keeps its invariants, and every run comes to its end."""

import random
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from events.commands import (
    ApprovalRequested,
    BatchTimedOut,
    CancelRequested,
    ChangesRequested,
    ConfigUpdateRequested,
    PauseRequested,
    ResumeRequested,
    RunRequested,
    TimerElapsed,
)
from events.config import ConfigChanges
from events.envelope import Envelope
from events.message import Message
from events.run import RunStarted, StageBatchRequested, StageStarted, TimerSet
from events.site import ItemsMoved
from services.invariants import ACTIVE, Audit
from tests.builders import (
    Scene,
    answer,
    cluster_ids,
    failure,
    report,
    returned,
    stage_report,
)

SITES = ("site-a", "site-b")
WAYS = ("done", "done", "done", "dear", "partly", "failed", "returned")


class Anything(RuleBasedStateMachine):
    """One account with two sites; whatever clients, workers and the scheduler may say."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene()
        self.audit = Audit()
        self.position = 0
        self.runs: dict[str, Envelope] = {}
        self.requests: list[Envelope] = []
        self.timers: list[Envelope] = []
        self.clusters: dict[str, str] = {}
        self.reviewed: list[tuple[str, str]] = []
        self.sent: list[Envelope] = []

    @initialize(
        amount=st.sampled_from([15, 40, 1000]),
        parallel=st.sampled_from([1, 1, 3]),
        size=st.sampled_from([1, 2]),
        delay=st.sampled_from([0, 0, 3]),
    )
    def furnish(self, amount: int, parallel: int, size: int, delay: int) -> None:
        self.scene.furnish(
            amount,
            SITES,
            max_parallel_batches=parallel,
            stage_1_batch_size=size,
            stage_2_batch_size=size,
            stage_4_batch_size=size,
            within_stage_delay=delay,
            between_stage_delay=delay,
        )
        self.read()

    # --- what is said

    def say(self, envelope: Envelope) -> None:
        self.sent.append(envelope)
        self.scene.handle(envelope)
        self.read()

    def command(self, message: Message, site: str, run: str | None) -> None:
        self.say(self.scene.envelope(message, site=site, run=run))

    def read(self) -> None:
        for stored in self.scene.store.stored(self.position):
            self.audit.see(stored)
            self.position = stored.placed.position
            envelope = stored.placed.envelope
            match envelope.message:
                case RunStarted():
                    self.runs[envelope.run_id or ""] = envelope
                case StageStarted(stage=1, items=items):
                    self.clusters |= cluster_ids(envelope.run_id or "", items)
                case StageBatchRequested():
                    self.requests.append(envelope)
                case TimerSet():
                    self.timers.append(envelope)
                case ItemsMoved(stage=7, done=done):
                    self.reviewed += [(envelope.site_id or "", draft) for draft in done]

    @rule(site=st.sampled_from(SITES), number=st.integers(1, 4))
    def submit(self, site: str, number: int) -> None:
        self.scene.sent += 1
        self.scene.submit(*(f"k{self.scene.sent}.{one}" for one in range(number)), site=site)
        self.read()

    @rule(site=st.sampled_from(SITES))
    def start(self, site: str) -> None:
        self.command(RunRequested(), site, None)

    @rule(
        pick=st.integers(0, 3),
        message=st.sampled_from(
            [PauseRequested(), ResumeRequested(), ResumeRequested(), CancelRequested()]
        ),
    )
    def steer(self, pick: int, message: Message) -> None:
        if self.runs:
            run_id, started = list(self.runs.items())[-1 - pick % len(self.runs)]
            self.command(message, started.site_id or "", run_id)

    @rule(pick=st.integers(0, 3))
    def retry(self, pick: int) -> None:
        if self.runs:
            run_id, begun = list(self.runs.items())[-1 - pick % len(self.runs)]
            self.command(RunRequested(retry_of=run_id), begun.site_id or "", None)

    @rule(pick=st.integers(0, 3), back=st.sampled_from([True, True, False]))
    def review(self, pick: int, back: bool) -> None:  # noqa: FBT001  # drawn, not passed
        if self.reviewed:
            site, draft = self.reviewed[-1 - pick % len(self.reviewed)]
            no, yes = ChangesRequested(content_id=draft, note="n"), ApprovalRequested
            self.command(no if back else yes(content_id=draft), site, None)

    @rule(amount=st.integers(1, 20))
    def top_up(self, amount: int) -> None:
        self.scene.grant(amount)
        self.read()

    @rule(site=st.sampled_from(SITES), parallel=st.integers(1, 3), size=st.integers(1, 3))
    def change_config(self, site: str, parallel: int, size: int) -> None:
        changes = ConfigChanges(max_parallel_batches=parallel, stage_2_batch_size=size)
        self.command(ConfigUpdateRequested(changes=changes), site, None)

    @rule(pick=st.integers(0, 5), way=st.sampled_from(WAYS))
    def work(self, pick: int, way: str) -> None:
        """A worker answers one of the last requests, also one that is answered already."""
        if self.requests:
            self.answer(self.requests[-1 - pick % len(self.requests)], way)

    def answer(self, request: Envelope, way: str) -> None:
        asked = request.message
        assert isinstance(asked, StageBatchRequested)
        how: dict[str, Any] = {"clusters": self.clusters} if asked.stage == 1 else {}
        match way:
            case "failed":
                said: Message = failure(asked, cost=len(asked.items))
            case "returned":
                said = returned(asked)
            case "dear":
                said = report(asked, cost=9, **how)
            case "partly":
                said = report(asked, failing=asked.items[1:], **how)
            case _:
                said = report(asked, **how)
        self.say(answer(request, said, self.scene.now))

    @rule(pick=st.integers(0, 3))
    def report_stage(self, pick: int) -> None:
        if self.requests:
            self.tell_stage(self.requests[-1 - pick % len(self.requests)])

    def tell_stage(self, request: Envelope) -> None:
        assert isinstance(request.message, StageBatchRequested)
        if request.message.last:
            self.say(answer(request, stage_report(request.message), self.scene.now))

    @rule(pick=st.integers(0, 3))
    def stay_silent(self, pick: int) -> None:
        if self.requests:
            self.time_out(self.requests[-1 - pick % len(self.requests)])

    def time_out(self, request: Envelope) -> None:
        asked = request.message
        assert isinstance(asked, StageBatchRequested)
        message = BatchTimedOut(stage=asked.stage, batch_id=asked.batch_id, attempt=asked.attempt)
        self.command(message, request.site_id or "", request.run_id)

    @rule(pick=st.integers(0, 2))
    def elapse(self, pick: int) -> None:
        if self.timers:
            self.fire(self.timers[-1 - pick % len(self.timers)])

    def fire(self, timer: Envelope) -> None:
        assert isinstance(timer.message, TimerSet)
        self.scene.now += timedelta(seconds=5)
        message = TimerElapsed(timer_id=timer.message.timer_id)
        self.command(message, timer.site_id or "", timer.run_id)

    @rule(pick=st.integers(0, 50))
    def say_again(self, pick: int) -> None:
        """What comes twice has its outcome, and leaves nothing in the log."""
        if self.sent:
            before = self.scene.last_position
            assert self.scene.handle(self.sent[pick % len(self.sent)]) == []
            assert self.scene.last_position == before

    @rule()
    def restart(self) -> None:
        self.scene.handler = self.scene.restarted()

    # --- what holds

    @invariant()
    def the_log_is_as_promised(self) -> None:
        assert self.audit.found == []

    def teardown(self) -> None:
        """Faults stop: every run comes to its end, and no credits stay held."""
        chance = random.Random(0)
        for _ in range(400):
            active = [name for name, run in self.audit.runs.items() if run.status in ACTIVE]
            flying = [
                request
                for request in self.requests
                if self.audit.runs[request.run_id or ""].asked[request.message.batch_id].is_open
            ]
            if not active and not flying:
                break
            for run_id in active:
                run = self.audit.runs[run_id]
                if run.status == "paused":
                    self.scene.grant(1000)
                    self.command(ResumeRequested(), run.site, run_id)
                for timer in [one for one in self.timers if one.run_id == run_id][-1:]:
                    self.fire(timer)
            for request in flying[-3:]:
                self.answer(request, chance.choice(WAYS))
                self.tell_stage(request)
            for run_id in active:  # a stage's own report was lost: the watchdog makes up for it
                for request in [one for one in self.requests if one.run_id == run_id][-1:]:
                    if request not in flying:
                        self.time_out(request)
        else:
            raise AssertionError(f"still active are {active}, in flight {flying}")
        assert self.audit.end() == []
        assert [account.holds.total() for account in self.audit.accounts.values()] in ([0], [])


Anything.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestAnything = Anything.TestCase
