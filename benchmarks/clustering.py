"""How well does the local provider group keywords? Compares its clusters with hand-made ones.

Prints one JSON object: the adjusted Rand index and V-measure of the released cut and of its
neighbours. Run it as `python -m benchmarks.clustering`.
"""

import csv
import json
import math
import time
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

from services.stage_workers.ai.local.clustering import CUT, cluster
from services.stage_workers.ai.local.embeddings import Embedder
from services.stage_workers.ai.model import Keyword

LABELLED = Path(__file__).parent / "data" / "keywords-labelled.csv"
CUTS = (1.2, 1.3, 1.4)


def adjusted_rand_index(truth: Sequence[Hashable], found: Sequence[Hashable]) -> float:
    """Return the agreement of two labellings, 1 for the same and about 0 for chance.

    Hubert and Arabie (1985): (sum C(n_ij, 2) - expected) / (mean of both sums - expected).
    """
    together = sum(math.comb(n, 2) for n in Counter(zip(truth, found, strict=True)).values())
    of_truth = sum(math.comb(n, 2) for n in Counter(truth).values())
    of_found = sum(math.comb(n, 2) for n in Counter(found).values())
    expected = of_truth * of_found / max(math.comb(len(truth), 2), 1)
    most = (of_truth + of_found) / 2
    return 1.0 if most == expected else (together - expected) / (most - expected)


def v_measure(truth: Sequence[Hashable], found: Sequence[Hashable]) -> float:
    """Return the harmonic mean of homogeneity and completeness, 0 to 1.

    Rosenberg and Hirschberg (2007): h = 1 - H(C|K) / H(C), c = 1 - H(K|C) / H(K); both are the
    mutual information over an entropy, so V = 2 (H(C) + H(K) - H(C, K)) / (H(C) + H(K)).
    """
    apart = entropy(truth) + entropy(found)
    joint = entropy(list(zip(truth, found, strict=True)))
    return 1.0 if apart == 0 else 2 * (apart - joint) / apart


def entropy(labels: Sequence[Hashable]) -> float:
    """Return Shannon's entropy of the labels' shares, in nats."""
    n = len(labels)
    return -sum(count / n * math.log(count / n) for count in Counter(labels).values())


def measure(rows: Sequence[dict[str, str]], embedder: Embedder, cut: float) -> dict[str, float]:
    """Return the scores of one cut over labelled rows of `keyword` and `cluster`."""
    keywords = [Keyword(f"kw-{at:05}", row["keyword"]) for at, row in enumerate(rows)]
    started = time.perf_counter()
    groups = cluster(keywords, embedder, cut)
    seconds = time.perf_counter() - started
    label = {member: at for at, group in enumerate(groups) for member in group.members}
    truth = [row["cluster"] for row in rows]
    found = [label[keyword.id] for keyword in keywords]
    return {
        "cut": cut,
        "keywords": len(rows),
        "clusters": len(groups),
        "ari": round(adjusted_rand_index(truth, found), 4),
        "v_measure": round(v_measure(truth, found), 4),
        "seconds": round(seconds, 3),
    }


def read_rows(path: Path = LABELLED) -> list[dict[str, str]]:
    """Return the labelled keywords: keyword, topic, cluster, intent."""
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def main() -> None:
    """Print the released cut's scores, from a cold start, then those of each cut."""
    rows, embedder = read_rows(), Embedder()
    released = measure(rows, embedder, CUT)
    by_cut = [measure(rows, embedder, cut) for cut in CUTS]
    print(json.dumps({**released, "by_cut": by_cut}, indent=2))


if __name__ == "__main__":
    main()
