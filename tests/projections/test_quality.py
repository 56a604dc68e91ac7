"""What the read model knows of a draft's quality, and which articles share its shingles."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from events.content import Draft
from events.quality import Measure, Quality
from events.run import StageBatchCompleted
from events.topics import Placed
from projections import run_log, writer
from services.stage_workers.items import Batch
from services.stage_workers.quality.written import NOBODY
from services.stage_workers.reading import Reader
from tests.projections.history import ALICE, BOB, DESK, SHOP, World
from tests.projections.tables import ask, beside, dump, fold_all

SHARED = "000000000008"


@pytest.fixture
def full(engine: sa.Engine, world: World) -> sa.Engine:
    fold_all(engine, world.placed)
    return engine


def listed(engine: sa.Engine, site: str, **how: Any) -> list[writer.ContentSummary]:
    rows, _ = ask(engine, lambda tx: writer.list_content(tx, ALICE, site, None, 99, None, **how))
    return rows


def reports(placed: Sequence[Placed]) -> list[tuple[Placed, Draft]]:
    """Return the events that reported drafts, with the first draft of each."""
    return [
        (one, fact)
        for one in placed
        if isinstance(one.envelope.message, StageBatchCompleted)
        for fact in one.envelope.message.made[:1]
        if isinstance(fact, Draft)
    ]


def shingles_of(engine: sa.Engine, content_id: str) -> set[str]:
    return {row[1] for row in dump(engine)["shingles"] if row[2] == content_id}


def test_an_article_shows_its_measures_as_they_were_taken(full: sa.Engine) -> None:
    rows = listed(full, SHOP)
    assert {row.quality_passed for row in rows} == {True, False}
    for row in rows:
        article = ask(full, writer.content, ALICE, row.id)
        assert article is not None
        assert article.quality is not None
        assert article.quality.passed == row.quality_passed == ("Sugar" not in row.title)
        assert [(one.name, one.value) for one in article.quality.measures] == [
            ("length", 900),
            ("near_duplicate", 0.07),
            ("grammar", None),
        ]


def test_articles_are_listed_by_whether_they_passed(full: sa.Engine) -> None:
    every = [row.id for row in listed(full, SHOP)]
    passed = [row.id for row in listed(full, SHOP, passed=True)]
    failed = [row.id for row in listed(full, SHOP, passed=False)]
    assert passed
    assert failed
    assert sorted(passed + failed) == sorted(every)
    assert all("Sugar" in row.title for row in listed(full, SHOP, passed=False))


def test_a_draft_that_nobody_judged_has_no_quality(engine: sa.Engine, world: World) -> None:
    placed, draft = reports(world.placed)[0]
    bare = draft.model_copy(update={"quality": None, "shingles": ()})
    message = placed.envelope.message.model_copy(update={"made": (bare,)})
    envelope = placed.envelope.model_copy(update={"message": message})
    known = [one for one in world.placed if one.position < placed.position]
    fold_all(engine, [*known, replace(placed, envelope=envelope)])
    article = ask(engine, writer.content, envelope.account_id, draft.id)
    assert article is not None
    assert article.quality is None
    assert shingles_of(engine, draft.id) == set()


def test_shingles_are_those_of_the_last_revision(full: sa.Engine, world: World) -> None:
    pen = next(row for row in listed(full, DESK) if row.revision > 1)
    assert shingles_of(full, pen.id) == {SHARED, "0d"}
    article = ask(full, writer.content, ALICE, pen.id)
    assert article is not None
    assert article.quality is not None
    assert (article.quality.passed, article.quality.rewritten) == (True, True)
    assert pen.quality_passed is True
    first = next(draft for _, draft in reports(world.placed) if draft.id == pen.id)
    assert set(first.shingles) - {SHARED, "0d"}  # it had others, and did not pass
    assert first.quality is not None
    assert not first.quality.passed


def test_a_draft_that_is_told_again_stays_as_it_is(full: sa.Engine, world: World) -> None:
    placed, draft = next(
        (placed, draft)
        for placed, draft in reports(world.placed)
        if placed.key == SHOP and draft.title.startswith("Sugar")
    )
    before = dump(full)
    other = draft.model_copy(update={"shingles": ("f" * 12,), "quality": None})
    again = placed.envelope.message.model_copy(update={"made": (other,)})
    last = max(one.position for one in world.placed)
    fold_all(full, [replace(beside(placed, again), position=last + 1)])
    after = dump(full)
    assert after["shingles"] == before["shingles"]
    assert after["contents"] == before["contents"]


def test_articles_that_share_shingles_are_found_within_the_site(full: sa.Engine) -> None:
    every = {row.id for row in listed(full, SHOP)}
    found = ask(full, writer.sharing, ALICE, SHOP, [SHARED, "0d", "unknown"])
    assert found == dict.fromkeys(every, 1)
    (pen,) = [row for row in listed(full, DESK) if row.revision > 1]
    assert ask(full, writer.sharing, ALICE, DESK, [SHARED, "0d"])[pen.id] == 2
    assert ask(full, writer.sharing, ALICE, SHOP, []) == {}
    assert ask(full, writer.sharing, BOB, SHOP, [SHARED]) == {}


def test_rejected_articles_are_no_neighbours(full: sa.Engine) -> None:
    rejected = {row.id for row in listed(full, SHOP) if row.status == "rejected"}
    assert rejected
    found = ask(full, writer.articles, ALICE, SHOP)
    assert {row.id for row in found} == {row.id for row in listed(full, SHOP)} - rejected
    slugs = {slug for _, slug in ask(full, writer.newest, ALICE, SHOP)}
    assert slugs == {row.slug for row in found}


def test_the_run_log_warns_of_drafts_that_failed(full: sa.Engine, world: World) -> None:
    placed, draft = next(
        (placed, draft) for placed, draft in reports(world.placed) if "Sugar" in draft.title
    )
    run = placed.envelope.run_id or ""
    lines = ask(full, run_log.tail, placed.envelope.account_id, run, 999)
    (line,) = [line for line in lines if line.position == placed.position]
    assert line.level == "warning"
    assert line.message.endswith(f". Draft {draft.id} failed its quality gates: length")
    fine = next(one for one, draft in reports(world.placed) if "Sugar" not in draft.title)
    (line,) = [
        line
        for line in ask(
            full, run_log.tail, fine.envelope.account_id, fine.envelope.run_id or "", 999
        )
        if line.position == fine.position
    ]
    assert line.level == "info"


def test_of_many_drafts_that_failed_the_log_names_a_few(engine: sa.Engine, world: World) -> None:
    placed, draft = reports(world.placed)[0]
    measures = (
        Measure(name="length", value=1, passed=False, detail="Short."),
        Measure(name="headings", value=0, passed=False, detail="None."),
        Measure(name="questions", value=0, passed=False, advisory=True, detail="None."),
    )
    weak = draft.model_copy(
        update={"quality": Quality(passed=False, rewritten=False, measures=measures)}
    )
    made = tuple(weak.model_copy(update={"id": f"draft-{number}"}) for number in range(7))
    message = placed.envelope.message.model_copy(update={"made": made})
    envelope = placed.envelope.model_copy(update={"message": message})
    known = [one for one in world.placed if one.position < placed.position]
    fold_all(engine, [*known, replace(placed, envelope=envelope)])
    (line,) = ask(engine, run_log.tail, envelope.account_id, envelope.run_id or "", 1)
    assert "Draft draft-0 failed its quality gates: length, headings. " in line.message
    assert line.message.endswith(
        "Draft draft-4 failed its quality gates: length, headings. So did 2 other drafts"
    )


def test_a_worker_reads_the_neighbours_of_its_site_with_what_they_share(full: sa.Engine) -> None:
    async def get(digest: str) -> bytes:
        raise LookupError(digest)

    batch = Batch(ALICE, DESK, "run-1", "batch-1", 4, (), 2)
    site = asyncio.run(Reader(full, get).neighbours(batch, [SHARED, "0d"]))
    rows = {row.id: row for row in listed(full, DESK)}
    assert {one.id for one in site.articles} == set(rows)
    for one in site.articles:
        article = ask(full, writer.content, ALICE, one.id)
        assert article is not None
        assert (one.title, one.path) == (article.title, f"/{article.slug}")
        assert one.keyword == article.keywords[0]
        assert one.shared == (2 if rows[one.id].revision > 1 else 1)
    foreign = replace(batch, account_id=BOB)
    assert asyncio.run(Reader(full, get).neighbours(foreign, [SHARED])) == NOBODY
