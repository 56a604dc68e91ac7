"""Every way in which a provider may misbehave, what becomes of it, and which calls are entered."""

import asyncio
import base64
import io
import json
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from tests.providers.author import between
from tests.providers.server import (
    Answer,
    Asked,
    chats,
    completion,
    fails,
    response,
    says,
)

KEY = "sk-test-51f0c2a8d7e94b36"
TOLD = f"you sent {KEY}"  # what a careless server repeats
DAY = "Wed, 21 Oct 2037 07:28:00 GMT"
IDEAS = {"ideas": [{"title": "A Title", "headings": ["One", "Two"], "keywords": ["tea"]}]}
GOOD = chats(IDEAS)

Entered = Literal["succeeded", "failed", "failed, cost unknown", "succeeded, cost unknown"]


@dataclass(frozen=True)
class Row:
    """A misbehaviour. `outcome` is "answered", the error's class, or the kind of the halt.

    `page` is what docs/ai.md says that Septet does.
    """

    name: str
    answers: tuple[Answer, ...]
    outcome: str
    says: str
    calls: tuple[Entered, ...]
    page: str
    asks: Literal["ideas", "clusters", "image"] = "ideas"
    timeout: float = 20.0


def raw(*parts: bytes, pause: float = 0.0, reset: bool = False) -> Answer:
    """Send bytes as they are, with a pause before each but the first, then close or reset."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001
        for at, part in enumerate(parts):
            if at:
                await asyncio.sleep(pause)
            writer.write(part)
            await writer.drain()
        if reset:
            writer.transport.abort()

    return answer


def endless(head: bytes, part: bytes, pause: float) -> Answer:
    """Send without an end."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


def hangs() -> Answer:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001
        await asyncio.sleep(3600)

    return answer


def vectors(change: Any = lambda rows: rows) -> Answer:
    """Answer /embeddings with vectors of three numbers, changed; chats with names of groups."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.path.endswith("/chat/completions"):
            named = between(asked.body["messages"][-1]["content"], "groups")
            groups = [{"group": at, "name": f"Name {at}"} for at in range(1, len(named) + 1)]
            writer.write(
                response(200, json.dumps(completion(json.dumps({"groups": groups}))).encode())
            )
            return
        texts = asked.body["input"]
        rows = [{"index": at, "embedding": spread(text)} for at, text in enumerate(texts)]
        body = {"data": change(rows), "usage": {"prompt_tokens": 7, "total_tokens": 7}}
        writer.write(response(200, json.dumps(body).encode()))

    return answer


def spread(text: str) -> list[float]:
    """Return a vector that is the same for the same first word."""
    seed = sum(map(ord, text.split(maxsplit=1)[0]))
    return [1.0 + seed % 7, 1.0 + seed % 5, 1.0 + seed % 3]


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (48, 32), "teal").save(file, "PNG")
    return file.getvalue()


def image(content: bytes = b"", **item: Any) -> Answer:
    encoded = {"b64_json": base64.b64encode(content).decode()} if content else {}
    return says(200, {"created": 1, "data": [encoded | item]})


def without_schemas() -> Answer:
    """Be a server that knows no response_format."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        refused = {"error": {"message": "response_format is not supported", "code": None}}
        known = "response_format" not in asked.body
        body = completion(json.dumps(IDEAS)) if known else refused
        writer.write(response(200 if known else 400, json.dumps(body).encode()))

    return answer


