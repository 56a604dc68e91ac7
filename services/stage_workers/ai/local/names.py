"""Names groups of keywords by the words that they share and other groups do not."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from services.stage_workers.ai.local.casing import title_case, word_set

STOP = word_set(
    "a an and are as at be by can do does for from get has have how i if in into is it its like me"
    " much many my near nothing of off on or other than that the their this to too under up use"
    " vs vs. versus was what when where which who why will with without you your"
)
NOT_FIRST = STOP | word_set("best top free cheap good average explained long should time")
NOT_LAST = STOP | word_set("best top free cheap explained online average should long")
YEAR = re.compile(r"\b20[2-4]\d\b")
LONGEST = 3  # words in a name made of shared words
PAIR = 2  # keywords; one word that two share is no topic
FEW = 5  # groups; a single word that more of them use says too little


def plain(keyword: str) -> str:
    """Return the keyword in lower case, with single spaces and without a year."""
    return " ".join(YEAR.sub(" ", keyword.lower()).split()) or keyword.lower()


def phrases(keyword: str) -> set[str]:
    """Return the runs of one to three words that could be a name."""
    return set(_phrases(plain(keyword).split()))


def name_groups(groups: Sequence[Sequence[str]]) -> list[str]:
    """Return a name per group, none twice while there are candidates to choose from."""
    spread = Counter(phrase for group in groups for phrase in set(_all_phrases(group)))
    taken: set[str] = set()
    names = []
    for group in groups:
        ranked = [title_case(phrase) for phrase in ranked_names(group, spread, len(groups))]
        ranked.append(title_case(shortest(group)))
        name = next((name for name in ranked if name not in taken), ranked[-1])
        taken.add(name)
        names.append(name)
    return names


def ranked_names(group: Sequence[str], spread: Counter[str], groups: int) -> list[str]:
    """Return candidate names in lower case, the best first.

    The score is the share of keywords that hold the phrase, more for longer phrases, and more for
    phrases that few other groups use: without that, names become "Template" or "Calculator". A
    phrase of one keyword alone is no name for several, so then the shortest keyword is.
    """
    if len(group) == 1:
        return [plain(group[0])]
    counts = Counter(_all_phrases(group))

    def score(phrase: str) -> tuple[float, int, str]:
        share = counts[phrase] / len(group)
        rarity = math.log(1 + (1 + groups) / spread.get(phrase, 1))
        return -share * (1 + 0.55 * phrase.count(" ")) * rarity, -len(phrase), phrase

    ranked = sorted(counts, key=score)
    shared = [phrase for phrase in ranked if counts[phrase] > 1]
    if not shared:
        return [shortest(group)]
    best = shared[0]
    if " " not in best and len(group) <= PAIR:
        return [shortest(group), *shared]
    longer = [] if " " in best else _longer(best, shared, group)
    if not longer and (counts[best] < 0.75 * len(group) or spread.get(best, 1) > FEW):
        longer = [phrase for phrase in ranked if phrase.count(" ") == 1 and _has(phrase, best)]
    return [*longer, *shared]


def head_term(group: Sequence[str]) -> str:
    """Return the best name of a group on its own, in lower case."""
    return ranked_names(group, Counter(), 1)[0]


def shortest(group: Sequence[str]) -> str:
    """Return the keyword of fewest letters, in lower case and without a year."""
    return min((plain(keyword) for keyword in group), key=lambda text: (len(text), text))


def content_words(text: str) -> frozenset[str]:
    """Return the words that carry meaning, without a plural's s, to compare headings by."""
    found = re.findall(r"[a-z0-9]+", text.lower())
    return frozenset(word.rstrip("s") or word for word in found if word not in STOP)


def _longer(best: str, shared: Sequence[str], group: Sequence[str]) -> list[str]:
    """Return what says more than a single word: a longer shared phrase, or two words often met."""
    whole = [phrase for phrase in shared if " " in phrase and _has(phrase, best)]
    pairs = [f"{one} {two}" for one in shared for two in shared if best in (one, two)]
    enough = max(2, 0.6 * len(group))
    often = [pair for pair in pairs if sum(_in_order(pair, text) for text in group) >= enough]
    return [*often[:1], *whole]


def _has(phrase: str, word: str) -> bool:
    return word.rstrip("s") in (one.rstrip("s") for one in phrase.split())


def _in_order(pair: str, keyword: str) -> bool:
    one, two = pair.split(" ", 1)
    words = plain(keyword).split()
    return " " not in two and one in words and two in words[words.index(one) + 1 :]


def _all_phrases(group: Iterable[str]) -> Iterator[str]:
    for keyword in group:
        yield from phrases(keyword)


def _phrases(words: Sequence[str]) -> Iterator[str]:
    for length in range(1, LONGEST + 1):
        for start in range(len(words) - length + 1):
            run = words[start : start + length]
            if run[0] in NOT_FIRST or run[-1] in NOT_LAST or {"vs", "vs.", "versus"} & set(run):
                continue
            if any(len(word) > 1 and any(map(str.isalpha, word)) for word in run):
                yield " ".join(run)
