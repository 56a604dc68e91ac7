"""Vectors of an embedding model: in batches, each text once, comparable with the local ones."""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import BaseModel, ValidationError

from services.stage_workers.ai.local.embeddings import Vectors
from services.stage_workers.ai.model import AnswerRejected, Call
from services.stage_workers.ai.openai.line import About, Line
from services.stage_workers.ai.openai.wire import CURRENT

AT_ONCE = 96  # texts of one call; servers take from 100 to 2,048
REMEMBERED = 20_000  # vectors

# Things that have nothing in common. What their vectors share is the model's own bias, and without
# it unlike texts are about as unlike for every model, so one cut of the clustering fits all.
UNLIKE = (
    "apple pie recipe", "quarterly tax return", "how to tie a bowline", "symptoms of measles",
    "electric guitar strings", "history of the roman empire", "cheap flights to lisbon",
    "python list comprehension", "dog grooming near me", "quantum entanglement explained",
    "winter tyres", "wedding dress alterations", "mortgage calculator", "marathon training plan",
    "how do volcanoes form", "used office chairs", "learn portuguese online",
    "vegan protein sources",
    "fix a leaking tap", "best science fiction novels", "kindergarten registration",
    "solar panel installation", "chess openings for beginners", "birthday present for a teacher",
)  # fmt: skip


class Vector(BaseModel):
    """One vector of an answer, and which text it is of."""

    index: int
    embedding: list[float]


class Answer(BaseModel):
    """What /embeddings answers, as far as it is needed."""

    data: list[Vector]


@dataclass
class Vectorizer:
    """Asks for the vectors of texts, and keeps them."""

    line: Line
    model: str
    _known: OrderedDict[str, Vectors] = field(default_factory=OrderedDict)
    _bias: Vectors | None = None

    async def __call__(self, texts: Sequence[str], calls: list[Call]) -> Vectors:
        """Return unit vectors of shape (texts, n), in the order of the texts.

        Raises ItemFailed or ProviderHalted.
        """
        if not texts:
            return np.zeros((0, 1), np.float32)
        if self._bias is None:
            self._bias = (await self._asked(UNLIKE, calls)).mean(0)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for at in range(0, len(new), AT_ONCE):
            some = new[at : at + AT_ONCE]
            vectors = without(await self._asked(some, calls), self._bias)
            self._known.update(zip(some, vectors, strict=True))
        found = np.stack([self._known[text] for text in texts])
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _asked(self, texts: Sequence[str], calls: list[Call]) -> Vectors:
        """Return unit vectors; an unusable answer is asked for once more."""
        for _ in range(2):
            body = await self._body(texts, calls)
            try:
                vectors = vectors_in(body, len(texts))
            except ValueError as wrong:
                calls[-1] = replace(calls[-1], error=f"the vectors are unusable: {wrong}")
                continue
            if self._bias is None or vectors.shape[1] == len(self._bias):
                return vectors
            calls[-1] = replace(calls[-1], error="the vectors have another length than before")
        raise AnswerRejected("the embedding model's answer is unusable, also when asked again")

    async def _body(self, texts: Sequence[str], calls: list[Call]) -> bytes:
        async def send() -> bytes:
            await self.line.client.embeddings.with_raw_response.create(
                model=self.model, input=list(texts), encoding_format="float"
            )
            return CURRENT.get().body

        about = About("", self.model, of="vectors")
        return await self.line.call(send, about, calls.append)


def vectors_in(body: bytes, count: int) -> Vectors:
    """Return unit vectors in the order of the texts. Raises ValueError for anything else."""
    try:
        answer = Answer.model_validate(json.loads(body))
    except ValidationError as error:
        raise ValueError("they have the wrong shape") from error
    rows = {one.index: one.embedding for one in answer.data}
    if len(answer.data) != count or sorted(rows) != list(range(count)):
        raise ValueError(f"{len(answer.data)} came for {count} texts")
    if len({len(row) for row in rows.values()}) != 1:
        raise ValueError("they differ in length")
    vectors = np.array([rows[at] for at in range(count)], np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(vectors).all() or not np.isfinite(norms).all() or not norms.all():
        raise ValueError("they are not of finite numbers")
    return np.asarray(vectors / norms, np.float32)


def without(vectors: Vectors, bias: Vectors) -> Vectors:
    """Return the vectors less what all of a model's have in common, of unit length again."""
    rest = vectors - bias
    norms = np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-9)
    return np.asarray(rest / norms, np.float32)
