"""Whatever stands in a parameter, a field, a header or a body, the answer is one of the contract's.

The requests are made from the OpenAPI document and the recorded examples, so a new operation is
tried here as soon as it has its example. They go past the HTTP client, which would tidy them up.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from http.client import HTTPResponse
from types import SimpleNamespace
from urllib.parse import quote, unquote

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.api import examples as made
from services.api.edge import HEADERS as HEADERS_OF_ALL
from services.api.problems import CODES
from services.api.schemas import operations, problems_of
from services.api.wire import config_of
from tests.api.examples import a_world, play
from tests.api.world import ADMIN_TOKEN

LONG = "a" * 100_000
IN_ADDRESSES = {
    "empty": "",
    "blank": "%20",
    "blanks": "%20%09%0A",
    "NUL": "%00",
    "lone surrogate": "%ED%A0%80",
    "not UTF-8": "%FF%FE%C0%80",
    "half an escape": "%",
    "no escape": "%zz",
    "2^63": "9223372036854775808",
    "-2^63-1": "-9223372036854775809",
    "5,000 digits": "9" * 5000,
    "1e999": "1e999",
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "-0.0": "-0.0",
    "zero": "0",
    "negative": "-1",
    "far too many": "1000000000",
    "fraction": "1.5",
    "true": "true",
    "null": "null",
    "list": "[]",
    "object": "%7B%7D",
    "deep": "[" * 500,
    "long": LONG,
    "emoji": "%F0%9F%98%80",
    "right to left": "%E2%80%AE%D7%90",
    "line break": "a%0D%0AX-Evil:%201",
    "markup": "%3Cscript%3E",
    "quotes": "'%20or%20'1'='1",
    "another's form": "site-x",
}
IN_BODIES = {
    "null": "null",
    "true": "true",
    "zero": "0",
    "negative": "-1",
    "-0.0": "-0.0",
    "fraction": "1.5",
    "1e3": "1e3",
    "1e999": "1e999",
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "2^63": "9223372036854775808",
    "-2^63-1": "-9223372036854775809",
    "2^53+1": "9007199254740993",
    "5,000 digits": "9" * 5000,
    "number as text": '"5"',
    "empty": '""',
    "blank": '"  \\t "',
    "NUL": '"a\\u0000b"',
    "lone surrogate": '"\\ud800"',
    "reversed pair": '"\\udc00\\ud800"',
    "emoji": '"\\ud83d\\ude00"',
    "right to left": '"\\u202e\\u05d0"',
    "line break": '"a\\r\\nX-Evil: 1"',
    "long": f'"{LONG}"',
    "empty list": "[]",
    "list": '["a", 1, null]',
    "empty object": "{}",
    "object": '{"a": 1}',
    "doubled key": '{"a": 1, "a": 2}',
    "100 lists": "[" * 100 + "]" * 100,
    "100 objects": '{"a":' * 100 + "1" + "}" * 100,
}
IN_HEADERS = (b"", b" ", b"\xff\xfe", b"a" * 300, b"9223372036854775808", b"-1", b"1.5", b"null")
GOOD = {200, 201, 202, 204}


@dataclass(frozen=True)
class Request:
    """One request as a server hands it over; `field` is what was made odd about it, if one part."""

    at: str
    key: str | None
    parameters: dict[str, str] = field(default_factory=dict)
    extra: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    in_parts: bool = False
    field: str = ""

    def scope(self):
        method, _, path = self.at.partition(" ")
        query = []
        for name, value in self.parameters.items():
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", value)
            else:
                query.append(f"{name}={value}")
        headers = [*self.headers]
        if self.key is not None:
            headers.append((b"authorization", f"Bearer {self.key}".encode()))
        if self.body and not self.in_parts:
            headers.append((b"content-length", str(len(self.body)).encode()))
        return {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": ("&".join(query) + self.extra).encode(),
            "headers": headers,
        }


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


async def answer_to(app, request):
    """Return the answer; of a stream that goes on, its beginning."""
    messages = parts_of(request)
    gone = asyncio.Event()
    start, body = {}, bytearray()

    async def receive():
        async for message in messages:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        start.update(message if message["type"] == "http.response.start" else {})
        body.extend(message.get("body", b""))
        if body and headers_of(start).get("content-type", "").startswith("text/event-stream"):
            gone.set()

    async with asyncio.timeout(15):
        await app(request.scope(), receive, send)
    return Answer(start["status"], headers_of(start), bytes(body))


async def parts_of(request) -> AsyncIterator[dict[str, object]]:
    size = 200_000 if request.in_parts else max(len(request.body), 1)
    for begin in range(0, max(len(request.body), 1), size):
        part = request.body[begin : begin + size]
        more = begin + size < len(request.body)
        yield {"type": "http.request", "body": part, "more_body": more}


def headers_of(start):
    return {name.decode(): value.decode("latin-1") for name, value in start.get("headers", ())}


@pytest.fixture(scope="module")
def scene():
    """A world in which everything was asked for once, so that good requests are known."""
    with a_world() as (world, client):
        recorder, tenant = play(world, client)
        document = world.app.openapi()
        known = dict(operations(document))
        yield SimpleNamespace(
            world=world,
            client=client,
            document=document,
            known=known,
            good=[
                good(at, one, tenant.key)
                for at, exchanges in recorder.kept.items()
                for one in [next(iter(exchanges.values()))]
            ],
        )


def good(at, exchange, key):
    """Return the request that the example was recorded with."""
    asked = exchange["request"]
    path = at.partition(" ")[2]
    if not path.startswith("/api/"):
        key = None
    elif path.startswith("/api/v1/admin/"):
        key = ADMIN_TOKEN
    return Request(
        at=at,
        key=key,
        parameters={name: quote(str(value)) for name, value in asked["parameters"].items()},
        headers=((b"content-type", asked["type"].encode()),) if "body" in asked else (),
        body=json.dumps(asked["body"]).encode() if "body" in asked else b"",
    )


def ask_all(scene, requests):
    """Ask one after the other, and check every answer; return the answers."""

    async def one_by_one():
        answers = []
        for request in requests:
            before = len(scene.world.sent)
            answer = await answer_to(scene.world.app, request)
            answers.append((request, answer, len(scene.world.sent) - before))
        return answers

    asked = scene.client.start(one_by_one()).result(timeout=120)
    for request, answer, sent in asked:
        check(scene, request, answer, sent)
    return [answer for _, answer, _ in asked]


def check(scene, request, answer, sent):
    what = f"{request.at} {request.field} {str(request)[:600]} -> {answer}"
    operation = scene.known[request.at]
    assert answer.status != 500, what
    if answer.status < 300:
        assert answer.status in GOOD, what
        assert str(answer.status) in operation["responses"], what
        return
    assert sent == 0, f"refused, and yet sent: {what}"
    assert answer.headers["content-type"] == "application/problem+json", what
    problem = json.loads(answer.body)
    assert {"type", "title", "status", "detail", "code"} <= set(problem), what
    assert problem["status"] == answer.status == CODES[problem["code"]].status, what
    assert problem["type"] == f"/docs#{problem['code']}", what
    assert problem["detail"], what
    told = {made.problem(name).code for name in problems_of(request.at, operation)}
    assert problem["code"] in told, f"not in the document: {what}"
    if answer.status == 400 and request.field:
        # Of two parameters that exclude each other, the first is named.
        either = "run_id" if request.field == "site_id" else request.field
        named = problem["detail"].partition(":")[0].partition(".")[0]
        assert named in {request.field, either}, what


def test_the_good_requests_are_good(scene):
    answers = ask_all(scene, scene.good)
    assert {answer.status for answer in answers} <= GOOD


def test_no_query_or_path_parameter_does_harm(scene):
    requests = []
    for request in scene.good:
        for one in scene.known[request.at]["parameters"]:
            if one["in"] == "header":
                continue
            name = one["name"]
            for value in IN_ADDRESSES.values():
                if one["in"] == "path" and value == "":
                    continue  # another address
                changed = request.parameters | {name: value}
                requests.append(replace(request, parameters=changed, field=name))
    answers = ask_all(scene, requests)
    assert {400, 404} <= {answer.status for answer in answers} <= {*GOOD, 400, 404, 405}
    assert len(requests) > 2000


def test_a_doubled_parameter_does_no_harm_and_an_unknown_one_is_ignored(scene):
    requests = []
    for request in scene.good:
        for one in scene.known[request.at]["parameters"]:
            if one["in"] == "query":
                for value in ("%00", "5", "site-x", ""):
                    doubled = f"&{one['name']}={value}"
                    requests.append(replace(request, extra=doubled, field=one["name"]))
    ask_all(scene, requests)
    unknown = [replace(request, extra="&colour=red&%00=%FF&[]=&=") for request in scene.good]
    assert {answer.status for answer in ask_all(scene, unknown)} <= GOOD


def test_no_header_does_harm(scene):
    requests = [
        replace(request, headers=(*request.headers, (name, value)))
        for request in scene.good
        for name in HEADERS
        for value in IN_HEADERS
        if told(scene, request, name)
    ]
    answers = ask_all(scene, requests)
    assert {answer.status for answer in answers} <= {*GOOD, 400, 409}


def told(scene, request, name):
    """Tell whether the operation knows the header; of what none knows, one operation is enough."""
    known = {one["name"].lower().encode() for one in scene.known[request.at]["parameters"]}
    return name in known or (name in UNREAD and request.at == "GET /api/v1/sites")


UNREAD = (b"traceparent", b"accept", b"range", b"host", b"cookie", b"expect", b"x-forwarded-for")
HEADERS = (b"idempotency-key", b"last-event-id", *UNREAD)


def test_a_key_that_is_none_is_a_401(scene):
    requests = []
    for request in scene.good:
        if "security" in scene.known[request.at]:
            for value in (
                b"Bearer \xff",
                b"Bearer " + b"a" * 5000,
                b"Bearer a b",
                b"\x00",
                b"Bearer",
            ):
                headers = (*request.headers, (b"authorization", value))
                requests.append(replace(request, key=None, headers=headers))
    assert {answer.status for answer in ask_all(scene, requests)} == {401}


def with_json(scene):
    """Return the good requests whose body is JSON."""
    return [request for request in scene.good if request.body]


def properties(scene, request):
    schema = scene.known[request.at]["requestBody"]["content"]["application/json"]["schema"]
    name = schema["$ref"].rpartition("/")[2]
    return scene.document["components"]["schemas"][name]["properties"]


def with_field(request, name, fragment):
    """Return the request with a field's value replaced by this text."""
    body = json.loads(request.body) | {name: "@@"}
    changed = json.dumps(body).replace('"@@"', fragment)
    return replace(request, body=changed.encode(), field=name)


