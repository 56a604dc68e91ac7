"""Are there words that the site does not want?"""

from collections.abc import Sequence

from events.quality import Measure
from services.stage_workers.quality.markdown import Document
from services.stage_workers.quality.words import folded, holds, named, units
from services.stage_workers.quality.written import Written


def banned_words(document: Document, written: Written, banned: Sequence[str]) -> Measure:
    """Find them as whole words, whatever the case, also in code, title and metas."""
    code = [block.text for block in document.blocks if block.kind == "code"]
    metas = (written.title, written.meta_title, written.meta_description)
    said = [units(folded(text)) for text in (*document.passages, *code, *metas)]
    found = [
        word for word in banned if any(holds(passage, units(folded(word))) for passage in said)
    ]
    if not banned:
        detail = "The site bans no words."
    elif found:
        detail = f"The site bans {named(found)}."
    else:
        detail = f"None of the {len(banned)} words that the site bans is used."
    return Measure(name="banned_words", value=len(found), passed=not found, detail=detail)
