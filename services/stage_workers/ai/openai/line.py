"""One credential's connection: every attempt passes its gate, has a deadline and is entered."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar
from weakref import WeakValueDictionary

import httpx2
from openai import AsyncOpenAI, OpenAIError
from pydantic_ai.exceptions import ModelAPIError, UnexpectedModelBehavior

from events.content import Halt
from services.clock import now
from services.stage_workers.ai.credential import Credential
from services.stage_workers.ai.gate import REAL, Gate, Time
from services.stage_workers.ai.model import AnswerRejected, Call, ProviderHalted
from services.stage_workers.ai.openai.failures import Judged
from services.stage_workers.ai.openai.usage import has_thought, use_of
from services.stage_workers.ai.openai.wire import (
    CURRENT,
    IMAGE_LIMIT,
    TEXT_LIMIT,
    Exchange,
    Wire,
)
from services.stage_workers.ai.retries import Limited, Transient, persist

T = TypeVar("T")

UNSENDABLE = re.compile(r"[^\x21-\x7e]")  # libraries would quote the key in an error
CONNECT = 10.0  # seconds
SLOW = 5  # weight of a time-out, so that two of one request are enough: they may be charged for


@dataclass(frozen=True, slots=True)
class About:
    """What an attempt is entered with: prompt and version, the model that has the price.

    Vectors are asked for without a prompt. `most_out` is how many tokens are asked for at most.
    """

    prompt: str
    model: str
    most_out: int = 0
    of: Literal["text", "vectors", "images"] = "text"


@dataclass
class Dialect:
    """What is known of how a model wants to be asked; it is learned from refusals.

    `knows_schemas` is None until tried. `thinks` models need room for more than their answer.
    """

    knows_schemas: bool | None = None
    says_completion: bool = False  # max_completion_tokens, in place of max_tokens
    thinks: bool = False
    says_format: bool = True  # that images come within the answer


@dataclass
class Line:
    """Where a credential's calls go through, for everybody in this process who has it."""

    credential: Credential
    time: Time = REAL
    dialects: dict[str, Dialect] = field(default_factory=dict)

    def __post_init__(self) -> None:
        credential = self.credential
        self.gate = Gate(credential.calls_at_once, self.time)
        limits = httpx2.Limits(max_connections=None)  # the gate counts; a wait here had a deadline
        self._wire = Wire(
            httpx2.AsyncHTTPTransport(limits=limits, retries=0),
            has_key=bool(credential.api_key),
        )
        seconds = credential.timeout
        self._fetching = httpx2.AsyncClient(
            transport=self._wire, timeout=seconds, follow_redirects=False, trust_env=False
        )
        self.client = AsyncOpenAI(
            base_url=credential.base_url,
            api_key=credential.api_key or "none",  # the wire leaves it out
            max_retries=0,
            timeout=seconds,
            http_client=httpx2.AsyncClient(
                transport=self._wire,
                timeout=httpx2.Timeout(seconds, connect=min(CONNECT, seconds)),
                follow_redirects=False,
                trust_env=False,
            ),
        )

    def dialect(self, model: str) -> Dialect:
        """Return what is known of a model; the one object, to be added to."""
        known = Dialect(
            says_completion=self._is_first_party(),
            says_format=not model.startswith("gpt-image"),
        )
        return self.dialects.setdefault(model, known)

    def _is_first_party(self) -> bool:
        host = self.client.base_url.host
        return host.endswith((".openai.com", ".azure.com"))

    async def call(
        self, send: Callable[[], Awaitable[T]], about: About, enter: Callable[[Call], None]
    ) -> T:
        """Return what `send` returns, after at most three attempts, each of which is entered.

        Raises ItemFailed or ProviderHalted; `NotSupported` where the request may be said otherwise.
        """
        if UNSENDABLE.search(self.credential.api_key):
            detail = "The AI provider's key has characters that no key has: set it again."
            raise ProviderHalted(Halt(kind="key_refused", detail=detail))
        return await persist(
            partial(self._attempt, send, about, enter), self.gate, self.time.chance
        )

    async def _attempt(
        self, send: Callable[[], Awaitable[T]], about: About, enter: Callable[[Call], None]
    ) -> T:
        judge = Judged(self.credential.api_key, about.model, now(), about.of)
        exchange = Exchange(judge, IMAGE_LIMIT if about.of == "images" else TEXT_LIMIT)
        before, began = CURRENT.set(exchange), time.monotonic()
        error: str | None = "it was cut off"
        try:
            async with asyncio.timeout(self.credential.timeout):
                answer = await send()
            error = None
        except TimeoutError:
            seconds = f"{self.credential.timeout:g} seconds"
            failure: Exception = Transient(
                f"it takes longer than {seconds}", exchange.request, SLOW
            )
            error = f"the AI provider takes longer than {seconds}"
            raise failure from None
        except (ModelAPIError, OpenAIError, UnexpectedModelBehavior):
            failure = ended(exchange)
            error = told(failure)
            raise failure from None
        else:
            self.gate.forgive(exchange.request)
            if about.of == "text" and has_thought(exchange):
                self.dialect(about.model).thinks = True
            return answer
        finally:
            CURRENT.reset(before)
            use = use_of(exchange, about.most_out, of_images=about.of == "images")
            enter(
                Call(
                    model=about.model,
                    tokens_in=use.tokens_in,
                    tokens_out=use.tokens_out,
                    images=use.images,
                    milliseconds=round((time.monotonic() - began) * 1000),
                    error=error,
                    prompt=about.prompt,
                    prompt_hash=exchange.request,
                    cost_known=use.is_known,
                )
            )

    async def fetch(self, url: str) -> bytes:
        """Return an image's bytes from an address of this server, without showing the key there.

        Raises AnswerRejected.
        """
        exchange = Exchange(lambda reply: None, IMAGE_LIMIT)  # noqa: ARG005
        before = CURRENT.set(exchange)
        try:
            async with asyncio.timeout(self.credential.timeout):
                response = await self._fetching.get(url)
        except (TimeoutError, httpx2.HTTPError) as error:
            raise AnswerRejected("the image cannot be had from where it lies") from error
        finally:
            CURRENT.reset(before)
        if response.status_code != httpx2.codes.OK:
            raise AnswerRejected(f"the image cannot be had: {response.status_code}")
        return response.content

    async def aclose(self) -> None:
        """Close the connections; what is under way is cut off."""
        await self._wire.aclose()


def ended(exchange: Exchange) -> Exception:
    """Return what an attempt failed with that a library has raised something for."""
    if exchange.failure is not None:
        return exchange.failure
    if exchange.broken == "too large":
        return AnswerRejected("the AI provider's answer does not end")
    if exchange.broken:
        weight = 1 if exchange.was_read else 0
        return Transient(exchange.broken, exchange.request, weight)
    return Transient("it sends something else than an answer", exchange.request)


def told(failure: Exception) -> str:
    """Return the sentence that the call is entered with."""
    match failure:
        case Transient(detail=detail):
            return f"the AI provider cannot answer: {detail}"
        case Limited(detail=detail):
            return f"the AI provider limits requests: it says {detail}"
        case _:
            return str(failure)


_LINES: WeakValueDictionary[Credential, Line] = WeakValueDictionary()


def line_of(credential: Credential) -> Line:
    """Return the one line of this process for a credential, as long as somebody holds it."""
    line = _LINES.get(credential)
    if line is None:
        line = _LINES[credential] = Line(credential)
    return line
