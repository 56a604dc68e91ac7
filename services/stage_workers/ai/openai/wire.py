"""What goes over the wire: one request out, one bounded answer in, both noted for the ledger."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

import httpx2

TEXT_LIMIT = 2 * 2**20  # bytes of an answer; a text of 8,000 tokens has 40,000
IMAGE_LIMIT = 48 * 2**20  # base64 of a large PNG
SENT = ("host", "content-type", "content-length", "accept", "authorization")  # and no others


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Header names are in lower case; `request` is the SHA-256 of what was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    request: str = ""


Judge = Callable[[Reply], Exception | None]


@dataclass
class Exchange:
    """One attempt on the wire, filled as far as it came. `failure` is what it ended with.

    `judge` says what is wrong with a reply, before a library has to make sense of it.
    """

    judge: Judge
    limit: int = TEXT_LIMIT
    request: str = ""
    sent: int = 0
    reply: Reply | None = None
    failure: Exception | None = None
    broken: str = field(default="", repr=False)
    was_read: bool = True

    @property
    def body(self) -> bytes:
        """Return the whole answer's body, once there is one."""
        assert self.reply is not None
        return self.reply.body


CURRENT: ContextVar[Exchange] = ContextVar("septet_exchange")


class Ended(httpx2.TransportError):
    """The exchange has a failure, which is what counts; libraries may wrap this as they like."""


class Wire(httpx2.AsyncBaseTransport):
    """Sends only the headers that are needed, follows nowhere, and reads no more than the limit.

    So no answer fills the memory, and no library tells the provider of the machine that it runs on.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, has_key: bool) -> None:  # noqa: FBT001
        self._inner, self._has_key = inner, has_key

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer with its whole body. Raises Ended where the exchange has failed."""
        exchange = CURRENT.get()
        content = await request.aread()
        exchange.request, exchange.sent = hashlib.sha256(content).hexdigest(), len(content)
        request.headers = self._headers(request.headers)
        try:
            response = await self._inner.handle_async_request(request)
            body = await self._read(response, exchange.limit)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            exchange.was_read = False
            exchange.broken = f"no connection ({type(error).__name__})"
            raise Ended("septet") from error
        except httpx2.TransportError as error:
            exchange.broken = f"the connection broke ({type(error).__name__})"
            raise Ended("septet") from error
        except TooLarge:
            exchange.broken = "too large"
            raise Ended("septet") from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        exchange.reply = Reply(response.status_code, headers, body, exchange.request)
        exchange.failure = exchange.judge(exchange.reply)
        if exchange.failure:
            raise Ended("septet")
        told = {
            "content-type": "application/json"
        }  # as which it was judged, whatever it was called
        content = without_usage(body) if len(body) <= TEXT_LIMIT else body
        return httpx2.Response(response.status_code, headers=told, content=content, request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    def _headers(self, headers: httpx2.Headers) -> httpx2.Headers:
        kept = {name: value for name, value in headers.items() if name.lower() in SENT}
        if not self._has_key:
            kept.pop("authorization", None)
        return httpx2.Headers({**kept, "accept-encoding": "identity", "user-agent": "septet"})

    @staticmethod
    async def _read(response: httpx2.Response, limit: int) -> bytes:
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        parts: list[bytes] = []
        size = 0
        try:
            async for part in response.stream:
                size += len(part)
                if size > limit:
                    raise TooLarge
                parts.append(part)
        finally:
            await response.stream.aclose()
        return b"".join(parts)


def without_usage(body: bytes) -> bytes:
    """Return an answer without its counts: odd ones choke a library, and we count ourselves."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body  # an image's bytes
    if not isinstance(answer, dict) or "usage" not in answer:
        return body
    del answer["usage"]
    return json.dumps(answer).encode()


class TooLarge(Exception):
    """An answer has more bytes than any sensible one."""
