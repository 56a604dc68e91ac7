"""What the tables say agrees with the rules' own state, and with the ledger."""

from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy as sa

from events.run import RunCancelled, RunPaused, StageBatchRequested
from projections import (
    accounts,
    ai_tasks,
    configs,
    estimates,
    ledger,
    overview,
    planner,
    runs,
    timers,
    writer,
)
from projections.projector import project
from tests.projections.history import (
    ALICE,
    BLOG,
    BOB,
    CLUB,
    DESK,
    SHOP,
    World,
    make_history,
    moved,
)
from tests.projections.tables import ask, fold_all, nothing_set_aside

OWNERS = {SHOP: ALICE, BLOG: ALICE, CLUB: BOB, DESK: ALICE}
MANY = 1000


def whole(found: tuple[list, int | None]) -> list:
    rows, following = found
    assert following is None
    return rows


@pytest.fixture
def full(engine: sa.Engine, world: World) -> sa.Engine:
    fold_all(engine, world.placed)
    return engine


@pytest.mark.parametrize("site", OWNERS)
def test_what_waits_is_what_the_rules_count(full: sa.Engine, world: World, site: str) -> None:
    state = world.sites[site]
    taken = set(world.runs[state.active].taken) if state.active else set()
    expected = tuple(len(set(state.waiting(stage)) - taken) for stage in range(1, 8))
    assert ask(full, overview.waiting, OWNERS[site], site) == expected
    counts = ask(full, overview.counts, OWNERS[site], site)
    assert [one.failed for one in counts] == [len(failed) for failed in state.failed]


def test_what_is_planned_and_priced_by_agrees_at_every_moment(
    engine: sa.Engine, world: World
) -> None:
    """Folded event by event beside the rules' own fold, which plans and prices by it."""
    later = make_history()
    assert [p.envelope.id for p in later.placed] == [p.envelope.id for p in world.placed]
    fresh = World()
    for placed in world.placed:
        fresh.record(placed.envelope)
        project(engine, [placed], nothing_set_aside)
        site = placed.envelope.site_id
        if site is None or not placed.envelope.message.TYPE.startswith("Message"):
            continue
        state = fresh.sites[site]
        active = fresh.runs[state.active].taken if state.active else ()
        expected = tuple(len(set(state.waiting(n)) - set(active)) for n in range(1, 8))
        owner = OWNERS[site]
        assert ask(engine, overview.waiting, owner, site) == expected
        assert ask(engine, estimates.history, owner, site) == state.history
        queued = state.revising & (set(state.waiting(4)) - set(active))
        assert ask(engine, overview.revisions, owner, site) == len(queued)
        for run_id in fresh.runs:
            failed = {one.stage: one.items for one in state.failed_in(run_id)}
            counted = tuple(len(failed.get(stage, ())) for stage in range(1, 8))
            assert ask(engine, overview.failed_in, owner, site, run_id) == counted
            lost = len(state.revising.intersection(failed.get(4, ())))
            assert ask(engine, overview.revisions, owner, site, run_id) == lost


def test_what_failed_waits_again_and_is_done_under_its_own_name(
    full: sa.Engine, world: World
) -> None:
    first, second = sorted(
        (run for run in whole(ask(full, runs.history, ALICE, DESK, 99, None))),
        key=lambda run: run.started_at,
    )[:2]
    assert (first.retry_of, second.retry_of) == (None, first.run_id)
    assert [stage.items_failed for stage in first.stages] == [1, 0, 0, 1, 0, 1, 0]
    # the keyword becomes an article; the task and the prompt go on from where they failed
    assert [stage.items_total for stage in second.stages] == [1, 1, 1, 2, 2, 5, 2]
    state = world.sites[DESK]
    assert not any(state.failed)
    keywords = whole(ask(full, planner.list_keywords, ALICE, DESK, None, MANY, None))
    assert {row.status for row in keywords} == {"clustered"}
    images = whole(ask(full, writer.list_images, ALICE, DESK, None, MANY, None))
    assert {row.status for row in images} == {"rendered"}


def test_a_requested_change_writes_the_same_article_again(full: sa.Engine) -> None:
    (pen, *others) = whole(ask(full, writer.list_content, ALICE, DESK, None, MANY, None))
    assert (pen.revision, pen.status, pen.note) == (2, "changes_requested", "shorter still")
    assert {(one.revision, one.status) for one in others} == {(1, "review")}
    assert pen.slug != "a slug of its own"
    article = ask(full, writer.content, ALICE, pen.id)
    assert article is not None
    assert (article.word_count, len(article.images)) == (450, 2)
    assert article.updated_at > article.created_at
    (returned,) = ask(full, writer.returned, ALICE, [article.lineage.task_id])
    assert (returned.id, returned.note, returned.body) == (pen.id, "shorter still", article.body)
    counts = ask(full, overview.counts, ALICE, DESK)
    assert (counts[3].pending, counts[6].pending) == (1, 0)


