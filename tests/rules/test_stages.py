"""Batch by batch and stage by stage: what is asked for, what is counted, what waits next."""

from dataclasses import replace

from events.commands import ConfigUpdateRequested, PauseRequested, ResumeRequested, RunRequested
from events.config import ConfigChanges
from events.content import Outcome
from events.pipeline import STAGES
from events.run import RunPaused, RunResumed, StageBatchRequested, StageCompleted
from events.site import ItemsMoved, Made
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.state import Run
from tests.builders import (
    after,
    do,
    drive,
    in_flight,
    keywords,
    names,
    report,
    request_of,
    requests,
    stage_report,
    started,
    tell,
    waiting,
)

FOUR = ("c1", "c2", "c3", "c4")


def test_batches_go_one_at_a_time_and_the_last_is_marked() -> None:
    events, state = started(*waiting(2, "c1", "c2", "c3"), stage_2_batch_size=2)
    first = request_of(events)
    assert (first.items, first.last) == (("c1", "c2"), False)
    events = tell(state, report(first))
    assert names(events)[:2] == ["StageBatchCompleted", "ItemsMoved"]
    second = request_of(events)
    assert (second.items, second.last) == (("c3",), True)


def test_the_last_batch_carries_the_totals_so_far() -> None:
    events, state = started(*waiting(2, "c1", "c2"))
    last = request_of(tell(state, report(request_of(events))))
    assert (last.so_far.items_done, last.so_far.credits_used) == (1, 1)
    assert last.so_far.counts == {"clusters_processed": 1, "ideas_created": 1}


def test_after_the_last_batch_the_run_waits_for_the_stages_own_report() -> None:
    events, state = started(*waiting(2, "c1"))
    request = request_of(events)
    assert requests(tell(state, report(request))) == []
    completed, stage, batch = tell(after(state, report(request)), stage_report(request))
    assert completed == StageCompleted(
        stage=2,
        result={"clusters_processed": 1, "ideas_created": 1},
        items_done=1,
        items_failed=0,
        credits_used=1,
        partial=False,
        batch_id=request.batch_id,
    )
    assert (stage.TYPE, batch.TYPE) == ("StageStarted", "StageBatchRequested")


def test_resume_continues_with_exactly_the_items_not_yet_done() -> None:
    events, state = started(*waiting(2, *FOUR))
    first = request_of(events)
    paused = after(state, PauseRequested(), report(first))
    resumed, batch = tell(paused, ResumeRequested())
    assert resumed == RunResumed()
    assert isinstance(batch, StageBatchRequested)
    assert (batch.items, batch.last) == (("c2",), False)
    assert drive(after(paused, ResumeRequested())).run.status == "completed"


def test_what_is_settled_is_not_asked_for_again_whatever_happens_between() -> None:
    _, state = started(*waiting(2, *FOUR))
    seen = list[str]()
    while open_ := in_flight(state):
        if open_[0].stage > 2:
            break
        seen += open_[0].items
        state = after(state, PauseRequested())
        state = do(state, open_[0])
        state = after(state, ResumeRequested())
    assert seen == list(FOUR)


def test_parallel_batches_go_as_many_as_the_config_allows() -> None:
    events, state = started(*waiting(2, *FOUR), max_parallel_batches=2)
    one, other = requests(events)
    assert (one.items, other.items) == (("c1",), ("c2",))
    third = request_of(tell(state, report(other)))
    assert (third.items, third.last) == (("c3",), False)


def test_the_last_batch_goes_alone_also_when_batches_run_side_by_side() -> None:
    events, state = started(*waiting(2, "c1", "c2", "c3"), max_parallel_batches=3)
    one, other = requests(events)  # not the third: it would be the last
    assert requests(tell(state, report(one))) == []
    last = request_of(tell(after(state, report(one)), report(other)))
    assert (last.items, last.last) == (("c3",), True)


def test_a_stage_with_nothing_to_do_completes_at_once_with_zero_counts() -> None:
    events, _ = started(*waiting(3, "i1"))
    empty = [event for event in events if isinstance(event, StageCompleted)]
    assert [(one.stage, one.result) for one in empty] == [
        (stage.number, dict.fromkeys(stage.counts, 0)) for stage in STAGES[:2]
    ]
    assert not any(one.partial for one in empty)


def test_seven_stages_in_order_each_once() -> None:
    events, state = started(keywords("k1", "k2"), stage_4_batch_size=2)
    while open_ := in_flight(state):
        for message in (report(open_[0]), stage_report(open_[0])):
            events += tell(state, message)
            state = after(state, message)
    stages = [(event.TYPE, event.stage) for event in events if event.TYPE.startswith("Stage")]
    begun = [stage for kind, stage in stages if kind == "StageStarted"]
    done = [stage for kind, stage in stages if kind == "StageCompleted"]
    assert (begun, done) == ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7])
    assert state.run.status == "completed"


