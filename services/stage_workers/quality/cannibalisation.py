"""Does it compete with another article of the site for the same search?"""

from events.quality import Measure
from services.stage_workers.quality.words import named, subject
from services.stage_workers.quality.written import Neighbours, Written

ALIKE = 0.85  # of the words that two titles have together, those that both have


def cannibalisation(written: Written, site: Neighbours, language: str) -> Measure:
    """Find articles with the same main keyword, or with a title of almost the same words.

    Neither the order of the words nor a year makes a keyword or a title another one.
    """
    target = subject(written.keywords[0], language) if written.keywords else frozenset()
    title = subject(written.title, language)
    same, alike = [], []
    for other in site.articles:
        if target and subject(other.keyword, language) == target:
            same.append(other.title)
        elif _likeness(title, subject(other.title, language)) >= ALIKE:
            alike.append(other.title)
    parts = []
    if same:
        parts.append(f"The main keyword is also that of {named(same)}.")
    if alike:
        parts.append(f"The title is almost that of {named(alike)}.")
    return Measure(
        name="cannibalisation",
        value=len(same) + len(alike),
        passed=not parts,
        detail=" ".join(parts) or "No other article has its main keyword or its title.",
    )


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(len(one | other), 1)