@pytest.mark.parametrize("account", [ALICE, BOB])
def test_the_account_is_what_the_rules_count(full: sa.Engine, world: World, account: str) -> None:
    row = ask(full, accounts.find, account)
    state = world.accounts[account]
    assert row is not None
    assert (row.balance, row.available_credits) == (state.balance, state.available)
    assert row.held_credits == sum(state.holds.values())


def test_credits_agree_in_run_stages_task_log_and_ledger(full: sa.Engine, world: World) -> None:
    for run_id in world.runs:
        site, account = world.home_of(run_id)
        run = ask(full, runs.find, account, run_id)
        assert run is not None
        calls = whole(ask(full, ai_tasks.entries, account, run_id, MANY, None))
        book = whole(ask(full, ledger.entries, account, MANY, None))
        settled = [row for row in book if row.run_id == run_id and row.type == "settle"]
        assert run.site_id == site
        assert run.total_credits_used == sum(call.credits for call in calls)
        assert run.total_credits_used == sum(stage.credits_used for stage in run.stages)
        assert run.total_credits_used == sum(row.amount for row in settled)
        assert run.held_credits == world.accounts[account].holds.get(run_id, 0)


def test_a_completed_run_has_the_contracts_fields(full: sa.Engine) -> None:
    run = ask(full, runs.history, ALICE, SHOP, 10, None)[0][1]
    assert (run.status, run.current_stage, run.trigger_type) == ("completed", 7, "manual")
    assert run.paused_at is not None
    assert run.resumed_at is not None
    assert run.started_at < run.paused_at < run.resumed_at
    assert run.completed_at is not None
    assert (run.held_credits, run.batches_in_flight, run.error_message) == (0, 0, None)
    assert [stage.name for stage in run.stages][3] == "content"
    one, *_, four, five, six, seven = run.stages
    assert (run.started_by, run.changed_by, run.estimated_credits > 0) == ("system", "system", True)
    assert run.quiet_at == run.completed_at
    assert one.result == {"keywords_processed": 4, "clusters_created": 3}
    assert (one.items_total, one.items_done, one.items_failed) == (5, 4, 1)
    assert (one.status, one.partial) == ("partial", True)
    assert (four.items_total, four.items_done, four.items_failed) == (3, 2, 1)
    assert four.credits_used == 2 * 6 + 3
    assert five.status == "completed"
    assert six.items_total >= 1
    assert seven.result == {"ready_for_review": 2}
    assert all(stage.started_at for stage in run.stages)


def test_a_run_ends_as_its_events_say(full: sa.Engine) -> None:
    failed, cancelled = ask(full, runs.history, ALICE, BLOG, 10, None)[0]
    assert (failed.status, failed.trigger_type) == ("failed", "scheduled")
    assert failed.error_message is not None
    assert failed.error_message.startswith("Stage 4 (content) did not answer")
    assert failed.slot is not None
    assert failed.slot <= failed.started_at
    assert failed.failed_at == failed.quiet_at
    assert cancelled.status == "cancelled"
    assert cancelled.cancelled_at is not None
    assert cancelled.stages[2].items_done == cancelled.stages[2].items_total > 0
    assert cancelled.held_credits == 0
    assert [stage.status for stage in cancelled.stages[3:]] == ["pending"] * 4


def test_history_is_paged_newest_first(full: sa.Engine) -> None:
    first, following = ask(full, runs.history, ALICE, SHOP, 1, None)
    assert following is not None
    second, end = ask(full, runs.history, ALICE, SHOP, 1, following)
    assert end is None
    assert first[0].started_at > second[0].started_at


def test_a_pause_for_credits_says_how_many_until_it_goes_on(
    engine: sa.Engine, world: World
) -> None:
    of_site = [p for p in world.placed if p.key in (CLUB, BOB)]
    paused = next(n for n, p in enumerate(of_site) if p.envelope.message.TYPE == "RunPaused")
    project(engine, of_site[: paused + 1], nothing_set_aside)
    run = ask(engine, runs.current, BOB, CLUB)
    assert run is not None
    event = of_site[paused].envelope.message
    assert isinstance(event, RunPaused)
    assert 0 < event.missing_credits < event.missing_to_finish
    missing, sentence = event.missing_credits, f"Paused: {event.lack()}. Add credits, then resume."
    assert (run.status, run.error_message) == ("paused", sentence)
    assert (run.pause_reason, run.missing_credits) == ("insufficient_credits", missing)
    project(engine, of_site[paused + 1 :], nothing_set_aside)
    run = ask(engine, runs.current, BOB, CLUB)
    assert run is not None
    assert (run.status, run.error_message) == ("running", None)
    assert (run.pause_reason, run.missing_credits, run.quiet_at) == (None, 0, None)


