"""Takes all measures of a draft, and says what a rewrite has to put right."""

from events.brief import Brief
from events.quality import Measure, Quality
from services.stage_workers.quality.banned import banned_words
from services.stage_workers.quality.cannibalisation import cannibalisation
from services.stage_workers.quality.duplicates import near_duplicate, shingles
from services.stage_workers.quality.grammar import Check, grammar, nobody
from services.stage_workers.quality.headings import headings, questions
from services.stage_workers.quality.keywords import keyword_coverage
from services.stage_workers.quality.length import length
from services.stage_workers.quality.links import links
from services.stage_workers.quality.markdown import parse
from services.stage_workers.quality.metas import meta_description, meta_title
from services.stage_workers.quality.readability import readability
from services.stage_workers.quality.unfinished import repetition, unfinished
from services.stage_workers.quality.written import NOBODY, Neighbours, Written

# What no other wording mends: it is what the article is about.
OF_THE_IDEA = frozenset({"cannibalisation"})


def judge(
    written: Written, brief: Brief, site: Neighbours = NOBODY, check: Check = nobody
) -> Quality:
    """Return every measure of a draft; only what `check` does is not pure."""
    document, language = parse(written.body), brief.language
    return quality_of(
        length(document, language),
        readability(document, language),
        keyword_coverage(document, written.keywords, language),
        headings(document),
        questions(document),
        banned_words(document, written, brief.banned_words),
        unfinished(document, written, language),
        repetition(document),
        near_duplicate(shingles(document, language), site),
        cannibalisation(written, site, language),
        meta_title(written, language),
        meta_description(written, language),
        links(document, written.links),
        grammar(document, language, check),
    )


def quality_of(*measures: Measure) -> Quality:
    """Return the quality of a draft that was written once."""
    passed = all(measure.passed or measure.advisory for measure in measures)
    return Quality(passed=passed, rewritten=False, measures=measures)


def is_worth_a_rewrite(quality: Quality) -> bool:
    """Tell whether it failed for something that another wording mends."""
    return any(measure.name not in OF_THE_IDEA for measure in quality.failed)


def findings(quality: Quality) -> str:
    """Return the note for a rewrite: what failed, then advice; nothing when all passed."""
    failed = [measure for measure in quality.failed if measure.name not in OF_THE_IDEA]
    advice = [one for one in quality.measures if one.advisory and not one.passed]
    if not failed:
        return ""
    lines = ["Put right what was found in this text, and keep the rest:"]
    lines += [f"- {measure.detail}" for measure in (*failed, *advice)]
    return "\n".join(lines)


def better(first: Quality, second: Quality) -> Quality:
    """Return the one with fewer failures; the first of two that are equal, as nothing was won."""
    return second if len(second.failed) < len(first.failed) else first
