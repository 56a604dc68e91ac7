"""Groups keywords by meaning: Ward's method where they were placed, then names and intents."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.stage_workers.ai.local.embeddings import Vectors
from services.stage_workers.ai.local.intents import (
    intent_of,
    intent_of_group,
    without_navigation,
)
from services.stage_workers.ai.local.meanings import Embed, drawn_together, meanings
from services.stage_workers.ai.local.names import name_groups
from services.stage_workers.ai.model import Group, Keyword

# chosen like what places the keywords: docs/local-provider.md
CUT = 1.05  # Ward height
NEAR = 0.35  # cosine of whole phrases, to the nearest of one's cluster
AT_ONCE = 5_000  # keywords; the distances of that many take 100 MB

Matrix = npt.NDArray[np.float32]


def cluster(
    keywords: Sequence[Keyword],
    embed: Embed,
    cut: float = CUT,
) -> tuple[Group, ...]:
    """Return groups that hold every keyword once. The order of the keywords changes nothing."""
    ordered = sorted(keywords, key=lambda keyword: (keyword.id, keyword.text))
    if not ordered:
        return ()
    texts = [keyword.text for keyword in ordered]
    labels = without_strays(embed(texts), labels_of(meanings(texts, embed), cut))
    together: defaultdict[tuple[int, str], list[Keyword]] = defaultdict(list)
    for keyword, label in zip(ordered, labels, strict=True):
        together[label, _destination(keyword)].append(keyword)
    groups = list(together.values())
    names = name_groups([[keyword.text for keyword in group] for group in groups])
    return tuple(
        Group(
            name=name,
            intent=intent_of_group((keyword.text, keyword.intent) for keyword in group),
            members=tuple(keyword.id for keyword in group),
        )
        for name, group in zip(names, groups, strict=True)
    )


def labels_of(vectors: Vectors, cut: float = CUT) -> list[int]:
    """Return a label per row, numbered by first use. More than 5,000 rows are halved first."""
    if len(vectors) <= AT_ONCE:
        return ward_labels(drawn_together(vectors), cut)
    labels = np.zeros(len(vectors), np.int64)
    for rows in halves(vectors):
        labels[rows] = np.array(labels_of(vectors[rows], cut)) + labels.max() + 1
    return _renumbered(labels.tolist())


def without_strays(vectors: Vectors, labels: Sequence[int], near: float = NEAR) -> list[int]:
    """Return the labels, with a new one for each row that is near no other of its cluster.

    Ward merges small leftovers that have little in common: an article for them would have no topic.
    """
    old, new = np.array(labels), list(labels)
    for label in range(max(labels, default=-1) + 1):
        rows = np.flatnonzero(old == label)
        cosines = vectors[rows] @ vectors[rows].T
        np.fill_diagonal(cosines, -1)
        for row in rows[cosines.max(1) < near]:
            new[row] = len(labels) + int(row)
    return _renumbered(new)


def halves(vectors: Vectors) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows on either side of the median along the direction of most variance."""
    centred = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(centred @ directions[:, -1], kind="stable")
    middle = len(order) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def ward_labels(vectors: Vectors, cut: float = CUT) -> list[int]:
    """Return Ward's flat clusters below the height `cut`, numbered by first use.

    Exact, in O(n²): the nearest-neighbour chain (Murtagh 1983) with the Lance-Williams update
    on squared distances.
    """
    parent = list(range(len(vectors)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for height, a, b in merges(vectors):
        if height < cut:
            parent[root(a)] = root(b)
    return _renumbered([root(i) for i in range(len(vectors))])


def merges(vectors: Vectors) -> list[tuple[float, int, int]]:
    """Return Ward's n - 1 merges as height and two rows that stand for the merged clusters."""
    n = len(vectors)
    dist = _squared_distances(vectors)
    size, alive = np.ones(n), np.ones(n, bool)
    chain: list[int] = []
    found: list[tuple[float, int, int]] = []
    while len(found) < n - 1:
        chain = chain or [int(alive.argmax())]
        a, b = _nearest_pair(dist, chain)
        del chain[-2:]
        d, na, nb = dist[a, b], size[a], size[b]
        found.append((float(d) ** 0.5, a, b))
        new = ((na + size) * dist[a] + (nb + size) * dist[b] - size * d) / (na + nb + size)
        alive[a], size[b] = False, na + nb
        dist[b] = np.where(alive, new, np.inf)
        dist[:, b] = dist[b]
        dist[b, b] = dist[a] = dist[:, a] = np.inf
    return found


def _nearest_pair(dist: Matrix, chain: list[int]) -> tuple[int, int]:
    """Lengthen the chain until its last two are each other's nearest; a tie goes back."""
    while True:
        a = chain[-1]
        b = int(dist[a].argmin())
        if len(chain) > 1 and dist[a, chain[-2]] <= dist[a, b]:
            return a, chain[-2]
        chain.append(b)


def _squared_distances(vectors: Vectors) -> Matrix:
    norm = (vectors * vectors).sum(1)
    dist: Matrix = np.maximum(norm[:, None] + norm - 2 * (vectors @ vectors.T), 0).astype(
        np.float32
    )
    np.fill_diagonal(dist, np.inf)
    return dist


def _renumbered(labels: Sequence[int]) -> list[int]:
    first: dict[int, int] = {}
    return [first.setdefault(label, len(first)) for label in labels]


def _destination(keyword: Keyword) -> str:
    """Return where a navigational keyword leads, so that it leaves its neighbours; else ""."""
    if intent_of(keyword.text, keyword.intent) != "navigational":
        return ""
    return without_navigation(keyword.text) or keyword.text