def test_a_run_that_is_cancelled_for_want_of_credits_asks_for_none(
    engine: sa.Engine, world: World
) -> None:
    of_site = [p for p in world.placed if p.key in (CLUB, BOB)]
    paused = next(n for n, p in enumerate(of_site) if p.envelope.message.TYPE == "RunPaused")
    end = moved(of_site[paused], of_site[paused].position + 1, RunCancelled())
    project(engine, [*of_site[: paused + 1], end], nothing_set_aside)
    run = ask(engine, runs.find, BOB, end.envelope.run_id or "")
    assert run is not None
    assert (run.status, run.error_message, run.missing_credits) == ("cancelled", None, 0)


def test_current_processing_counts_the_current_stage(full: sa.Engine, world: World) -> None:
    run = ask(full, runs.current, BOB, CLUB)
    assert run is not None
    assert run.batches_in_flight == len(world.runs[run.run_id].in_flight) == 3
    now = ask(full, runs.processing, BOB, run.run_id)
    assert now is not None
    assert (now.stage, now.stage_name, now.status) == (6, "images", "running")
    assert now.items_total == len(world.runs[run.run_id].items)
    assert (now.items_done, now.percentage, now.eta_seconds) == (0, 0, None)
    assert {item.id for item in now.processing} == set(world.runs[run.run_id].taken)
    assert all(item.title.endswith(("featured", "in_article")) for item in now.processing)


def test_the_time_left_follows_from_the_time_that_items_took(
    engine: sa.Engine, world: World
) -> None:
    of_run = [p for p in world.placed if p.key == SHOP]
    reports = [
        number
        for number, placed in enumerate(of_run)
        if placed.envelope.message.TYPE == "StageBatchCompleted"
    ]
    project(engine, of_run[: reports[0] + 2], nothing_set_aside)
    run = ask(engine, runs.current, ALICE, SHOP)
    assert run is not None
    now = ask(engine, runs.processing, ALICE, run.run_id)
    assert now is not None
    assert (now.items_done, now.items_total, now.percentage) == (2, 5, 40)
    began = run.stages[0].started_at
    assert began is not None
    took = (of_run[reports[0]].envelope.at - began).total_seconds()
    assert now.eta_seconds is not None
    assert now.eta_seconds - 1 <= took / 2 * 3 <= now.eta_seconds


def test_statuses_follow_the_pipeline(full: sa.Engine) -> None:
    def statuses(query: object) -> Counter[str]:
        found = whole(ask(full, query, ALICE, SHOP, None, MANY, None))  # type: ignore[arg-type]
        return Counter(row.status for row in found)

    assert statuses(planner.list_keywords) == {"clustered": 6, "failed": 1}
    assert statuses(planner.list_clusters) == {"planned": 5}
    assert statuses(planner.list_ideas) == {"scheduled": 7}
    assert statuses(writer.list_tasks) == {"written": 5, "queued": 1, "failed": 1}
    content = statuses(writer.list_content)
    assert sum(content.values()) == 6
    assert (content["approved"], content["rejected"], content["changes_requested"]) == (1, 1, 1)
    assert content["review"] == 3
    assert set(statuses(writer.list_images)) <= {"rendered", "failed"}


def test_content_is_illustrated_when_all_its_prompts_are_settled(
    engine: sa.Engine, world: World
) -> None:
    seen = set()
    for placed in world.placed:
        project(engine, [placed], nothing_set_aside)
        if placed.envelope.message.TYPE != "ItemsMoved":
            continue
        for row in whole(ask(engine, writer.list_content, ALICE, SHOP, None, MANY, None)):
            found = ask(engine, writer.content, ALICE, row.id)
            assert found is not None
            pending = [one for one in found.images if one.status == "pending"]
            seen.add((row.status, bool(found.images), bool(pending)))
    assert ("drafted", True, True) in seen
    assert ("illustrated", True, False) in seen
    assert ("illustrated", True, True) not in seen
    assert ("review", True, True) not in seen


