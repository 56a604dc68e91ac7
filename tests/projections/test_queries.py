"""Every query answers in its shape, and says nothing of another account."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from events.content import Image
from events.ids import derive
from events.run import StageBatchRequested, StageStarted
from events.site import ContentReturned
from projections import (
    accounts,
    ai_tasks,
    configs,
    estimates,
    ledger,
    overview,
    planner,
    receipts,
    refusals,
    run_events,
    run_log,
    runs,
    writer,
)
from projections.configs import ConfigRow
from projections.runs import RunRow
from tests.projections.history import ALICE, BLOG, BOB, DESK, SHOP, World
from tests.projections.tables import ask, fold_all

EMPTY: tuple[Any, ...] = (None, [], ([], None), (), (0,) * 7, {})


@pytest.fixture
def full(engine: sa.Engine, world: World) -> sa.Engine:
    fold_all(engine, world.placed)
    return engine


def queries_of(world: World) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Return every query of what Alice has, with arguments to which she gets an answer."""
    run = next(p.envelope.run_id for p in world.placed if p.envelope.message.TYPE == "RunStarted")
    request = next(
        p.envelope for p in world.placed if isinstance(p.envelope.message, StageBatchRequested)
    )
    assert isinstance(request.message, StageBatchRequested)
    content = next(iter(world.sites[SHOP].contents))
    task = world.facts[content].task_id
    idea = world.facts[task].idea_id
    cluster = world.facts[idea].cluster_id
    picture = next(
        fact
        for fact in world.facts.values()
        if isinstance(fact, Image) and fact.content_id in world.sites[SHOP].contents
    )
    keyword = next(iter(world.sites[SHOP].keywords))
    receipt = next(p.envelope for p in world.placed if p.envelope.message.TYPE == "MessageAccepted")
    back = [p.envelope.message for p in world.placed if p.key == SHOP]
    returned = next(one.task_id for one in back if isinstance(one, ContentReturned))
    paged = (SHOP, None, 50, None)
    return {
        "accounts.find": (accounts.find, ()),
        "accounts.site": (accounts.site, (SHOP,)),
        "accounts.key_of": (accounts.key_of, ("key-second",)),
        "runs.find": (runs.find, (run,)),
        "runs.status": (runs.status, (run,)),
        "runs.history": (runs.history, (SHOP, 20, None)),
        "runs.processing": (runs.processing, (run,)),
        "runs.batch": (runs.batch, (request.message.batch_id,)),
        "runs.stage_items": (runs.stage_items, (run, 1)),
        "run_events.after_run": (run_events.after_run, (run, 0, 50)),
        "run_events.after_site": (run_events.after_site, (SHOP, 0, 50)),
        "run_log.tail": (run_log.tail, (run, 100)),
        "run_log.following": (run_log.following, (run, 0, 100)),
        "estimates.history": (estimates.history, (SHOP,)),
        "overview.failed_in": (overview.failed_in, (SHOP, run)),
        "writer.returned": (writer.returned, ([returned],)),
        "configs.find": (configs.find, (SHOP,)),
        "planner.list_keywords": (planner.list_keywords, paged),
        "planner.list_clusters": (planner.list_clusters, paged),
        "planner.list_ideas": (planner.list_ideas, paged),
        "planner.keywords_of": (planner.keywords_of, ([keyword],)),
        "planner.clusters_of": (planner.clusters_of, ([cluster],)),
        "planner.ideas_of": (planner.ideas_of, ([idea],)),
        "planner.cluster_names": (planner.cluster_names, (SHOP,)),
        "planner.idea_titles": (planner.idea_titles, (SHOP,)),
        "writer.list_tasks": (writer.list_tasks, paged),
        "writer.list_content": (writer.list_content, paged),
        "writer.list_images": (writer.list_images, paged),
        "writer.content": (writer.content, (content,)),
        "writer.image": (writer.image, (picture.id,)),
        "writer.tasks_of": (writer.tasks_of, ([task],)),
        "writer.drafts_of": (writer.drafts_of, ([content],)),
        "writer.prompts_of": (writer.prompts_of, ([picture.prompt_id],)),
        "writer.newest": (writer.newest, (SHOP,)),
        "writer.articles": (writer.articles, (SHOP,)),
        "writer.sharing": (writer.sharing, (SHOP, ["000000000008"])),
        "ai_tasks.entries": (ai_tasks.entries, (run, 50, None)),
        "receipts.find": (receipts.find, (receipt.cause,)),
        "refusals.recent": (refusals.recent, (SHOP, 50)),
    }


