"""Is it much the same as another article of the site? By shingles, which a table can look up."""

import hashlib
from collections.abc import Sequence

from events.quality import Measure
from services.stage_workers.quality.markdown import Document
from services.stage_workers.quality.words import bare, is_spaceless, named, units
from services.stage_workers.quality.written import Neighbours

WORDS = 5
CHARACTERS = 8  # about as much of a language without spaces
BYTES = 6  # of a digest: two articles share one by chance in one of a million pairs
KEPT = 8  # one digest of so many, chosen by value, so the same of every text
MOST = 256  # so a batch of a hundred drafts is a message of the broker's size
FEWEST = 8  # shingles that say something
SHARED = 0.3


def shingles(document: Document, language: str) -> tuple[str, ...]:
    """Return digests in hex of runs of five words, a sample that is the same for the same run.

    Of a text of more than about 2,000 words they are those with the lowest values.
    """
    size = CHARACTERS if is_spaceless(language) else WORDS
    kept: set[str] = set()
    for text in document.passages:
        said = units(bare(text))
        for at in range(len(said) - size + 1):
            run = " ".join(said[at : at + size]).encode()
            digest = hashlib.blake2b(run, digest_size=BYTES).digest()
            if digest[-1] % KEPT == 0:
                kept.add(digest.hex())
    return tuple(sorted(kept)[:MOST])


def near_duplicate(own: Sequence[str], site: Neighbours) -> Measure:
    """Give the highest share of the draft's shingles that one other article has too.

    Measured on copies: .89 where 2 % of the words were changed, .26 where 20 % were.
    """
    if len(own) < FEWEST:
        detail = "It was not measured: there is too little text."
        return Measure(name="near_duplicate", value=None, passed=True, detail=detail)
    nearest = max(site.articles, key=lambda article: article.shared, default=None)
    value = nearest.shared / len(own) if nearest else 0.0
    which = f" with {named([nearest.title])}" if nearest and nearest.shared else ""
    return Measure(
        name="near_duplicate",
        value=round(value, 2),
        passed=value <= SHARED,
        detail=(
            f"It shares {value:.0%} of its wording{which}; at most {SHARED:.0%} is expected of"
            " any other article."
        ),
    )