def test_results_count_what_the_contract_names() -> None:
    events, state = started(keywords("k1", "k2"))
    while open_ := in_flight(state):
        for message in (report(open_[0], prompts=2), stage_report(open_[0])):
            events += tell(state, message)
            state = after(state, message)
    results = {event.stage: event.result for event in events if isinstance(event, StageCompleted)}
    assert results == {
        1: {"keywords_processed": 2, "clusters_created": 2},
        2: {"clusters_processed": 2, "ideas_created": 2},
        3: {"ideas_processed": 2, "tasks_created": 2},
        4: {"tasks_processed": 2, "content_created": 2, "total_words": 200},
        5: {"content_processed": 2, "prompts_created": 4},
        6: {"images_processed": 4, "images_generated": 4, "images_failed": 0},
        7: {"ready_for_review": 2},
    }


def test_an_item_that_failed_leaves_the_stage_partial_and_is_not_tried_again() -> None:
    events, state = started(*waiting(2, "c1", "c2"), stage_2_batch_size=2)
    request = request_of(events)
    state = after(state, report(request, failing=["c1"]))
    completed = tell(state, stage_report(request))[0]
    assert isinstance(completed, StageCompleted)
    assert (completed.items_done, completed.items_failed, completed.partial) == (1, 1, True)
    assert (state.site.waiting(2), state.site.failed[1]) == ((), {"c1": "run-a"})


def test_a_stage_whose_items_all_fail_fails_the_run() -> None:
    events, state = started(*waiting(2, "c1", "c2"), stage_2_batch_size=2)
    request = request_of(events)
    state = after(state, report(request, failing=["c1", "c2"]))
    completed, failed, released, freed = tell(state, stage_report(request))
    assert names([completed, failed, released, freed]) == [
        "StageCompleted",
        "RunFailed",
        "SiteReleased",
        "CreditsReleased",
    ]
    assert failed.error_message == (
        "Stage 2 (ideas) failed for all 2 clusters: the model was unavailable"
    )


def test_a_report_moves_its_items_in_the_same_append() -> None:
    events, state = started(*waiting(2, "c1", "c2"), stage_2_batch_size=2)
    moved = tell(state, report(request_of(events), failing=["c2"]))[1]
    made = (Made(id="c1/2", of="c1"),)
    assert moved == ItemsMoved(
        stage=2, done=("c1",), failed=("c2",), made=made, credits_used=1, listed_credits=1
    )


def test_an_item_that_the_worker_forgot_is_failed() -> None:
    events, state = started(*waiting(2, "c1", "c2"), stage_2_batch_size=2)
    full = report(request_of(events))
    forgetful = full.model_copy(update={"outcomes": full.outcomes[:1]})
    recorded = tell(state, forgetful)[0]
    assert recorded.outcomes[1] == Outcome(
        item="c2", error="the worker reported nothing for this item"
    )


def test_outcomes_of_items_that_nobody_asked_for_are_dropped() -> None:
    events, state = started(*waiting(2, "c1"))
    full = report(request_of(events))
    stranger = Outcome(item="c9", made=("i9",))
    inventive = full.model_copy(update={"outcomes": (*full.outcomes, stranger)})
    assert tell(state, inventive)[0].outcomes == full.outcomes


def test_a_draft_is_finished_when_its_last_prompt_is_settled() -> None:
    _, state = started(*waiting(4, "t1"))
    state = drive(state, until=6, prompts=2)
    one = in_flight(state)[0]
    state = do(state, one)
    assert state.site.waiting(7) == ()
    other = in_flight(state)[0]
    assert other.stage == 6
    state = after(state, report(other, failing=other.items))
    assert state.site.waiting(7) == ("t1/4",)
    assert state.site.contents == {"t1/4": "drafted"}


def test_a_draft_that_gets_no_prompts_is_finished_at_once() -> None:
    _, state = started(*waiting(5, "d1"))
    state = drive(state, until=7, prompts=0)
    assert in_flight(state)[0].items == ("d1",)
    assert drive(state).site.contents == {"d1": "review"}


def test_slugs_are_unique_on_the_site() -> None:
    _, state = started(*waiting(4, "t1", "t2", "t3"), stage_4_batch_size=2)
    first = in_flight(state)[0]
    one = tell(state, report(first, slug="cold-brew"))[0]
    assert [draft.slug for draft in one.made] == ["cold-brew", "cold-brew-2"]
    state = after(state, report(first, slug="cold-brew"))
    other = tell(state, report(in_flight(state)[0], slug="cold-brew"))[0]
    assert [draft.slug for draft in other.made] == ["cold-brew-3"]


def test_a_change_of_config_takes_effect_on_the_next_run() -> None:
    _, state = started(*waiting(2, *FOUR), max_items_per_stage=2)
    changes = ConfigChanges(stage_2_batch_size=2)
    changed = after(state, ConfigUpdateRequested(changes=changes))
    ended = drive(do(changed, in_flight(changed)[0]), until=3)
    assert ended.run.batches == 3  # two for stage 2, one item each, and one for stage 3
    ended = drive(ended)
    following = after(replace(ended, run=Run(id="run-b")), RunRequested())
    assert in_flight(following)[0].items == ("c3", "c4")


def test_a_pause_before_a_stages_own_report_holds_the_next_stage_back() -> None:
    events, state = started(*waiting(2, "c1"))
    request = request_of(events)
    paused = after(state, report(request), PauseRequested())
    *reported, _ = decide(paused, stage_report(request))
    assert names(reported) == ["StageCompleted"]
    assert RunPaused() not in reported
