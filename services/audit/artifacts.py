"""Every artifact that an event names: there, and of the hash that is its name."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from services.artifacts import Artifacts
from services.audit.survey import MOST, NAMED

AT_ONCE = 16  # artifacts that are read side by side


def differences(artifacts: Artifacts, named: Iterable[bytes]) -> tuple[int, list[str]]:
    """Return how many artifacts events name, and which are missing or have other bytes."""
    found, count = list[str](), 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for line in pool.map(partial(_wrong, artifacts), _named(named)):
            count += 1
            if line and len(found) < MOST:
                found.append(f"artifacts: {line}")
    return count, found


def _named(parts: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    """Give each digest once, in hex, with the first position that names it."""
    table = np.sort(np.frombuffer(b"".join(parts), dtype=NAMED), order="position")
    _, places = np.unique(table["digest"].view("V32"), return_index=True)
    for place in np.sort(places):
        yield bytes(table["digest"][place]).hex(), int(table["position"][place])


def _wrong(artifacts: Artifacts, one: tuple[str, int]) -> str:
    digest, position = one
    try:
        content = artifacts.read(digest)
    except LookupError:
        return f"{digest}, which position {position} names, is missing"
    actual = hashlib.sha256(content).hexdigest()
    return "" if actual == digest else f"{digest}, which position {position} names, is {actual}"
