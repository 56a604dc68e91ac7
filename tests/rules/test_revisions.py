"""A requested change sends an article through stage 4 again, and then to review."""

from events.commands import ApprovalRequested, ChangesRequested, RunRequested
from events.content import Draft
from events.run import RunStarted, StageStarted
from events.site import ContentReturned, ItemsMoved
from services.orchestrator.rules.run import record
from services.orchestrator.rules.state import State
from tests.builders import (
    after,
    draft,
    drive,
    in_flight,
    next_run,
    refusal,
    report,
    stage_report,
    started,
    tell,
    waiting,
)

DRAFT = "t1/4"
CHANGE = ChangesRequested(content_id=DRAFT, note="shorter")


def reviewed() -> State:
    state = drive(started(*waiting(4, "t1"))[1])
    assert state.site.contents == {DRAFT: "review"}
    return state


def test_the_articles_task_waits_for_stage_4_again() -> None:
    state = reviewed()
    assert tell(state, CHANGE) == [ContentReturned(content_id=DRAFT, task_id="t1", note="shorter")]
    back = after(state, CHANGE)
    assert (back.site.waiting(4), back.site.contents) == (("t1",), {DRAFT: "changes_requested"})


def test_the_next_run_writes_it_again_and_takes_it_to_review_with_its_images() -> None:
    state = after(reviewed(), CHANGE)
    begun = after(next_run(state), RunRequested())
    (request,) = in_flight(begun)
    assert (request.stage, request.items) == (4, ("t1",))
    moved = next(one for one in record(begun, report(request)) if isinstance(one, ItemsMoved))
    assert (moved.made, moved.revised) == ((), (DRAFT,))
    done = drive(begun)
    assert (done.run.status, done.site.contents) == ("completed", {DRAFT: "review"})
    assert not any(done.site.waiting(stage) for stage in range(1, 8))


def test_its_prompts_and_images_are_not_made_again() -> None:
    state = after(next_run(after(reviewed(), CHANGE)), RunRequested())
    stages: dict[int, tuple[str, ...]] = {}
    while state.run.status == "running":
        (request,) = in_flight(state)
        stages[request.stage] = request.items
        for message in (report(request), stage_report(request)):
            for event in tell(state, message):
                if isinstance(event, StageStarted):
                    stages[event.stage] = event.items
            state = after(state, message)
    assert (stages[4], stages[5], stages[6], stages[7]) == (("t1",), (), (), (DRAFT,))


def test_it_keeps_its_slug_and_takes_no_other() -> None:
    state = after(next_run(after(reviewed(), CHANGE)), RunRequested())
    slugs = state.site.slugs
    (request,) = in_flight(state)
    written = report(request).model_copy(
        update={"made": (draft(DRAFT, task="t1", slug=next(iter(slugs))),)}
    )
    charged = record(state, written)[0]
    (made,) = charged.made  # type: ignore[attr-defined]
    assert isinstance(made, Draft)
    assert made.slug == next(iter(slugs))
    assert after(state, written).site.slugs == slugs


def test_a_revision_is_priced_without_prompts_and_images() -> None:
    state = after(reviewed(), CHANGE)
    begun = next(
        one for one in tell(next_run(state), RunRequested()) if isinstance(one, RunStarted)
    )
    assert [one.credits for one in begun.estimate] == [0, 0, 0, 6, 0, 0, 0]
    assert [one.items for one in begun.estimate] == [0, 0, 0, 1, 0, 0, 1]


def test_it_can_be_sent_back_as_often_as_the_reviewer_likes() -> None:
    state = reviewed()
    for number in range(3):
        state = drive(after(next_run(after(state, CHANGE), f"run-{number}"), RunRequested()))
        assert state.site.contents == {DRAFT: "review"}
    assert after(state, ApprovalRequested(content_id=DRAFT)).site.contents == {DRAFT: "approved"}


def test_while_it_is_sent_back_nobody_reviews_it() -> None:
    state = after(reviewed(), CHANGE)
    code, numbers = refusal(state, ApprovalRequested(content_id=DRAFT))
    assert (code, numbers) == ("invalid_transition", {"content_status": "changes_requested"})


def test_a_revision_that_fails_can_be_tried_again() -> None:
    state = after(reviewed(), CHANGE)
    failed = drive(after(next_run(state), RunRequested()), failing=("t1",))
    assert (failed.run.status, failed.site.contents) == ("failed", {DRAFT: "changes_requested"})
    retry = RunRequested(retry_of="run-b")
    again = drive(after(next_run(failed, "run-c"), retry))
    assert (again.run.status, again.site.contents) == ("completed", {DRAFT: "review"})
