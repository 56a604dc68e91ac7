"""How much a request may hold, and how strictly its JSON is read."""

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from services.api.problems import InvalidRequest, Problem, invalid

MAX_BODY = 1_000_000  # bytes
# 10,000 rows must fit, also where a client writes each letter beyond ASCII as six.
MAX_BODIES = {"/api/v1/planner/keywords": 6_000_000}
BODY_WITHIN = 10  # seconds in which a body must have come
MAX_HEADERS = 100
MAX_HEADER_BYTES = 8_192
MAX_DEPTH = 64
BIGGEST = 2**63

Headers = Iterable[tuple[bytes, bytes]]


def _whole(value: Any) -> Any:
    if isinstance(value, str) and not WHOLE.fullmatch(value):
        raise ValueError("must be a whole number")
    return value


WHOLE = re.compile(r"-?[0-9]{1,19}")
# For numbers in a query, of which pydantic would also take " 5", "5.0" and "1_000".
Whole = BeforeValidator(_whole)


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
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in pairs}:
        # A proxy before us may have believed the other one: what follows is nobody's request.
        raise Problem("invalid_request", TWO_LENGTHS, headers={"Connection": "close"})
    for name, value in pairs:
        if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise InvalidRequest("Content-Encoding: send the body as it is, not compressed.")


TWO_LENGTHS = "Send Content-Length or Transfer-Encoding, not both."


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


JSON = "application/json"


def media_type_of(request: Request) -> str:
    """Return the media type without parameters, in lower case. Only UTF-8 is read.

    A request that does not say what its body is has JSON.
    """
    kind, *parameters = request.headers.get("content-type", JSON).lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(" \"'") not in {"utf-8", "utf8", "us-ascii"}:
            raise InvalidRequest("Content-Type: only the charset utf-8 is read.")
    return kind.strip()


def read_json(body: bytes) -> Any:
    """Return what a JSON text says, without what could hurt later.

    Refused are: other encodings than UTF-8, doubled keys, NaN and infinities, integers of more than
    64 bits, NUL and lone surrogates in texts, endless keys, and more than 64 levels. The problem
    names the field.
    """
    value = unchecked_json(body)
    check(value)
    return value


def unchecked_json(body: bytes) -> Any:
    """Return what a JSON text says, with a Bad in place of each number and key to refuse.

    Whoever calls this lets `check` see every part of it.
    """
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest("The body is not UTF-8.") from error
    except RecursionError as error:
        raise InvalidRequest(TOO_DEEP) from error
    except ValueError as error:
        raise InvalidRequest("The body is not JSON.") from error


TOO_DEEP = f"The body's JSON has more than {MAX_DEPTH} levels."
BAD_TEXT = re.compile("[\0\ud800-\udfff]")
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Bad:
    """A value that is refused; it stands where the value stood, so that its place can be told."""

    why: str
    is_json: bool = True


INFINITE = Bad("is a number that is not finite")
CONSTANT = Bad(INFINITE.why, is_json=False)
TOO_LONG = Bad("is an integer of more than 64 bits")
DOUBLED = Bad("is there twice")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                found[key] = DOUBLED
            seen.add(key)
    return found


def _no_constant(_: str) -> Bad:
    return CONSTANT


def _float(text: str) -> float | Bad:
    number = float(text)
    return number if math.isfinite(number) else INFINITE


def _int(text: str) -> int | Bad:
    number = int(text) if len(text) <= len(str(BIGGEST)) + 1 else BIGGEST
    return number if -BIGGEST <= number < BIGGEST else TOO_LONG


# Where a value stands: the keys and numbers of all that hold it, the innermost first.
Place = tuple[str | int, "Place"] | None
MAX_KEY = 100  # characters; no field of ours has as many, and a problem repeats the key


class BadValue(InvalidRequest):
    """A part of a body is refused. What is not `is_json` is no JSON by its standard either."""

    def __init__(self, place: Place, why: str, *, is_json: bool = True) -> None:
        self.path, self.why, self.is_json = _path(place), why, is_json
        super().__init__(f"{'.'.join(self.path) or 'the body'}: {why}")


def check(value: Any, at: Place = None) -> None:
    """Let pass what could not hurt later. Raises BadValue; `at` is where in the body it stands."""
    level: list[tuple[Place, Any]] = [(at, value)] if _holds(at, value) else []
    for _ in range(MAX_DEPTH):
        level = [
            ((key, place), part)
            for place, container in level
            for key, part in _parts(place, container)
            if _holds((key, place), part)
        ]
        if not level:
            return
    raise BadValue(_outermost(level[0][0], at), f"has more than {MAX_DEPTH} levels")


def _parts(place: Place, container: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(container, list):
        return enumerate(container)
    for key in container:
        if len(key) > MAX_KEY:
            raise BadValue(place, f"has a key of more than {MAX_KEY} characters")
        if BAD_TEXT.search(key):
            raise _bad_text(place, key, "has a key with a NUL or half a surrogate pair")
    parts: Iterable[tuple[str | int, Any]] = container.items()
    return parts


def _holds(place: Place, value: Any) -> bool:
    """Tell whether the value holds others. Raises BadValue for what is refused itself."""
    match value:
        case dict() | list():
            return True
        case str() if BAD_TEXT.search(value):
            raise _bad_text(place, value, "has a NUL or half a surrogate pair")
        case Bad():
            raise BadValue(place, value.why, is_json=value.is_json)
        case _:
            return False


def _bad_text(place: Place, text: str, why: str) -> BadValue:
    return BadValue(place, why, is_json=SURROGATE.search(text) is None)


def _path(place: Place) -> list[str]:
    """Return the keys from the outside to the value, as problems name a field."""
    keys: list[str] = []
    while place is not None:
        key, place = place
        keys.append(str(key))
    return keys[::-1]


def _outermost(place: Place, at: Place) -> Place:
    while place is not None and place[1] is not at:
        place = place[1]
    return place


def json_value(body: RawBody, request: Request) -> Any:
    """Return the JSON of a request that says nothing else."""
    if media_type_of(request) != JSON:
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
