"""What a run is expected to cost: by default, and as the site's own past has it."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.commands import RunRequested
from events.config import Config
from events.estimate import (
    WINDOW,
    History,
    Past,
    clusters_of,
    estimate,
    fan_out,
    learn,
    total_of,
)
from events.pipeline import STAGES
from events.prices import CURRENT
from events.receipts import MessageRefused
from events.run import StageBatchRequested
from events.site import ItemsMoved
from tests.builders import (
    RUN,
    Scene,
    answer,
    drive,
    names,
    report,
    stage_report,
    started,
    waiting,
)

NOTHING = (0,) * 7


def items(pending: tuple[int, ...], history: History, **fields: int) -> list[int]:
    return [one.items for one in estimate(pending, Config(), CURRENT, history, **fields)]


def test_without_a_past_the_defaults_are_taken_and_said() -> None:
    stages = estimate((30, *NOTHING[1:]), Config(), CURRENT)
    assert [one.items for one in stages] == [30, 17, 17, 17, 17, 34, 17]
    assert [one.seen for one in stages] == [0] * 7
    assert [(one.up, one.down) for one in stages][:2] == [(17, 30), (1, 1)]


@pytest.mark.parametrize(
    ("keywords", "clusters"),
    [(0, 0), (1, 1), (2, 2), (10, 10), (11, 11), (13, 11), (14, 12), (128, 50), (500, 174)],
)
def test_the_first_ten_keywords_count_as_clusters_of_their_own(
    keywords: int, clusters: int
) -> None:
    assert clusters_of(keywords) == clusters
    assert items((keywords, *NOTHING[1:]), {})[1] == clusters


@pytest.mark.parametrize("keywords", range(1, 14))
def test_a_first_run_of_few_keywords_ends_within_what_it_needs_to_start(keywords: int) -> None:
    """Each makes a cluster, an idea, an article and two images; the calls cost their list price."""
    unlike = [f"k{number}" for number in range(keywords)]
    scene = Scene().furnish(amount=0)
    scene.submit(*unlike)
    asked = scene.send(RunRequested(), run=RUN)[-1]
    assert isinstance(asked, MessageRefused)
    scene.grant(int(asked.numbers["required_credits"]))
    scene.send(RunRequested(), run=RUN)
    while requests := list(scene.open_requests()):
        request = requests[0].message
        assert isinstance(request, StageBatchRequested)
        scene.handle(answer(requests[0], report(request, prompts=2), scene.now))
        if request.last:
            scene.handle(answer(requests[0], stage_report(request), scene.now))
    assert "RunPaused" not in names(scene.stream(RUN))
    assert scene.stream(RUN)[-1].TYPE == "RunCompleted"


@pytest.mark.parametrize(("done", "clusters"), [(9, 17), (10, 15), (100, 15)])
def test_a_past_counts_from_ten_items_on(done: int, clusters: int) -> None:
    history = {1: Past(items=done, made=done // 2)}
    assert items((30, *NOTHING[1:]), history)[1] == clusters


def test_every_stage_learns_for_itself() -> None:
    history = {2: Past(items=20, made=50), 5: Past(items=10, made=30)}
    found = estimate((0, 4, 0, 0, 0, 0, 0), Config(), CURRENT, history)
    assert [one.items for one in found] == [0, 4, 10, 10, 10, 30, 10]
    assert [one.seen for one in found] == [0, 20, 0, 0, 10, 0, 0]


def test_images_finish_drafts_as_many_as_drafts_get_images() -> None:
    history = {5: Past(items=10, made=30)}
    assert fan_out(6, 9, history) == (10, 30)
    assert items((0, 0, 0, 0, 0, 9, 0), history)[6] == 3
    assert fan_out(6, 9, {5: Past(items=10, made=0)}) == (0, 1)


def test_what_calls_have_cost_above_the_list_is_expected_again() -> None:
    history = {4: Past(items=10, made=10, credits_used=75, listed_credits=60)}
    found = estimate((0, 0, 0, 2, 0, 0, 0), Config(), CURRENT, history)
    assert found[3].credits == 15  # 12 by the list, and a quarter more


def test_revisions_need_no_prompts_and_no_images() -> None:
    assert items((0, 0, 0, 3, 0, 0, 0), {}, revisions=2) == [0, 0, 0, 3, 1, 2, 3]
    limited = estimate((0, 0, 0, 3, 0, 0, 0), Config(max_items_per_stage=2), CURRENT, {}, 3)
    assert [one.items for one in limited] == [0, 0, 0, 2, 0, 0, 2]


def test_a_past_forgets_what_is_old() -> None:
    """A site that made one idea a cluster and now makes three is believed after 200 clusters."""
    old = reduce(lambda past, _: learn(past, 1, 1, 1, 1), range(1000), Past())
    new = reduce(lambda past, _: learn(past, 1, 3, 1, 1), range(200), old)
    assert old.made == old.items
    assert 2.4 < new.made / new.items <= 3


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 300)), max_size=60))
def test_a_past_never_grows_beyond_its_window(batches: list[tuple[int, int]]) -> None:
    past = Past()
    for done, made in batches:
        past = learn(past, done, made, made, done)
        assert past.items <= WINDOW
        assert min(past.made, past.credits_used, past.listed_credits) >= 0


@given(st.tuples(*[st.integers(0, 600)] * 7), st.tuples(*[st.integers(0, 600)] * 7))
def test_more_to_do_never_costs_less(one: tuple[int, ...], more: tuple[int, ...]) -> None:
    both = tuple(a + b for a, b in zip(one, more, strict=True))
    cheap, dear = (total_of(estimate(two, Config(), CURRENT)) for two in (one, both))
    assert cheap <= dear


def test_a_run_teaches_its_site_and_says_with_the_next_what_it_took_from_it() -> None:
    state = drive(started(*waiting(5, *(f"d{number}" for number in range(12))))[1], prompts=3)
    past = state.site.history[5]
    assert (past.items, past.made, past.credits_used, past.listed_credits) == (12, 36, 12, 12)
    stages = estimate((0, 0, 0, 0, 4, 0, 0), Config(), CURRENT, state.site.history)
    assert [one.items for one in stages[4:]] == [4, 12, 4]
    assert stages[4].seen == 12


def test_an_article_that_is_written_again_counts_as_made() -> None:
    moved = ItemsMoved(stage=4, done=("t1", "t2"), failed=(), made=(), revised=("d1", "d2"))
    assert moved.teach(Past(items=8, made=8)) == Past(items=10, made=10)


def test_failures_are_not_expected_again() -> None:
    names = tuple(f"c{number}" for number in range(20))
    state = drive(started(*waiting(2, *names))[1], failing=names[:10])
    assert state.site.history[2] == Past(items=10, made=10, credits_used=10, listed_credits=10)


def test_every_stage_has_its_line() -> None:
    assert [one.stage for one in estimate(NOTHING, Config(), CURRENT)] == [
        stage.number for stage in STAGES
    ]