def test_no_field_of_a_body_does_harm(scene):
    requests = [
        with_field(request, name, fragment)
        for request in with_json(scene)
        for name in properties(scene, request)
        for fragment in IN_BODIES.values()
    ]
    answers = ask_all(scene, requests)
    assert {answer.status for answer in answers} <= {*GOOD, 400}
    assert len(requests) > 700


def test_no_field_of_a_keyword_does_harm(scene):
    (request,) = (one for one in scene.good if one.at == "POST /api/v1/planner/keywords")
    requests = []
    for name in ("keyword", "volume", "difficulty", "intent", "colour"):
        for fragment in IN_BODIES.values():
            row = json.dumps({"keyword": "a", name: "@@"}).replace('"@@"', fragment)
            body = f'{{"keywords": [{row}, {{"keyword": "good"}}, {fragment}]}}'.encode()
            requests.append(replace(request, body=body, field="keywords"))
    answers = ask_all(scene, requests)
    assert {answer.status for answer in answers} == {200, 400}


def test_an_unknown_field_of_a_body_is_a_400_that_names_it(scene):
    names = ("colour", "account_id", "", "__proto__", "$ref", "א")
    requests = [with_field(one, name, "1") for one in with_json(scene) for name in names]
    assert {answer.status for answer in ask_all(scene, requests)} == {400}
    long_name = [with_field(one, LONG, "1") for one in with_json(scene)]
    for answer in ask_all(scene, [replace(one, field="") for one in long_name]):
        assert answer.status == 400


