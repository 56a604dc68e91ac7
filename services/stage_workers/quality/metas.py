"""Do title and description for search results say enough, and fit?"""

from events.quality import Measure
from services.stage_workers.quality.words import counted, is_spaceless
from services.stage_workers.quality.written import Written

TITLE = (15, 60)  # characters; what search results show
DESCRIPTION = (50, 155)
SPACELESS_TITLE, SPACELESS_DESCRIPTION = (6, 60), (20, 155)


def meta_title(written: Written, language: str) -> Measure:
    """Count the characters of the meta title."""
    limits = SPACELESS_TITLE if is_spaceless(language) else TITLE
    return _measured("meta_title", "meta title", written.meta_title, limits)


def meta_description(written: Written, language: str) -> Measure:
    """Count the characters of the meta description."""
    limits = SPACELESS_DESCRIPTION if is_spaceless(language) else DESCRIPTION
    return _measured("meta_description", "meta description", written.meta_description, limits)


def _measured(name: str, noun: str, text: str, limits: tuple[int, int]) -> Measure:
    value, (low, high) = len(text.strip()), limits
    detail = f"The {noun} has {counted(value, 'character')}; {low} to {high} are expected."
    return Measure(name=name, value=value, passed=low <= value <= high, detail=detail)
