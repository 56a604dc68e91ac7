"""Does the text speak of what people search for?"""

from collections.abc import Sequence

from events.quality import Measure
from services.stage_workers.quality.markdown import Document
from services.stage_workers.quality.words import holds, named, phrase

SHARE = 0.6


def keyword_coverage(document: Document, keywords: Sequence[str], language: str) -> Measure:
    """Give the share of the target keywords that stand in one paragraph or heading as a phrase.

    In English, small words, plurals and the question make no difference to a phrase.
    """
    if not keywords:
        return Measure(
            name="keyword_coverage",
            value=None,
            passed=True,
            detail="It was not measured: the article has no target keywords.",
        )
    passages = [phrase(text, language) for text in document.passages]
    missing = [
        keyword
        for keyword in keywords
        if not any(holds(passage, phrase(keyword, language)) for passage in passages)
    ]
    value = 1 - len(missing) / len(keywords)
    lacks = f" Missing: {named(missing)}." if missing else ""
    return Measure(
        name="keyword_coverage",
        value=round(value, 2),
        passed=value >= SHARE and keywords[0] not in missing,
        detail=(
            f"{len(keywords) - len(missing)} of {len(keywords)} target keywords are in the text;"
            f" the first and {SHARE:.0%} of all are expected.{lacks}"
        ),
    )