def test_a_null_key_or_a_doubled_one_is_a_400(scene):
    requests = []
    for request in with_json(scene):
        name = next(iter(json.loads(request.body)))
        body = request.body
        doubled = body[:-1] + b', "%s": 1}' % name.encode()
        requests.append(replace(request, body=doubled, field=name))
        requests.append(replace(request, body=body[:-1] + b', "\\u0000": 1}'))
        requests.append(replace(request, body=body[:-1] + b', "\\udfff": 1}'))
    assert {answer.status for answer in ask_all(scene, requests)} == {400}


BODIES = {
    "not JSON": b"hello",
    "truncated": b'{"name": "a", ',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "UTF-32": '{"name": "a"}'.encode("utf-32"),
    "Latin-1": '{"name": "é"}'.encode("latin-1"),
    "two values": b"{} {}",
    "a comment": b"{} // so",
    "single quotes": b"{'name': 'a'}",
    "a list": b"[]",
    "a text": b'"a"',
    "a number": b"1",
    "null": b"null",
    "NaN": b"NaN",
    "100,000 lists": b"[" * 100_000,
    "100,000 lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "many small things": b"[" + b"[]," * 20_000 + b"1]",
    "NULs": b"\0" * 1000,
    "a form": b"name=a&domain=b",
    "an upload": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
}
TOO_LARGE = b" " * 6_000_001


