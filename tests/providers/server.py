"""A server on the loopback interface that misbehaves as it is told, over real sockets."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

# Whoever asked has gone, which is what many of these tests are about.
HUNG_UP = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)


@dataclass(frozen=True)
class Asked:
    """A request as it came. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.content)


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Answers each request with the next of its answers, and the last one again and again."""

    answers: deque[Answer]
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    under_way: int = 0
    most_under_way: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            with suppress(*HUNG_UP):
                asked = await read(reader)
                self.asked.append(asked)
                answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
                await answer(asked, writer)
                await writer.drain()
        finally:
            self.under_way -= 1
            with suppress(ConnectionError):
                writer.close()


async def read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, content)


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[Server]:
    """Serve on a free port of 127.0.0.1 until the end; connections are then cut."""
    server = Server(deque(answers))
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(server.handle(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def response(status: int, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """Return a whole HTTP answer."""
    told = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    told |= {"Connection": "close"} | (headers or {})
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def says(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """Answer with a status and a JSON body, or with bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body if body is not None else {})
    raw = content if isinstance(content, bytes) else content.encode()

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001
        writer.write(response(status, raw, headers))

    return answer


def fails(status: int, message: str = "", code: str | None = None, **headers: str) -> Answer:
    """Answer with an error as OpenAI words it; header names have underscores for hyphens."""
    error = {"error": {"message": message, "type": "error", "code": code}}
    return says(status, error, {name.replace("_", "-"): value for name, value in headers.items()})


USAGE = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}


def completion(
    content: Any, finish: str | None = "stop", usage: Any = USAGE, **message: Any
) -> dict[str, Any]:
    """Return a chat completion; without usage where that is None."""
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "told",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
    }
    return answer if usage is None else answer | {"usage": usage}


def chats(content: Any, finish: str | None = "stop", usage: Any = USAGE, **message: Any) -> Answer:
    """Answer with a chat completion; what is no string is said in JSON."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    return says(200, completion(text, finish, usage, **message))
