"""How much a request may hold, and how strictly its JSON is read."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from services.api.problems import InvalidRequest, Problem, invalid

MAX_BODY = 1_000_000  # bytes
MAX_BODIES = {"/api/v1/planner/keywords": 2_000_000}
BODY_WITHIN = 10  # seconds in which a body must have come
MAX_HEADERS = 100
MAX_HEADER_BYTES = 8_192
MAX_DEPTH = 64
BIGGEST = 2**63

Headers = Iterable[tuple[bytes, bytes]]


class Body(BaseModel):
    """A request's body: exact types, and no field that we do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def check_headers(headers: Headers) -> None:
    """Raise the problem that the headers are, if they are one."""
    pairs = list(headers)
    size = sum(len(name) + len(value) for name, value in pairs)
    if len(pairs) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        detail = f"At most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together are read."
        raise Problem("headers_too_large", detail)
    for name, value in pairs:
        if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise InvalidRequest("Content-Encoding: send the body as it is, not compressed.")


async def read_body(request: Request) -> bytes:
    """Return the body, never holding more than its limit."""
    limit = MAX_BODIES.get(request.scope["path"], MAX_BODY)
    too_large = Problem("too_large", f"At most {limit:,} bytes are read here.")
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise too_large
    except TimeoutError as error:
        detail = f"The body must come within {BODY_WITHIN} seconds."
        raise Problem("request_timeout", detail) from error
    return bytes(body)


RawBody = Annotated[bytes, Depends(read_body)]


def media_type_of(content_type: str) -> str:
    """Return the media type without parameters, in lower case. Only UTF-8 is read."""
    kind, *parameters = content_type.lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(" \"'") not in {"utf-8", "utf8", "us-ascii"}:
            raise InvalidRequest("Content-Type: only the charset utf-8 is read.")
    return kind.strip()


def read_json(body: bytes) -> Any:
    """Return what a JSON text says, without what could hurt later.

    Refused are: other encodings than UTF-8, doubled keys, NaN and infinities, integers of more than
    64 bits, NUL and lone surrogates in texts, and more than 64 levels.
    """
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_without_doubles,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except InvalidRequest:
        raise
    except UnicodeDecodeError as error:
        raise InvalidRequest("The body is not UTF-8.") from error
    except RecursionError as error:
        raise InvalidRequest(TOO_DEEP) from error
    except ValueError as error:
        raise InvalidRequest("The body is not JSON.") from error
    _check(value)
    return value


TOO_DEEP = f"The body's JSON has more than {MAX_DEPTH} levels."


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidRequest("The body's JSON has the same key twice in one object.")
    return found


def _no_constant(_: str) -> float:
    raise InvalidRequest("The body's JSON has a number that is not finite.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _no_constant(text)
    return number


def _bounded(text: str) -> int:
    number = int(text) if len(text) <= len(str(BIGGEST)) + 1 else BIGGEST
    if not -BIGGEST <= number < BIGGEST:
        raise InvalidRequest("The body's JSON has an integer of more than 64 bits.")
    return number


def _check(value: Any) -> None:
    level: list[Any] = [[value]]
    for _ in range(MAX_DEPTH + 1):
        parts = [part for container in level for part in _parts(container)]
        for part in parts:
            if isinstance(part, str):
                _check_text(part)
        level = [part for part in parts if isinstance(part, dict | list)]
        if not level:
            return
    raise InvalidRequest(TOO_DEEP)


def _parts(container: dict[str, Any] | list[Any]) -> list[Any]:
    return container if isinstance(container, list) else [*container, *container.values()]


def _check_text(text: str) -> None:
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidRequest("The body has a text with a NUL or half a surrogate pair.")


def json_value(body: RawBody, request: Request) -> Any:
    """Return the JSON of a request that says that it is JSON."""
    if media_type_of(request.headers.get("content-type", "")) != "application/json":
        raise InvalidRequest("Content-Type: must be application/json.")
    return read_json(body)


JsonValue = Annotated[Any, Depends(json_value)]

AnyBody = TypeVar("AnyBody", bound=BaseModel)


def parse(model: type[AnyBody], value: Any) -> AnyBody:
    """Return the body as the model. Raises InvalidRequest, which names the field."""
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False)) from error


def json_body(model: type[AnyBody]) -> Callable[..., Awaitable[AnyBody]]:
    """Return the dependency that reads a request's body as the model."""

    async def read(value: JsonValue) -> AnyBody:
        return parse(model, value)

    return read


async def no_body(body: RawBody) -> None:
    """Refuse a body where none is read, so that nobody believes that it was followed."""
    if body.strip() not in {b"", b"{}"}:
        raise InvalidRequest("No body is read here.")
