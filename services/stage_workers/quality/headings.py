"""Do the headings make an outline that a reader can follow, and are questions answered?"""

from collections.abc import Iterator, Sequence

from events.quality import Measure
from services.stage_workers.quality.markdown import Document, Section
from services.stage_workers.quality.words import bare, counted, named, units

FEWEST = 2  # headings of level 2
QUESTIONS = 2
ASKS = ("?", "？", "؟", ";")  # noqa: RUF001  # the last is the Greek one


def headings(document: Document) -> Measure:
    """Find a title in the body, skipped levels, sections without text and repeated headings."""
    found = document.headings
    problems = list(_problems(found))
    value = sum(section.level == FEWEST for section in found)
    if value < FEWEST:
        problems.insert(
            0, f"It has {counted(value, 'heading')} of level 2; at least {FEWEST} are expected"
        )
    told = (
        ". ".join(problems)
        if problems
        else f"It has {counted(value, 'heading')} of level 2, in good order"
    )
    return Measure(name="headings", value=value, passed=not problems, detail=f"{told}.")


def _problems(found: Sequence[Section]) -> Iterator[str]:
    titles = [section.heading for section in found if section.level == 1]
    if titles:
        yield f"The title is not part of the body, so no heading is of level 1: {named(titles)}"
    nameless = sum(not section.heading for section in found)
    if nameless:
        yield f"It has {counted(nameless, 'heading')} without text"
    above = 1
    skipped = []
    for section in found:
        if section.level > above + 1:
            skipped.append(section.heading)
        above = section.level
    if skipped:
        yield f"A level is skipped above {named(skipped)}"
    empty = list(_empty(found))
    if empty:
        yield f"Nothing stands under {named(empty)}"
    twice = list(_twice(found))
    if twice:
        yield f"Headings stand twice: {named(twice)}"


def _twice(found: Sequence[Section]) -> Iterator[str]:
    """Give the headings that stand twice under the same one; every product may have its "Pros"."""
    above: list[tuple[int, str]] = []
    seen: set[tuple[tuple[int, str], ...]] = set()
    for section in found:
        folded = " ".join(units(bare(section.heading)))
        above = [*(one for one in above if one[0] < section.level), (section.level, folded)]
        path = tuple(above)
        if folded and path in seen:
            yield section.heading
        seen.add(path)


def _empty(found: Sequence[Section]) -> Iterator[str]:
    """Give the headings with neither text nor a deeper heading before the next one."""
    for at, section in enumerate(found):
        is_parent = at + 1 < len(found) and found[at + 1].level > section.level
        if not section.blocks and not is_parent and section.heading:
            yield section.heading


def questions(document: Document) -> Measure:
    """Count headings that ask, with an answer under them: an FAQ is good to have."""
    value = sum(
        section.heading.rstrip().endswith(ASKS) and bool(section.blocks)
        for section in document.headings
    )
    return Measure(
        name="questions",
        value=value,
        passed=value >= QUESTIONS,
        advisory=True,
        detail=(
            f"It has {counted(value, 'heading')} with a question and an answer; {QUESTIONS} are"
            " good to have."
        ),
    )