def test_another_account_gets_what_does_not_exist(full: sa.Engine, world: World) -> None:
    for name, (query, arguments) in queries_of(world).items():
        assert ask(full, query, ALICE, *arguments) not in EMPTY, name
        if name != "accounts.find":  # it has no argument but the account
            assert ask(full, query, BOB, *arguments) in EMPTY, name
        assert ask(full, query, "account-nobody", *arguments) in EMPTY, name


def test_another_account_sees_no_counts(full: sa.Engine) -> None:
    assert ask(full, overview.waiting, BOB, SHOP) == (0,) * 7
    assert ask(full, overview.revisions, ALICE, SHOP) == 1
    assert ask(full, overview.revisions, BOB, SHOP) == 0
    for row in ask(full, overview.counts, BOB, SHOP):
        assert (row.pending, row.in_progress, row.done, row.failed) == (0, 0, 0, 0)
    assert ask(full, runs.current, ALICE, "site-club") is None
    assert ask(full, ledger.entries, "account-nobody", 50, None) == ([], None)
    assert ask(full, accounts.sites, "account-nobody", 50, None) == ([], None)
    assert ask(full, accounts.keys, "account-nobody", 50, None) == ([], None)
    mine, _ = ask(full, accounts.keys, ALICE, 50, None)
    assert {row.account_id for row in mine} == {ALICE}


def test_the_two_ledgers_share_no_entry(full: sa.Engine) -> None:
    mine, _ = ask(full, ledger.entries, ALICE, 1000, None)
    theirs, _ = ask(full, ledger.entries, BOB, 1000, None)
    assert mine
    assert theirs
    assert not {row.id for row in mine} & {row.id for row in theirs}
    assert [row.at for row in mine] == sorted((row.at for row in mine), reverse=True)


def test_the_overview_has_seven_named_stages(full: sa.Engine) -> None:
    counts = ask(full, overview.counts, ALICE, SHOP)
    assert [row.stage for row in counts] == [1, 2, 3, 4, 5, 6, 7]
    assert counts[0].name == "clusters"
    assert (counts[0].done, counts[0].failed) == (6, 1)


def test_a_runs_events_are_those_of_the_topic(full: sa.Engine, world: World) -> None:
    run = next(iter(world.runs))
    expected = [placed for placed in world.placed if placed.envelope.run_id == run]
    _, account = world.home_of(run)
    found, after = [], 0
    while rows := ask(full, run_events.after_run, account, run, after, 13):
        found += rows
        after = rows[-1].position
    assert [(row.position, row.type, row.at) for row in found] == [
        (p.position, p.envelope.message.TYPE, p.envelope.at) for p in expected
    ]
    stages = [row for row in found if row.type.startswith("Stage")]
    assert all({"stage", "batch_id"} <= row.data.keys() for row in stages)


def test_the_log_is_for_people(full: sa.Engine) -> None:
    run = ask(full, runs.history, ALICE, SHOP, 10, None)[0][1]
    lines = ask(full, run_log.tail, ALICE, run.run_id, 1000)
    said = [line.message for line in lines]
    assert said[0].startswith("Run started by system, estimated at ")
    assert "Stage 1 (clusters) started with 5 keywords" in said
    assert "Batch 1 done: 2 keywords, 1 credit" in said
    assert "Batch 3 done: 1 keyword, 1 credit, 1 failed: the model said no" in said
    assert "Stage 1 (clusters) completed: 4 done, 1 failed, 3 credits" in said
    assert "A batch was not begun: the run is paused" in said
    assert "Attempt 1 of a batch failed: no disk space" in said
    assert "A batch was given up, 1 task failed: no disk space" in said
    assert said[-1] == f"Run completed: {run.total_credits_used} credits"
    assert {line.level for line in lines} == {"info", "warning", "error"}
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert ask(full, run_log.tail, ALICE, run.run_id, 3) == lines[-3:]


