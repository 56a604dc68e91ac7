"""What an attempt cost, as far as the wire tells: nobody is billed on a liar's word."""

import json
from dataclasses import dataclass
from typing import Any

from services.stage_workers.ai.openai.wire import Exchange

CHARACTERS = 4  # a token, by the usual estimate for English
TEMPLATE = 2_000  # tokens that a server may add to what was sent
SLACK = 2  # times the tokens that were asked for at most
IMAGE_TOKENS = 100_000


@dataclass(frozen=True, slots=True)
class Use:
    """Tokens and images; `is_known` is false where they are an estimate or a guess."""

    tokens_in: int = 0
    tokens_out: int = 0
    images: int = 0
    is_known: bool = True


def use_of(exchange: Exchange, most_out: int, *, of_images: bool = False) -> Use:
    """Return what the provider counted, or an estimate where that is missing or cannot be true.

    An attempt without a whole answer costs nothing where the provider never read it, and nobody
    knows how much where it was cut off; an error answers for itself.
    """
    if exchange.reply is None:
        return Use(is_known=not exchange.sent or not exchange.was_read)
    answer = _object(exchange.reply.body)
    images = _images(answer) if of_images else 0
    is_success = 200 <= exchange.reply.status < 300 and "error" not in answer  # noqa: PLR2004
    counted = answer.get("usage")
    if isinstance(counted, dict):
        tokens_in = _count(counted, "prompt_tokens", "input_tokens")
        tokens_out = _count(counted, "completion_tokens", "output_tokens")
        if tokens_in is not None and (tokens_out is not None or most_out == 0):
            most_in = exchange.sent + TEMPLATE
            written = len(exchange.reply.body)  # a token that is there has a byte at least
            most = IMAGE_TOKENS if of_images else max(most_out * SLACK, written)
            if tokens_in <= most_in and (tokens_out or 0) <= most:
                return Use(tokens_in, tokens_out or 0, images)
    if not is_success:
        return Use(is_known=counted is None)
    if of_images and counted is None:
        return Use(images=images)  # servers with a price per image count no tokens
    written = min(len(exchange.reply.body) // CHARACTERS, most_out)
    return Use(exchange.sent // CHARACTERS, written, images, is_known=False)


def has_thought(exchange: Exchange) -> bool:
    """Tell whether the model spent tokens on thoughts that it does not show."""
    counted = _object(exchange.body).get("usage")
    details = counted.get("completion_tokens_details") if isinstance(counted, dict) else None
    return isinstance(details, dict) and bool(_count(details, "reasoning_tokens"))


def _count(counted: dict[str, Any], *names: str) -> int | None:
    found = next((counted[name] for name in names if name in counted), None)
    is_count = isinstance(found, int) and not isinstance(found, bool) and found >= 0
    return found if is_count else None


def _images(answer: dict[str, Any]) -> int:
    data = answer.get("data")
    return 1 if isinstance(data, list) and data else 0  # one was asked for


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
