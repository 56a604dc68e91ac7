"""Chooses sentences by a digest: the same seed, the same text; another title, another one."""

import hashlib
import re
from collections.abc import Sequence

from services.stage_workers.ai.local.stock import OPENERS, TAILS

LONG = 9  # words of an action that takes no tail
HAS_TAIL = re.compile(r"\b(?:after|and|as|before|each|if|so|that|to|until|while|whether|when)\b")


class Names:
    """What a text is about, by the names that take turns: the full one, then the shorter ones."""

    def __init__(self, full: str, *shorter: str) -> None:
        self._names = (full, *shorter)
        self._turn = 0

    def put_in(self, clause: str) -> str:
        """Return the clause with the next name in the place of {x}."""
        if "{x}" not in clause:
            return clause
        name = self._names[self._turn % len(self._names)]
        self._turn += 1
        return clause.format(x=name)


class Pen:
    """Picks from stocks of clauses. What was picked once is not picked again, nor what is banned.

    The order in which a stock is gone through follows from the seed, the place and the clause
    alone, so a clause added to a stock changes few texts.
    """

    def __init__(self, seed: str, banned: Sequence[str] = ()) -> None:
        words = [re.escape(" ".join(word.split())) for word in banned if word.strip()]
        self._banned = re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", re.IGNORECASE)
        self._is_free = not words
        self._seed = seed
        self._used: set[str] = set()

    def pick(self, stock: Sequence[str], where: str, count: int) -> list[str]:
        """Return so many clauses, or fewer when no more are left."""
        left = [clause for clause in stock if clause not in self._used and self._is_allowed(clause)]
        chosen = sorted(left, key=lambda clause: self._rank(where, clause))[:count]
        self._used.update(chosen)
        return chosen

    def sentences(self, stock: Sequence[str], where: str, count: int, names: Names) -> list[str]:
        """Return whole sentences about what the names stand for."""
        return [capitalised(names.put_in(text)) for text in self.pick(stock, where, count)]

    def orders(self, stock: Sequence[str], where: str, count: int, names: Names) -> list[str]:
        """Return imperative sentences, every other one after an opener, some short ones longer."""
        made = []
        turn = self._rank(where, "opener")[0]
        for at, action in enumerate(self.pick(stock, where, count)):
            with_opener = (at + turn) % 2 == 0
            openers = self.pick(OPENERS, f"{where}|{at}", 1) if with_opener else []
            with_tail = not with_opener and takes_tail(action)
            tails = self.pick(TAILS, f"{where}|{at}", 1) if with_tail else []
            made.append(capitalised(" ".join([*openers, names.put_in(action), *tails]) + "."))
        return made

    def _is_allowed(self, clause: str) -> bool:
        return self._is_free or not self._banned.search(clause)

    def _rank(self, where: str, clause: str) -> bytes:
        return hashlib.sha256(f"{self._seed}|{where}|{clause}".encode()).digest()


def takes_tail(action: str) -> bool:
    """Tell whether an action is short and simple enough for a clause of purpose or time."""
    return len(action.split()) < LONG and not HAS_TAIL.search(action)


def capitalised(sentence: str) -> str:
    """Return the sentence with a capital at its beginning, also within quotes."""
    at = 1 if sentence.startswith("“") else 0
    return sentence[:at] + sentence[at : at + 1].upper() + sentence[at + 1 :]


def listed(parts: Sequence[str]) -> str:
    """Return "a", "a and b", or "a, b and c"."""
    *most, last = parts or ("",)
    return f"{', '.join(most)} and {last}" if most else last
