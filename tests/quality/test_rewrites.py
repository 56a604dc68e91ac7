"""What stage 4 does with a draft that fails: it is written once more, the better one is kept."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

import pytest

from events.content import AiCall, Draft, Halt
from events.prices import LOCAL, Models
from projections.database import open_engine
from services.settings import Settings
from services.stage_workers.ai.model import (
    A,
    AnswerRejected,
    Article,
    Call,
    ItemFailed,
    Link,
    ModelUnavailable,
    ProviderHalted,
    Question,
    RequestDeclined,
    WriteArticle,
)
from services.stage_workers.app import gates_of
from services.stage_workers.batch import Work
from services.stage_workers.items import Batch, IdeaItem, Revision, TaskItem
from services.stage_workers.quality.gates import Desk, Gates, Judged
from services.stage_workers.quality.grammar import Hint
from services.stage_workers.quality.written import Neighbour, Neighbours
from services.stage_workers.reading import Reader
from services.stage_workers.stage_4_content import WriteDrafts, question_about
from tests.quality.articles import COLD_BREW, GOOD

MODELS = Models(text="gpt-5-mini")
BATCH = Batch("acc-1", "site-1", "run-1", "batch-1", 4, ("task-1",), 2, models=MODELS)
IDEA = IdeaItem("idea-1", "cl-1", GOOD.title, "informational", ("The Ratio",), GOOD.keywords)
RELATED = (Link("Light Roasts", "/light-roasts"),)
TASK = TaskItem("task-1", IDEA, RELATED)
FINE = Article(COLD_BREW, GOOD.meta_title, GOOD.meta_description)
SHORT = replace(FINE, body="## One\n\nToo short.\n\n## Two\n\nMuch too short.\n")
SHORTER = replace(SHORT, meta_title="Cold", meta_description="Brew")
OTHER_IDEA = replace(IDEA, id="idea-2", title="Iced Tea at Home", target_keywords=("iced tea",))

Answer = Article | Exception | Callable[[], Any]


async def fails(digest: str) -> bytes:
    """Stand for artifacts that nobody asks for."""
    raise LookupError(digest)


@dataclass
class Writer:
    """Answers by the title asked for, one answer after the other; one may be a wait or an error."""

    answers: dict[str, list[Answer]]
    asked: list[WriteArticle] = field(default_factory=list)

    async def __call__(self, account_id: str, models: Models) -> Self:  # noqa: ARG002
        return self

    async def answer(self, question: Question[A], calls: list[Call]) -> A:
        assert isinstance(question, WriteArticle)
        self.asked.append(question)
        answer = self.answers[question.title].pop(0)
        error: str | None = "cut off"
        try:
            if callable(answer):
                answer = await answer()
            if isinstance(answer, Exception):
                error = str(answer)
                raise answer
            error = None
        finally:
            calls.append(Call("test", 10, 5, error=error))
        return cast("A", answer)


@dataclass
class Site:
    """What the read model says of the site."""

    articles: tuple[Neighbour, ...] = ()
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def __call__(self, batch: Batch, shingles: Sequence[str]) -> Neighbours:
        assert batch.site_id == "site-1"
        self.asked.append(tuple(shingles))
        return Neighbours(self.articles)


@dataclass
class Done:
    """What a batch came to."""

    work: Work
    calls: list[AiCall]
    kept: dict[str, str]

    @property
    def draft(self) -> Draft:
        (made,) = self.work.made
        assert isinstance(made, Draft)
        return made

    @property
    def body(self) -> str:
        return self.kept[self.draft.body]

    def measure(self, name: str) -> tuple[bool, str]:
        assert self.draft.quality is not None
        found = next(one for one in self.draft.quality.measures if one.name == name)
        return found.passed, found.detail


def write(
    writer: Writer,
    *tasks: TaskItem,
    site: Site | None = None,
    batch: Batch = BATCH,
    check: Any = lambda _: (),
) -> Done:
    kept: dict[str, str] = {}
    calls: list[AiCall] = []

    async def put(content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        kept[digest] = content.decode()
        return digest

    tasks = tasks or (TASK,)

    async def read(_: Batch) -> tuple[TaskItem, ...]:
        return tasks

    stage = WriteDrafts(read, writer, put, Gates(site or Site(), check))
    batch = replace(batch, items=tuple(task.id for task in tasks))
    work = asyncio.run(stage.process(batch, calls))
    return Done(work, calls, kept)


def saying(*answers: Answer) -> Writer:
    return Writer({GOOD.title: list(answers)})


def test_a_draft_that_passes_is_asked_for_once():
    writer = saying(FINE)
    done = write(writer)
    assert done.draft.quality is not None
    assert (done.draft.quality.passed, done.draft.quality.rewritten) == (True, False)
    assert (done.body, len(writer.asked)) == (COLD_BREW, 1)
    assert done.draft.shingles


def test_one_that_fails_is_written_once_more_with_what_was_found():
    writer = saying(SHORT, FINE)
    done = write(writer)
    first, second = writer.asked
    assert (first.previous, first.note) == ("", "")
    assert second.previous == SHORT.body
    assert "between 300 and 5,000 are expected" in second.note
    assert replace(second, previous="", note="") == first
    assert done.draft.quality is not None
    assert (done.draft.quality.passed, done.draft.quality.rewritten) == (True, True)
    assert done.body == COLD_BREW
    assert [(call.status, call.tokens_in) for call in done.calls] == [("succeeded", 10)] * 2
    assert done.draft.word_count > 300


def test_one_that_fails_again_is_kept_and_marked_and_never_asked_for_a_third_time():
    writer = saying(SHORTER, SHORT)
    done = write(writer)
    assert done.draft.quality is not None
    assert (done.draft.quality.passed, done.draft.quality.rewritten) == (False, True)
    assert done.draft.meta_title == SHORT.meta_title  # the second has fewer failures
    assert len(writer.asked) == 2
    assert [outcome.error for outcome in done.work.outcomes] == [None]


@pytest.mark.parametrize("second", [SHORTER, replace(SHORT, body=f"{SHORT.body}\nMore.\n")])
def test_the_first_is_kept_where_the_second_is_no_better(second: Article):
    done = write(saying(SHORT, second))
    assert done.draft.quality is not None
    assert (done.draft.quality.passed, done.draft.quality.rewritten) == (False, True)
    assert done.body == SHORT.body


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (ModelUnavailable("no answer."), "no answer."),
        (RequestDeclined("it is against the policy"), "it is against the policy."),
        (AnswerRejected("wrong shape"), "wrong shape."),
        (replace(FINE, body=" \n"), "the article has no body."),
        (
            ProviderHalted(Halt(kind="out_of_credits", detail="The provider wants money.")),
            "The provider wants money.",
        ),
    ],
)
def test_the_first_is_kept_where_there_is_no_second(failure: Answer, said: str):
    done = write(saying(SHORT, failure))
    assert done.draft.quality is not None
    assert (done.draft.quality.passed, done.draft.quality.rewritten) == (False, False)
    assert done.body == SHORT.body
    assert done.measure("rewrite") == (False, f"It was not written again: {said}")
    assert (done.work.deferred, done.work.halt) == ((), None)
    assert len(done.calls) == 2


def test_a_model_that_writes_the_same_each_time_is_not_asked_again():
    writer = saying(SHORT)
    done = write(writer, batch=replace(BATCH, models=LOCAL))
    assert done.draft.quality is not None
    assert (done.draft.quality.passed, done.draft.quality.rewritten) == (False, False)
    assert done.measure("rewrite")[1].endswith(
        "local-1 writes by rules, which findings do not change."
    )
    assert len(writer.asked) == 1


def test_a_failure_of_the_first_is_as_ever():
    halt = Halt(kind="key_refused", detail="The key is wrong.")
    stopped = write(saying(ProviderHalted(halt)))
    assert (stopped.work.deferred, stopped.work.halt) == (("task-1",), halt)
    failed = write(saying(ItemFailed("no answer")))
    assert [outcome.error for outcome in failed.work.outcomes] == ["no answer"]


def test_a_rewrite_that_takes_too_long_costs_no_draft():
    async def forever() -> Any:
        await asyncio.Event().wait()

    done = write(saying(SHORT, forever), batch=replace(BATCH, seconds=2.0))
    assert done.body == SHORT.body
    assert done.measure("rewrite")[1] == "It was not written again: it was not done in time."
    assert [call.status for call in done.calls] == ["succeeded", "failed"]


def test_there_is_no_rewrite_where_the_first_has_taken_the_time():
    asked: list[WriteArticle] = []

    async def first(question: WriteArticle) -> Article:
        asked.append(question)
        return SHORT

    async def accepted() -> Judged:
        desk = Desk(Gates(Site()), BATCH, until=asyncio.get_running_loop().time())
        return await desk.accept(TASK, question_about(TASK, BATCH.brief), first)

    done = asyncio.run(accepted())
    assert (done.article, len(asked)) == (SHORT, 1)
    assert done.quality is not None
    assert "there was no time left" in done.quality.measures[-1].detail


def test_a_reviewers_note_stays_beside_the_findings():
    revision = Revision("draft-1", "old-slug", "The old text.", "Mention milk.")
    writer = saying(SHORT, FINE)
    done = write(writer, replace(TASK, revision=revision))
    first, second = writer.asked
    assert (first.previous, first.note) == ("The old text.", "Mention milk.")
    assert second.previous == SHORT.body
    assert second.note.startswith("Mention milk.\n\nPut right what was found")
    assert (done.draft.id, done.draft.slug) == ("draft-1", "old-slug")


def test_a_draft_is_not_compared_with_what_it_replaces():
    site = Site((Neighbour("draft-1", GOOD.title, GOOD.keywords[0], "/x", 999),))
    revision = Revision("draft-1", "x", "Old.", "Shorter.")
    assert write(saying(FINE), replace(TASK, revision=revision), site=site).draft.quality == (
        write(saying(FINE)).draft.quality
    )
    twin = write(saying(FINE, FINE), site=site)
    assert twin.draft.quality is not None
    assert [one.name for one in twin.draft.quality.failed] == ["near_duplicate", "cannibalisation"]


def test_what_only_the_idea_can_mend_costs_no_second_article():
    writer = saying(FINE)
    site = Site((Neighbour("draft-9", "Another Title", GOOD.keywords[0], "/x"),))
    done = write(writer, site=site)
    assert done.draft.quality is not None
    assert (done.draft.quality.passed, done.draft.quality.rewritten) == (False, False)
    assert len(writer.asked) == 1


TEA = TaskItem("task-2", OTHER_IDEA, RELATED)
COPIED = replace(FINE, body=f"{COLD_BREW}\n\nIced tea is another drink.\n")


def slow(answer: Answer) -> Answer:
    async def later() -> Any:
        await asyncio.sleep(0.3)  # the other one is written and waits, or is judged
        return answer

    return later


def failures(done: Done) -> list[list[str]]:
    qualities = [fact.quality for fact in done.work.made if isinstance(fact, Draft)]
    return [[one.name for one in quality.failed] for quality in qualities if quality]


@pytest.mark.parametrize("slower", [None, 0, 1])
def test_of_two_that_are_alike_in_a_batch_the_later_one_fails_whichever_was_ready_first(
    slower: int | None,
):
    site = Site()
    answers: list[list[Answer]] = [[FINE], [COPIED, COPIED]]
    if slower is not None:
        answers[slower][0] = slow(answers[slower][0])
    writer = Writer(dict(zip((GOOD.title, OTHER_IDEA.title), answers, strict=True)))
    done = write(writer, TASK, TEA, site=site)
    assert failures(done) == [[], ["near_duplicate"]]
    assert len(site.asked) == 3  # the later one was judged twice


def test_the_later_one_does_not_wait_for_one_that_fails():
    writer = Writer({GOOD.title: [ItemFailed("no answer")], OTHER_IDEA.title: [COPIED]})
    done = write(writer, TASK, TEA)
    assert [outcome.error for outcome in done.work.outcomes] == ["no answer", None]
    assert failures(done) == [[]]


def test_one_that_hangs_costs_the_others_no_draft_and_no_rewrite():
    async def forever() -> Any:
        await asyncio.Event().wait()

    fine = replace(FINE, body=COLD_BREW.replace("cold brew coffee", "iced tea"))
    writer = Writer({GOOD.title: [forever], OTHER_IDEA.title: [SHORT, fine]})
    done = write(writer, TASK, TEA, batch=replace(BATCH, seconds=3.0))
    assert [bool(outcome.error) for outcome in done.work.outcomes] == [True, False]
    assert done.draft.quality is not None
    assert done.draft.quality.rewritten


def test_a_rewrite_is_compared_with_all_that_the_batch_has_written():
    writer = Writer({GOOD.title: [SHORT, FINE], OTHER_IDEA.title: [COPIED]})
    assert failures(write(writer, TASK, TEA)) == [["near_duplicate"], []]


def test_links_to_pages_that_the_site_does_not_have_are_taken_out():
    body = COLD_BREW.replace(
        "Fine powder slips",
        "Our [grinders](/grinders) and [old page](/gone) help. Fine powder slips",
    )
    site = Site((Neighbour("draft-9", "Grinders", "coffee grinder", "/grinders"),))
    done = write(saying(replace(FINE, body=body)), site=site)
    assert "[grinders](/grinders) and old page help." in done.body
    assert "[light roasts](/light-roasts)" in done.body.replace("\n", " ")
    assert done.measure("links")[0]
    assert done.draft.quality is not None
    assert done.draft.quality.passed


def test_a_grammar_checker_is_asked_and_its_hints_are_shown():
    done = write(saying(FINE), check=lambda _: (Hint("an test", "Use a."),))
    assert done.measure("grammar")[1].startswith("The checker has 1 hint: “an test: Use a.”")


@pytest.mark.parametrize(("provider", "is_judged"), [("instant", False), ("local", True)])
def test_only_what_no_reader_sees_is_not_judged(tmp_path: Path, provider: Any, *, is_judged: bool):
    settings = Settings(data_dir=tmp_path, ai_provider=provider)
    engine = open_engine(f"sqlite:///{tmp_path / 'read-model.db'}")
    assert (gates_of(settings, Reader(engine, fails)) is not None) is is_judged


def test_without_gates_nothing_is_judged_and_a_draft_is_asked_for_once():
    async def put(content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    async def read(_: Batch) -> tuple[TaskItem, ...]:
        return (TASK,)

    writer = saying(SHORT)
    work = asyncio.run(WriteDrafts(read, writer, put).process(BATCH, []))
    (draft,) = work.made
    assert isinstance(draft, Draft)
    assert (draft.quality, draft.shingles, len(writer.asked)) == (None, (), 1)
