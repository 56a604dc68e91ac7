"""What becomes of a command bears a trace: the caller's, or one that is always the same."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from events.commands import (
    KeywordsSubmitted,
    PauseRequested,
    ResumeRequested,
    RunRequested,
    TimerElapsed,
)
from events.content import NewKeyword
from events.envelope import Envelope, encode
from events.message import Message
from events.reading import read
from events.run import RunPaused, StageBatchRequested, TimerFired, TimerSet
from events.topics import (
    RUN_EVENTS,
    STAGE_REPORTS,
    Placed,
    Record,
    command_record,
    published,
    report_record,
)
from events.trace import is_trace, trace_of
from tests.builders import RUN, Scene, answer, report, stage_report
from tests.orchestrator.test_consumer import body_with, changed

MINE, OTHER = f"00-{'a' * 32}-{'b' * 16}-01", f"00-{'c' * 32}-{'d' * 16}-00"


class Wire:
    """An orchestrator that hears and says nothing but records; `sent` are all but its own."""

    def __init__(self) -> None:
        self.scene = Scene().furnish(
            stage_1_batch_size=1, within_stage_delay=3, between_stage_delay=5
        )
        self.scene.submit("k1", "k2")
        self.sent = list[Record]()

    def command(self, message: Message, run: str | None = RUN, id_: str = "") -> Record:
        return command_record(self.scene.envelope(message, run=run, id_=id_))

    def hear(self, record: Record) -> None:
        self.sent.append(record)
        self.scene.handle(read(record))

    def published(self) -> list[Record]:
        return [
            record
            for one in self.scene.log()
            for record in published(one.placed, one.name, one.body)
        ]

    def go_on(self) -> bool:
        """Answer a request, else have a timer elapse; return whether there was any."""
        for request in self.requests():
            asked = request.message
            assert isinstance(asked, StageBatchRequested)
            said = [report(asked), *([stage_report(asked)] if asked.last else [])]
            for one in said:
                self.hear(report_record(answer(request, one, self.scene.now)))
            return True
        for timer in self.timers():
            self.hear(self.command(TimerElapsed(timer_id=timer)))
            return True
        return False

    def requests(self) -> Iterator[Envelope]:
        open_ = {one.id for one in self.scene.open_requests()}
        to_stages = (one for one in self.published() if one.topic != RUN_EVENTS)
        yield from (one for one in map(read, to_stages) if one.id in open_)

    def timers(self) -> list[str]:
        events = self.scene.stream(RUN)
        fired = {event.timer_id for event in events if isinstance(event, TimerFired)}
        set_ = [event.timer_id for event in events if isinstance(event, TimerSet)]
        return [timer for timer in set_ if timer not in fired]


def whole_run(**of_the_caller: str | None) -> Wire:
    """Play a run to its end, with a pause and a resume between two batches of stage 1."""
    wire = Wire()
    begin = wire.command(RunRequested())
    header, body = of_the_caller.get("header"), of_the_caller.get("body")
    begin = changed(begin, "traceparent", header.encode() if header else None)
    wire.hear(replace(begin, value=body_with(begin, traceparent=body)))
    wire.go_on()
    wire.hear(wire.command(PauseRequested()))
    wire.hear(wire.command(ResumeRequested()))
    while wire.go_on():
        pass
    assert wire.scene.stream(RUN)[-1].TYPE == "RunCompleted"
    return wire


def traces(records: list[Record]) -> set[str | None]:
    return {record.header("traceparent") for record in records}


@pytest.mark.parametrize(
    ("said", "followed"),
    [
        ({}, trace_of(RUN)),
        ({"header": MINE}, MINE),
        ({"body": MINE}, MINE),
        ({"header": OTHER, "body": MINE}, MINE),
        ({"header": "garbage", "body": "garbage"}, trace_of(RUN)),
        ({"body": f"00-{'0' * 32}-{'b' * 16}-01"}, trace_of(RUN)),
    ],
)
def test_all_that_a_run_says_bears_the_trace_that_it_began_with(
    said: dict[str, str], followed: str
) -> None:
    wire = whole_run(**said)
    of_run = [record for record in wire.published() if read(record).run_id == RUN]
    assert len(of_run) > 80
    assert {record.topic for record in of_run} >= {"septet.stage-1", "septet.stage-7", RUN_EVENTS}
    reports = [record for record in wire.sent if record.topic == STAGE_REPORTS]
    assert traces(of_run) == traces(reports) == {followed}
    assert all(read(record).traceparent == followed for record in of_run)


def test_every_record_has_a_trace_and_has_it_again_when_it_is_published_again() -> None:
    wire = whole_run()
    once, said = wire.published(), wire.sent[1:]  # the first is somebody else's, without the header
    assert all(is_trace(record.header("traceparent")) for record in (*once, *said))
    assert once == wire.published()


def test_what_was_stored_without_a_trace_is_published_with_that_of_its_run_or_its_cause() -> None:
    scene = Scene()
    for whom in ({"run": RUN, "id_": "msg-1"}, {"run": None, "id_": "msg-2"}):
        stored = scene.envelope(RunPaused(), **whom)
        body = encode(stored)
        (record,) = published(Placed(1, stored), "septet.RunPaused.v1", body)
        assert record.header("traceparent") == trace_of(whom["run"] or "msg-2")
        assert record.value == body
        assert read(record).traceparent is None  # only the header stands in


def test_who_pauses_with_a_trace_finds_what_came_of_it_under_it() -> None:
    wire = Wire()
    wire.hear(wire.command(RunRequested()))
    wire.hear(changed(wire.command(PauseRequested(), id_="cmd-9"), "traceparent", OTHER.encode()))
    came = [record for record in wire.published() if read(record).cause == "cmd-9"]
    assert [read(record).message.TYPE for record in came] == ["RunPaused", "MessageAccepted"]
    assert traces(came) == {OTHER}


def test_a_command_for_a_site_and_its_outcome_share_a_trace() -> None:
    wire = Wire()
    command = wire.command(KeywordsSubmitted(keywords=(NewKeyword(keyword="k9"),)), None, "cmd-9")
    wire.hear(command)
    came = [record for record in wire.published() if read(record).cause == "cmd-9"]
    assert len(came) == 2
    assert traces([command, *came]) == {trace_of("cmd-9")}


def test_no_account_learns_the_trace_of_anothers_run() -> None:
    wire = Wire()
    wire.hear(changed(wire.command(RunRequested()), "traceparent", MINE.encode()))
    scene = wire.scene
    scene.send(PauseRequested(), run=RUN, account="account-b", id_="cmd-9")
    (refused,) = scene.store.read("receipt-cmd-9")
    assert refused.envelope.traceparent == trace_of(RUN)


@pytest.mark.parametrize(
    "text",
    [None, "", "garbage", MINE.upper(), f"{MINE}\n", f"{MINE}-x", f"00-{'0' * 32}-{'b' * 16}-01"],
)
def test_what_is_no_trace_is_told_apart(text: str | None) -> None:
    assert not is_trace(text)


def test_a_trace_that_was_made_is_one_and_follows_from_the_id() -> None:
    assert is_trace(MINE)
    assert is_trace(trace_of("run-1"))
    assert trace_of("run-1") == trace_of("run-1") != trace_of("run-2")