def test_a_body_that_is_no_object_is_a_400_and_a_large_one_a_413(scene):
    writing = [one for one in scene.good if one.at.startswith(("POST ", "PUT "))]
    json_type = ((b"content-type", b"application/json"),)
    odd = [
        replace(request, body=body, headers=json_type)
        for request in writing
        for body in BODIES.values()
    ]
    assert {answer.status for answer in ask_all(scene, odd)} == {400}
    large = [
        replace(request, body=TOO_LARGE, headers=json_type, in_parts=in_parts)
        for request in writing
        for in_parts in (False, True)
    ]
    assert {answer.status for answer in ask_all(scene, large)} == {413}


def test_a_body_in_parts_without_a_length_is_read_as_any_other(scene):
    requests = [replace(request, in_parts=True) for request in with_json(scene)]
    assert {answer.status for answer in ask_all(scene, requests)} <= GOOD


def test_a_length_that_is_none_or_lies_does_no_harm(scene):
    for length, statuses in (
        (b"6000001", {413}),
        (b"9" * 100, {413}),
        (b"abc", GOOD),
        (b"-5", GOOD),
        (b"", GOOD),
    ):
        headers = (b"content-length", length)
        requests = [
            replace(request, in_parts=True, headers=(*request.headers, headers))
            for request in with_json(scene)
        ]
        assert {answer.status for answer in ask_all(scene, requests)} <= statuses, length


def test_a_body_of_another_kind_is_a_400(scene):
    kinds = (
        b"",
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"application/json; charset=utf-16",
        b"application/jsonp",
        b"\xff",
        b"a" * 2000,
    )
    requests = [
        replace(request, headers=((b"content-type", kind),))
        for request in with_json(scene)
        for kind in kinds
    ]
    assert {answer.status for answer in ask_all(scene, requests)} == {400}


def test_a_compressed_request_is_a_400_everywhere(scene):
    for coding in (b"gzip", b"br", b"identity, gzip", b"\xff"):
        packed = (b"content-encoding", coding)
        requests = [replace(one, headers=(*one.headers, packed)) for one in scene.good]
        assert {answer.status for answer in ask_all(scene, requests)} == {400}


def test_too_many_headers_are_a_431_everywhere(scene):
    many = tuple((f"x-{number}".encode(), b"a") for number in range(101))
    for headers in (many, ((b"x-large", b"a" * 9000),)):
        requests = [replace(one, headers=(*one.headers, *headers)) for one in scene.good]
        assert {answer.status for answer in ask_all(scene, requests)} == {431}


def test_a_body_of_a_get_is_not_read(scene):
    reading = [one for one in scene.good if one.at.startswith("GET ")]
    requests = [replace(one, body=b"\xff" * 1000) for one in reading]
    assert {answer.status for answer in ask_all(scene, requests)} <= GOOD


KEYWORD_FILES = {
    "empty": b"",
    "a byte order mark only": b"\xef\xbb\xbf",
    "no such column": b"word\na",
    "not UTF-8": b"keyword\n\xff",
    "UTF-16": "keyword\na".encode("utf-16"),
    "NULs": b"keyword\n\0a\n",
    "a quote that never ends": b'keyword\n"a\nb\nc',
    "a field of 200 kB": b"keyword\n" + b"a" * 200_000,
    "10,001 rows": b"keyword\n" + b"a\n" * 10_001,
    "only separators": b",;\t\n,;\t",
    "doubled columns": b"keyword,keyword\na,b",
    "more cells than columns": b"keyword\na,b,c,d,e",
    "old line ends": b"keyword\ra\rb",
    "formulas": b"keyword,volume\n=1+1,=2\n@sum,-5\n+1,1e999",
    "numbers that are none": "keyword,volume\na,٣\nb,²\nc,1_000\nd,0x1\ne,NaN".encode(),
    "emoji and right to left": "keyword\n😀\n\u202eא\n".encode(),
    "6 MB": b"keyword\n" + b"a\n" * 3_000_000,
}