def test_what_workers_read_comes_in_the_order_asked(full: sa.Engine) -> None:
    ids = [row.id for row in whole(ask(full, planner.list_keywords, ALICE, SHOP, None, 99, None))]
    asked = [ids[2], "unknown", ids[0], ids[1]]
    assert [row.id for row in ask(full, planner.keywords_of, ALICE, asked)] == [
        ids[2],
        ids[0],
        ids[1],
    ]
    clusters = whole(ask(full, planner.list_clusters, ALICE, SHOP, None, 99, None))
    works = ask(full, planner.clusters_of, ALICE, [one.id for one in clusters])
    assert {work.name: [one.keyword for one in work.keywords] for work in works}["Tea"] == [
        "tea pot",
        "tea cup",
    ]
    drafts = whole(ask(full, writer.list_content, ALICE, SHOP, None, 99, None))
    read = ask(full, writer.drafts_of, ALICE, [one.id for one in drafts])
    assert [one.title for one in read] == [one.title for one in drafts]
    assert {one.intent for one in read} == {"commercial"}
    prompts = [
        one.prompt_id for one in whole(ask(full, writer.list_images, ALICE, SHOP, None, 99, None))
    ]
    assert [one.id for one in ask(full, writer.prompts_of, ALICE, prompts)] == prompts


def test_content_knows_its_lineage_and_images(full: sa.Engine) -> None:
    drafts = whole(ask(full, writer.list_content, ALICE, SHOP, "approved", 99, None))
    found = ask(full, writer.content, ALICE, drafts[0].id)
    assert found is not None
    assert found.lineage.task_id
    assert found.lineage.idea_id
    assert found.lineage.cluster_id
    assert found.lineage.run_id == drafts[0].run_id
    assert len({one.slug for one in whole(full_list(full))}) == 6
    rendered = [one for one in found.images if one.status == "rendered"]
    for one in rendered:
        assert ask(full, writer.image, ALICE, one.id) == one
        assert one.id != one.prompt_id
        assert one.file is not None


def full_list(engine: sa.Engine) -> tuple[list, int | None]:
    return ask(engine, writer.list_content, ALICE, SHOP, None, MANY, None)


def test_lists_are_paged_by_creation_and_status(full: sa.Engine) -> None:
    found, after = [], None
    while True:
        rows, after = ask(full, planner.list_keywords, ALICE, SHOP, "clustered", 2, after)
        found += rows
        if after is None:
            break
    assert [row.keyword for row in found] == [
        "tea pot",
        "tea cup",
        "milk jug",
        "sugar",
        "spoon",
        "fork",
    ]


def test_the_config_follows_updates_runs_and_slots(full: sa.Engine, world: World) -> None:
    row = ask(full, configs.find, ALICE, BLOG)
    assert row is not None
    assert (row.is_enabled, row.within_stage_delay, row.timezone) == (True, 0, "Europe/Berlin")
    assert row.next_run_at == world.sites[BLOG].next_run_at
    assert row.last_run_at is not None
    fresh = ask(full, configs.find, BOB, CLUB)
    assert fresh is not None
    assert (fresh.is_enabled, fresh.next_run_at, fresh.max_parallel_batches) == (False, None, 3)


def test_a_schedule_is_due_at_its_minute(full: sa.Engine, world: World) -> None:
    slot = world.sites[BLOG].next_run_at
    assert slot is not None
    assert ask(full, configs.due, slot - timedelta(seconds=1)) == []
    (due,) = ask(full, configs.due, slot)
    assert (due.account_id, due.site_id, due.slot) == (ALICE, BLOG, slot)


def test_only_batches_in_flight_and_waiting_timers_are_watched(
    engine: sa.Engine, world: World
) -> None:
    fresh = World()
    requests: dict[str, str] = {}
    for placed in world.placed:
        fresh.record(placed.envelope)
        message = placed.envelope.message
        if isinstance(message, StageBatchRequested):
            requests[message.batch_id] = f"{message.batch_id}/{message.attempt}"
        project(engine, [placed], nothing_set_aside)
        if not message.TYPE.startswith("Message"):
            continue
        expected = {requests[id_] for run in fresh.runs.values() for id_ in run.in_flight}
        live = [run for run in fresh.runs.values() if not run.has_ended]
        expected |= {requests[run.reported] for run in live if run.reported}
        expected |= {run.timer for run in live if run.timer}
        assert {row.timer_id for row in ask(engine, timers.waiting)} == expected


def test_the_batch_of_a_request_says_where_it_stands(full: sa.Engine, world: World) -> None:
    found: Counter[str] = Counter()
    for placed in world.placed:
        message = placed.envelope.message
        if isinstance(message, StageBatchRequested):
            row = ask(full, runs.batch, placed.envelope.account_id, message.batch_id)
            assert row is not None
            assert row.run_id == placed.envelope.run_id
            found[row.status] += 1
    assert set(found) == {"in_flight", "recorded", "given_up", "expired"}
    assert found["in_flight"] == 3
