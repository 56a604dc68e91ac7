"""Places keywords where those of one topic are near: by phrase, by rare words, by neighbours.

A sentence model puts "snow removal" near other snow and "hoka vs brooks" near nothing. So the
words that few keywords of the list have count for themselves, and each keyword is drawn towards
its nearest others before anything is grouped.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.stage_workers.ai.local.embeddings import Vectors
from services.stage_workers.ai.local.names import STOP, plain

# chosen on a development set and on one half of the labelled keywords: docs/local-provider.md
WORDS = 0.4  # share of the squared distance that comes from the single words
NEIGHBOURS = 5
ROUNDS = 3
PULL = 0.5  # how far a keyword moves towards its neighbours in a round
SHARPNESS = 3  # power of the cosine by which a neighbour counts
BLOCK = 512  # rows whose cosines to all are in memory at once
FEW = 5  # keywords; the mean of as many says half of what a long list's mean says

Embed = Callable[[Sequence[str]], Vectors]


def meanings(texts: Sequence[str], embed: Embed) -> Vectors:
    """Return unit vectors of shape (texts, 768), the whole phrase beside its words.

    Squared distances are the weighted mean of both views' squared distances.
    """
    whole = without_common(embed(texts))
    return np.hstack([math.sqrt(1 - WORDS) * whole, math.sqrt(WORDS) * by_words(texts, embed)])


def needed(texts: Sequence[str]) -> list[str]:
    """Return every text that `meanings` of these asks vectors for: the texts and their words."""
    words = {word for text in texts for word in content_words_in_order(text)}
    return sorted({*texts, *words})


def without_common(vectors: Vectors) -> Vectors:
    """Return the vectors less what all have in common: of a site about solar, that it is solar.

    Their mean is taken off, less of it for a short list, whose mean is its few topics' own.
    """
    count = len(vectors)
    return unit(vectors - vectors.mean(0) * (count / (count + FEW)))


def by_words(texts: Sequence[str], embed: Embed) -> Vectors:
    """Return for each text the mean of its words' vectors, a rare word counting for more.

    The weight is the smoothed inverse document frequency, ln((1 + n) / (1 + df)) + 1, as in Arora
    et al. (2017), "A simple but tough-to-beat baseline for sentence embeddings".
    """
    split = [content_words_in_order(text) for text in texts]
    spread = Counter(word for words in split for word in set(words))
    vocabulary = sorted(spread)
    vectors = embed(vocabulary)
    row = {word: at for at, word in enumerate(vocabulary)}
    weight = {word: math.log((1 + len(texts)) / (1 + spread[word])) + 1 for word in vocabulary}
    weighted = vectors * np.array([[weight[word]] for word in vocabulary], np.float32)
    return unit(np.stack([weighted[[row[word] for word in words]].sum(0) for words in split]))


def content_words_in_order(text: str) -> list[str]:
    """Return the words that are no stop words, or all, or the text itself where it has none."""
    words = re.findall(r"[\w.&+#-]+", plain(text))
    return [word for word in words if word not in STOP] or words or [text]


def drawn_together(vectors: Vectors) -> Vectors:
    """Return the vectors moved towards their nearest others, so that chains become groups.

    Each round mixes a row with the mean of the rows that it is near to or that are near to it, as
    in a graph's low-pass filter: Zhang et al. (2019), "Attributed graph clustering via adaptive
    graph convolution".
    """
    if len(vectors) <= NEIGHBOURS:
        return vectors
    for _ in range(ROUNDS):
        vectors = unit((1 - PULL) * vectors + PULL * neighbours_means(vectors))
    return vectors


def neighbours_means(vectors: Vectors) -> Vectors:
    """Return for each row the mean of its neighbours, weighted by a power of the cosine."""
    nearest, cosines = nearest_rows(vectors)
    weights = np.maximum(cosines, 0) ** SHARPNESS
    sums, degrees = np.zeros_like(vectors), np.zeros((len(vectors), 1), np.float32)
    for column, weight in zip(nearest.T, weights.T[..., None], strict=True):
        sums += weight * vectors[column]
        degrees += weight
        np.add.at(sums, column, weight * vectors)
        np.add.at(degrees, column, weight)
    return (sums / np.maximum(degrees, 1e-9)).astype(np.float32)


def nearest_rows(vectors: Vectors) -> tuple[npt.NDArray[np.int64], Vectors]:
    """Return for each row its nearest others, and the cosines to them; a block at a time."""
    rows, cosines = [], []
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK] @ vectors.T
        block[np.arange(len(block)), np.arange(start, start + len(block))] = -np.inf
        nearest = np.argpartition(-block, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        rows.append(nearest)
        cosines.append(np.take_along_axis(block, nearest, 1))
    return np.concatenate(rows), np.concatenate(cosines)


def unit(vectors: npt.NDArray[np.floating[Any]]) -> Vectors:
    """Return the rows at length 1; a row of nothing stays nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    return scaled