def test_a_receipt_keeps_the_answer_as_it_was(full: sa.Engine, world: World) -> None:
    found = {}
    for placed in world.placed:
        envelope = placed.envelope
        if envelope.message.TYPE in ("MessageAccepted", "MessageRefused"):
            row = ask(full, receipts.find, envelope.account_id, envelope.cause)
            assert row is not None
            assert row.at == envelope.at
            found.setdefault((row.kind, row.code), row)
    started = RunRow.model_validate(found["RunRequested", None].answer)
    assert (started.status, started.current_stage, started.batches_in_flight) == ("running", 1, 1)
    assert started.held_credits > 0
    paused = RunRow.model_validate(found["PauseRequested", None].answer)
    assert (paused.status, paused.batches_in_flight) == ("paused", 1)
    resumed = RunRow.model_validate(found["ResumeRequested", None].answer)
    assert resumed.status == "running"
    cancelled = RunRow.model_validate(found["CancelRequested", None].answer)
    assert (cancelled.status, cancelled.batches_in_flight) == ("cancelled", 1)
    config = ConfigRow.model_validate(found["ConfigUpdateRequested", None].answer)
    assert (config.site_id, config.stage_1_batch_size) == (SHOP, 2)
    refused = found["PauseRequested", "invalid_transition"]
    assert (refused.numbers, refused.answer) == ({"run_status": "paused"}, None)
    assert found["KeywordsSubmitted", None].numbers == {"imported": 5, "duplicates": 1}
    assert ask(full, receipts.find, ALICE, "cmd-unknown") is None


def test_why_names_the_rule_and_the_numbers(full: sa.Engine) -> None:
    newest, oldest = ask(full, refusals.recent, ALICE, BLOG, 10)
    assert (newest.code, newest.trigger_type) == ("schedule_changed", "scheduled")
    assert isinstance(newest.slot, datetime)
    assert (oldest.code, oldest.slot) == ("nothing_to_do", None)
    (lacking,) = ask(full, refusals.recent, BOB, "site-club", 10)
    assert lacking.code == "insufficient_credits"
    assert set(lacking.numbers) == {
        "estimated_credits",
        "required_credits",
        "available_credits",
    }


def test_keys_are_found_by_digest_until_revoked(full: sa.Engine) -> None:
    first = ask(full, accounts.find_key, derive("digest", ALICE))
    assert first is not None
    assert (first.account_id, first.role, first.revoked) == (ALICE, "admin", False)
    second = ask(full, accounts.find_key, derive("digest", "second"))
    assert second is not None
    assert second.revoked
    assert ask(full, accounts.key, "key-second") == second
    assert ask(full, accounts.find_key, "unknown") is None


def test_keys_are_paged_in_the_order_of_issue(full: sa.Engine) -> None:
    first, after = ask(full, accounts.keys, ALICE, 1, None)
    second, end = ask(full, accounts.keys, ALICE, 1, after)
    assert [row.revoked for row in (*first, *second)] == [False, True]
    assert first[0].created_at <= second[0].created_at
    assert (second[0], end) == (ask(full, accounts.key_of, ALICE, "key-second"), None)
    assert second[0].digest not in repr(second[0])


def test_sites_are_paged_in_the_order_of_creation(full: sa.Engine) -> None:
    first, after = ask(full, accounts.sites, ALICE, 1, None)
    others, end = ask(full, accounts.sites, ALICE, 9, after)
    assert ([row.site_id for row in (*first, *others)], end) == ([SHOP, BLOG, DESK], None)
    assert ask(full, accounts.site, ALICE, SHOP) == first[0]


def test_an_account_exists_only_once_it_was_opened(engine: sa.Engine, world: World) -> None:
    fold_all(engine, [placed for placed in world.placed if placed.key == SHOP])
    assert ask(engine, accounts.find, ALICE) is None
    fold_all(engine, [placed for placed in world.placed if placed.key == ALICE])
    row = ask(engine, accounts.find, ALICE)
    assert row is not None
    assert row.name == "Account-Alice"


def test_the_items_of_a_stage_keep_their_order(full: sa.Engine, world: World) -> None:
    for placed in world.placed:
        message = placed.envelope.message
        if isinstance(message, StageStarted):
            account, run = placed.envelope.account_id, placed.envelope.run_id
            assert ask(full, runs.stage_items, account, run, message.stage) == message.items