def with_other_limit() -> Answer:
    """Be a server that knows max_completion_tokens only."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        known = "max_tokens" not in asked.body
        body = completion(json.dumps(IDEAS)) if known else {"error": {"message": message}}
        writer.write(response(200 if known else 400, json.dumps(body).encode()))

    return answer


OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
THRICE = ("failed",) * 3
GIVEN_UP = (
    "asks three times; if nobody else was answered meanwhile all runs leave the provider alone"
)

ROWS = (
    Row("500, then an answer", (fails(500, TOLD), GOOD), "answered", "", ("failed", "succeeded"),
        "asks again after half a second, at most three times"),
    Row("500, 502 and 504", (fails(500, TOLD), fails(502, TOLD), fails(504, TOLD)), "unavailable",
        "504", THRICE, f"{GIVEN_UP} and their items wait"),
    Row("503 or 529 again and again", (fails(503, TOLD), fails(529, TOLD)), "unavailable", "529",
        THRICE, "the same"),
    Row("503 with Retry-After: 90", (fails(503, TOLD, Retry_After="90"),), "unavailable",
        "90 seconds", ("failed",), "the runs wait as long as it says"),
    Row("resets the connection", (raw(reset=True),), "unavailable", "connection broke",
        ("failed, cost unknown",) * 3, "as after a 500"),
    Row("sends half an answer", (raw(OK_HEAD + b"Content-Length: 900\r\n\r\n{\"choi"),),
        "unavailable", "connection broke", ("failed, cost unknown",) * 3, "as after a 500"),
    Row("never stops sending", (endless(OK_HEAD + b"\r\n", b"x" * 65536, 0),), "AnswerRejected",
        "does not end", ("failed, cost unknown",),
        "stops reading after 2 MB (48 MB for an image); the item fails"),
    Row("sends a byte now and then", (endless(OK_HEAD + b"\r\n", b" ", 0.05),), "ModelUnavailable",
        "longer than 1.5 seconds", ("failed, cost unknown",) * 2,
        "hangs up after SEPTET_AI_TIMEOUT_SECONDS; after two times the item fails", timeout=1.5),
    Row("says nothing at all", (hangs(),), "ModelUnavailable", "longer than 1.5 seconds",
        ("failed, cost unknown",) * 2, "the same", timeout=1.5),
    Row("answers with a web page", (says(200, b"<html>", {"Content-Type": "text/html"}),),
        "unavailable", "something else", ("failed, cost unknown",) * 3, "as after a 500"),
    Row("answers with broken JSON", (says(200, b'{"choices": ['), GOOD), "answered", "",
        ("failed, cost unknown", "succeeded"), "as after a 500"),
    Row("answers with no choice at all", (says(200, {"choices": []}), GOOD), "answered", "",
        ("failed, cost unknown", "succeeded"), "as after a 500"),
    Row("says 200 and means an error", (says(200, {"error": {"message": TOLD, "code": 502}}), GOOD),
        "answered", "", ("failed", "succeeded"), "as after the error that it means"),
    Row("calls JSON by another name", (says(200, completion(json.dumps(IDEAS)),
        {"Content-Type": "text/plain"}),), "answered", "", ("succeeded",), "takes it for JSON"),
    Row("429 with Retry-After: 2", (fails(429, TOLD, Retry_After="2"), GOOD), "answered", "",
        ("failed", "succeeded"), "everybody with that key waits that long, then it is asked again"),
    Row("429 with retry-after-ms", (fails(429, TOLD, retry_after_ms="700"), GOOD), "answered", "",
        ("failed", "succeeded"), "the same"),
    Row("429 with Retry-After: 120", (fails(429, TOLD, Retry_After="120"),), "rate_limited",
        "120 seconds", ("failed",), "all its runs wait as long; no item fails"),
    Row("429 with a date", (fails(429, TOLD, Retry_After=DAY),), "rate_limited", "3600 seconds",
        ("failed",), "the same, at most an hour at a time"),
    Row("429 without a time", (fails(429, TOLD), fails(429, TOLD), GOOD), "answered", "",
        ("failed", "failed", "succeeded"), "waits 1, 2, 4 seconds"),
    Row("429 again and again", (fails(429, TOLD),), "rate_limited", "no more requests",
        ("failed",) * 4, "after the fourth its runs wait"),
    Row("402", (fails(402, TOLD),), "out_of_credits", "add some there", ("failed",),
        "the run pauses and says why"),
    Row("429 with insufficient_quota", (fails(429, TOLD, "insufficient_quota"),), "out_of_credits",
        "add some there", ("failed",), "the same"),
    Row("401", (fails(401, f"Incorrect API key provided: {KEY}"),), "key_refused",
        "set a valid one", ("failed",), "the run pauses and says why"),
    Row("403", (fails(403, TOLD),), "key_refused", "set a valid one", ("failed",), "the same"),
    Row("does not know the model", (fails(404, f"The model `writer` does not exist {KEY}",
        "model_not_found"),), "misconfigured", "does not know the model writer", ("failed",),
        "the run pauses and says which model"),
    Row("has nothing at the address", (fails(404, "Not Found"),), "misconfigured", "/v1",
        ("failed",), "the run pauses and says what to check"),
    Row("leads to another host", (says(302, {}, {"Location": "http://169.254.169.254/"}),),
        "misconfigured", "leads elsewhere", ("failed",), "follows no redirect; the run pauses"),
    Row("declines by its policy", (fails(400, TOLD, "content_policy_violation"),),
        "RequestDeclined", "policy", ("failed",), "the item fails at once, the batch goes on"),
    Row("filters the content", (chats("I ca", "content_filter"),), "RequestDeclined", "policy",
        ("failed",), "the same"),
    Row("refuses in the answer", (chats(None, refusal=f"no, {KEY}"),), "RequestDeclined", "policy",
        ("failed",), "the same"),
    Row("finds the text too long", (fails(400, TOLD, "context_length_exceeded"),),
        "AnswerRejected", "too long for the model writer", ("failed",),
        "the item fails and says so"),
    Row("refuses the request otherwise", (fails(422, TOLD),), "NotSupported", "422",
        ("failed", "failed"), "the item fails with what the provider says"),
    Row("wrong shape, then the right one", (chats({"ideas": []}), GOOD), "answered", "",
        ("failed", "succeeded"), "tells the model what was wrong and asks once more"),
    Row("wrong shape twice", (chats("no idea"),), "AnswerRejected", "wrong shape",
        ("failed", "failed"), "the item fails, the batch goes on; the tokens are paid"),
    Row("content is null", (chats(None),), "AnswerRejected", "wrong shape", ("failed", "failed"),
        "the same"),
    Row("cut off within the JSON", (chats('{"ideas": [{"ti', "length"), GOOD), "answered", "",
        ("failed", "succeeded"), "as of the wrong shape"),
    Row("thinks aloud and fences its JSON",
        (chats(f"<think>Hm {{}}</think>Sure!\n```json\n{json.dumps(IDEAS)}\n```"),), "answered", "",
        ("succeeded",), "takes the JSON out of it"),
    Row("knows no JSON schemas", (without_schemas(),), "answered", "", ("failed", "succeeded"),
        "puts the schema into the prompt, and remembers that"),
    Row("wants max_completion_tokens", (with_other_limit(),), "answered", "",
        ("failed", "succeeded"), "says it that way, and remembers that"),
    Row("sends no usage", (chats(IDEAS, usage=None),), "answered", "",
        ("succeeded, cost unknown",), "estimates the tokens and marks the call"),
    Row("counts less than nothing", (chats(IDEAS, usage={"prompt_tokens": -5,
        "completion_tokens": 3}),), "answered", "", ("succeeded, cost unknown",), "the same"),
    Row("counts more than can be", (chats(IDEAS, usage={"prompt_tokens": 10**9,
        "completion_tokens": 10**9}),), "answered", "", ("succeeded, cost unknown",),
        "the same: nobody is charged more than was sent and asked for"),
    Row("too few vectors", (vectors(lambda rows: rows[1:]),), "AnswerRejected", "unusable",
        ("failed", "failed"), "asks once more, then the batch's keywords fail", "clusters"),
    Row("vectors of unlike length", (vectors(lambda rows: [*rows[1:],
        rows[0] | {"embedding": [1.0]}]),), "AnswerRejected", "unusable", ("failed", "failed"),
        "the same", "clusters"),
    Row("vectors of NaN", (vectors(lambda rows: [one | {"embedding": [float("nan")] * 3}
        for one in rows]),), "AnswerRejected", "unusable", ("failed", "failed"), "the same",
        "clusters"),
    Row("the image is none", (image(b"GIF89a nonsense"),), "AnswerRejected", "no PNG",
        ("failed",), "the image's item fails; it is paid", "image"),
    Row("the image is cut off", (image(png()[:-30]),), "AnswerRejected", "no PNG", ("failed",),
        "the same", "image"),
    Row("the image is no base64", (image(b64_json="*"),), "AnswerRejected", "base64", ("failed",),
        "the same", "image"),
    Row("the image is elsewhere", (image(url="http://169.254.169.254/key"),), "AnswerRejected",
        "another server", ("failed",), "fetches nothing from other hosts; the item fails", "image"),
)  # fmt: skip
