"""What a provider's refusal means: who is to blame, and what a person can do about it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from events.content import Halt
from services.stage_workers.ai.model import (
    AnswerRejected,
    ItemFailed,
    ProviderHalted,
    RequestDeclined,
)
from services.stage_workers.ai.openai.wire import Reply
from services.stage_workers.ai.retries import Limited, Transient, wait_told

LONGEST = 200  # characters of what a provider says of itself
KEY_LIKE = re.compile(r"\b(?:sk|sk_|key|Bearer)[-_ ][\w*.\-]{6,}", re.IGNORECASE)
SPENT = re.compile(
    r"insufficient_quota|insufficient.{0,10}(balance|credit|fund)|billing|payment_required"
    r"|exceeded your current quota|credit balance|out of credit|access_terminated",
    re.IGNORECASE,
)
POLICY = re.compile(
    r"content_filter|content_policy|content policy|policy_violation|responsibleai"
    r"|moderation_blocked|safety system|flagged",
    re.IGNORECASE,
)
TOO_LONG = re.compile(
    r"context_length|context length|context window|maximum context|context size|too many tokens"
    r"|prompt is too long|exceed_context",
    re.IGNORECASE,
)
KEY = re.compile(r"api[ _-]?key|invalid_token|authenticat|credentials", re.IGNORECASE)
NO_MODEL = re.compile(r"model", re.IGNORECASE)


class NotSupported(ItemFailed):
    """The server does not take the request as it is; said otherwise it may."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a reply is judged by: the secret that no text may show, the model that was asked."""

    key: str
    model: str
    now: datetime
    of: Literal["text", "vectors", "images"] = "text"

    def __call__(self, reply: Reply) -> Exception | None:
        """Return what is wrong with the reply, None for one that a library can read."""
        if 200 <= reply.status < 300:  # noqa: PLR2004
            return self._shape(reply)
        said = said_in(reply.body, self.key)
        code = f"{reply.status}: {said}" if said else f"{reply.status}"
        told = wait_told(reply.headers, self.now)
        whole = reply.body[:10_000].decode(errors="replace")
        match reply.status:
            case 402:
                return _out_of_credits(said)
            case 429 | 403 if SPENT.search(whole):
                return _out_of_credits(said)
            case 429:
                return Limited(code, told)
            case 400 | 403 | 422 if POLICY.search(whole):
                return RequestDeclined(f"the AI provider declines this by its policy ({code})")
            case 400 | 413 | 422 if TOO_LONG.search(whole):
                return AnswerRejected(
                    f"the text is too long for the model {self.model}, which says: {said}"
                )
            case 401 | 403:
                return _key_refused(said)
            case 400 if KEY.search(whole) and "invalid" in whole.lower():
                return _key_refused(said)
            case 404 | 405 | 301 | 302 | 303 | 307 | 308:
                return self._misconfigured(reply, said)
            case 503 | 529:
                return Transient(f"it says {code}", reply.request, 0, told)
            case 408 | 409 | 425:
                return Transient(f"it says {code}", reply.request, 1, told)
            case status if status >= 500 and status != 501:  # noqa: PLR2004
                return Transient(f"it says {code}", reply.request, 1, told)
            case _:
                return NotSupported(f"the AI provider refuses the request ({code})")

    def _shape(self, reply: Reply) -> Exception | None:
        """Return why a success is none: not JSON, an error within it, or nothing answered."""
        garbled = Transient("it sends something else than an answer", reply.request)
        try:
            answer = json.loads(reply.body)
        except ValueError:
            return garbled
        if not isinstance(answer, dict):
            return garbled
        if answer.get("error") and not answer.get("choices") and not answer.get("data"):
            inner = answer["error"]
            code = inner.get("code") if isinstance(inner, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 500  # noqa: PLR2004
            return self(Reply(status, reply.headers, reply.body, reply.request))
        items = answer.get("choices" if self.of == "text" else "data")
        if not (isinstance(items, list) and items and all(isinstance(one, dict) for one in items)):
            return garbled
        if self.of == "text" and not isinstance(items[0].get("message"), dict):
            return garbled
        return None

    def _misconfigured(self, reply: Reply, said: str) -> ProviderHalted:
        if reply.status in range(300, 400):
            detail = (
                "The AI provider's address leads elsewhere, where Septet does not follow:"
                " set the base URL that it leads to."
            )
        elif NO_MODEL.search(said):
            detail = (
                f"The AI provider does not know the model {self.model}: set one that it has."
                f" It says: {said}"
            )
        else:
            detail = (
                f"The AI provider has nothing at this address ({reply.status}): check that the"
                " base URL goes up to and with /v1, and that it offers what is asked of it."
            )
        return ProviderHalted(Halt(kind="misconfigured", detail=detail))


def _out_of_credits(said: str) -> ProviderHalted:
    detail = "The AI provider's account has no credit left: add some there, then resume the run."
    return ProviderHalted(Halt(kind="out_of_credits", detail=_with(detail, said)))


def _key_refused(said: str) -> ProviderHalted:
    detail = "The AI provider refuses the key: set a valid one, then resume the run."
    return ProviderHalted(Halt(kind="key_refused", detail=_with(detail, said)))


def _with(detail: str, said: str) -> str:
    return f"{detail} It says: {said}" if said else detail


def said_in(body: bytes, key: str) -> str:
    """Return what the provider says of the error, in one short line without anything secret."""
    try:
        answer: Any = json.loads(body)
    except ValueError:
        return ""  # a proxy's page
    error = answer.get("error", answer) if isinstance(answer, Mapping) else answer
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail") or error.get("code") or ""
    return without_secrets(error if isinstance(error, str) else "", key)


def without_secrets(text: str, key: str) -> str:
    """Return at most 200 characters in one line, with the key and what looks like one masked."""
    shown = text.replace(key, "[secret]") if key else text
    shown = KEY_LIKE.sub("[secret]", shown)
    line = " ".join("".join(char if char.isprintable() else " " for char in shown).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST].rpartition(' ')[0]} …"
