"""Vectors of other models than the local one, and what they have in common."""

import numpy as np

from benchmarks.content import clustering, read_rows
from services.stage_workers.ai.local.embeddings import Embedder, Vectors
from services.stage_workers.ai.openai.vectors import UNLIKE, without
from tests.providers.worlds import local

LEAN = 2.0  # times as long as the vector itself; cosines of unlike texts are then about .8


def unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


class Leaning(Embedder):
    """The local vectors, made to lean all one way."""

    def __call__(self, texts: object) -> Vectors:
        direction = np.random.default_rng(1).normal(size=384)
        vectors = local().embed(texts)  # type: ignore[arg-type]
        return unit(vectors + LEAN * direction / np.linalg.norm(direction))


class Straightened(Leaning):
    """The same, as they are used."""

    def __call__(self, texts: object) -> Vectors:
        lean = super().__call__
        return without(lean(texts), lean(UNLIKE).mean(0))


def test_a_model_whose_vectors_lean_one_way_groups_as_one_whose_do_not():
    """Cosines that are high between any two texts hide the strays of a cluster."""
    rows = read_rows()
    leaning, straight = clustering(rows, Leaning()), clustering(rows, Straightened())
    assert straight["ari"] > max(0.7, leaning["ari"] + 0.02)
    assert straight["v_measure"] > max(0.9, leaning["v_measure"] + 0.02)