@pytest.mark.parametrize("what", KEYWORD_FILES)
def test_no_keyword_file_does_harm(scene, what):
    (request,) = (one for one in scene.good if one.at == "POST /api/v1/planner/keywords")
    csv = ((b"content-type", b"text/csv"),)
    odd = replace(request, headers=csv, body=KEYWORD_FILES[what])
    (answer,) = ask_all(scene, [odd])
    assert answer.status in {200, 400, 413}


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
QUICKLY = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=150,
    suppress_health_check=list(HealthCheck),
)


@QUICKLY
@given(data=st.data())
def test_no_json_value_does_harm(scene, data):
    request = data.draw(st.sampled_from(with_json(scene)))
    value = data.draw(JSON_VALUES)
    name = data.draw(st.sampled_from([None, *properties(scene, request)]))
    if name is None:
        requests = [replace(request, body=json.dumps(value).encode())]
    else:
        requests = [with_field(request, name, json.dumps(value))]
    ask_all(scene, requests)


@QUICKLY
@given(data=st.data())
def test_no_bytes_of_a_query_or_body_do_harm(scene, data):
    request = data.draw(st.sampled_from(scene.good))
    query = data.draw(st.binary(max_size=30))
    names = [one["name"] for one in scene.known[request.at]["parameters"] if one["in"] == "query"]
    name = data.draw(st.sampled_from(names)) if names else "none"
    body = data.draw(st.binary(max_size=40)) if request.body else b""
    ask_all(scene, [replace(request, extra=f"&{name}={quote(query)}", body=body)])


@pytest.fixture(scope="module")
def port(scene):
    """A server's port on the loopback, as bytes that are no HTTP never reach the API itself."""
    server = uvicorn.Server(config_of(scene.world.app, "127.0.0.1", 0))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(timeout=30)


JSON_POST = b"POST /api/v1/sites HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
GET = b" HTTP/1.1\r\nHost: a\r\n"
RAW = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
    "bytes in the address": (b"GET /api/v1/sites?limit=\xff" + GET + b"\r\n", 400),
    "half an escape": (b"GET /api/v1/writer/content/%zz%" + GET + b"%s\r\n", 404),
    "an endless address": (b"GET /api/v1/sites?limit=" + b"1" * 60_000 + GET + b"%s\r\n", 400),
    "no host": (b"GET /api/v1/sites HTTP/1.1\r\n\r\n", 400),
    "another method": (b"FOO /api/v1/sites" + GET + b"%s\r\n", 405),
    "a length that is none": (JSON_POST + b"Content-Length: abc\r\n\r\n", 400),
    "a negative length": (JSON_POST + b"Content-Length: -5\r\n\r\n", 400),
    "two lengths": (JSON_POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
    "a chunk that is none": (JSON_POST + b"%sTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "chunks": (JSON_POST + b"%sTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400),
    "a length and chunks": (
        JSON_POST + b"%sContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "300 headers": (b"GET /api/v1/sites" + GET + b"%s" + b"X: a\r\n" * 300 + b"\r\n", 431),
    "headers without end": (b"GET /api/v1/sites" + GET + b"X: " + b"a" * 200_000, 400),
}


@pytest.mark.parametrize("what", RAW)
def test_what_is_no_request_is_refused_by_the_server(scene, port, what):
    raw, status = RAW[what]
    key = next(one.key for one in scene.good if one.at == "GET /api/v1/sites")
    raw = raw.replace(b"%s", b"Authorization: Bearer " + key.encode() + b"\r\n")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(raw)
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert {name: answer.headers[name] for name in HEADERS_OF_ALL} == HEADERS_OF_ALL
        problem = json.loads(answer.read())
    assert problem["status"] == status
    assert {"type", "title", "detail", "code"} <= set(problem)
    assert status != 400 or problem["code"] == "invalid_request"


def test_a_client_that_sends_on_behind_what_is_refused_still_reads_the_answer(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(100):
            connection.sendall(b"a" * 20_000)
        answer = HTTPResponse(connection)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (400, "invalid_request")
        assert connection.recv(1) == b""  # it is cut in the end, though we keep it open


def test_after_all_this_the_good_requests_are_still_good(scene):
    answers = ask_all(scene, scene.good)
    assert {answer.status for answer in answers} <= GOOD
