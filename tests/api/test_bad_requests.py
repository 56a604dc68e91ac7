"""Whatever a client sends, the answer is one of the contract's problems and nothing changes."""

import asyncio

from services.api.limits import read_json

KEYWORDS = "/planner/keywords?site_id={site}"
CONFIG = "/automation/update_config?site_id={site}"
RUN_NOW = "/automation/run_now?site_id={site}"
JSON = {"Content-Type": "application/json"}


def deep(levels):
    return b'{"name": ' + b"[" * levels + b"]" * levels + b', "domain": "a.example"}'


BODIES = {
    "no body": b"",
    "not JSON": b"{",
    "a list": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "not UTF-8": b'{"name": "\xff", "domain": "a.example"}',
    "UTF-16": '{"name": "a", "domain": "a.example"}'.encode("utf-16"),
    "NaN": b'{"name": NaN, "domain": "a.example"}',
    "Infinity": b'{"name": -Infinity, "domain": "a.example"}',
    "1e999": b'{"name": 1e999, "domain": "a.example"}',
    "2^63": b'{"name": 9223372036854775808, "domain": "a.example"}',
    "5,000 digits": b'{"name": ' + b"9" * 5000 + b', "domain": "a.example"}',
    "lone surrogate": b'{"name": "\\ud800", "domain": "a.example"}',
    "NUL": b'{"name": "a\\u0000b", "domain": "a.example"}',
    "NUL in a key": b'{"name": "a", "domain": "a.example", "\\u0000": 1}',
    "doubled key": b'{"name": "a", "name": "b", "domain": "a.example"}',
    "65 levels": deep(64),
    "100,000 levels": deep(100_000),
    "missing field": b'{"name": "a"}',
    "unknown field": b'{"name": "a", "domain": "a.example", "account_id": "x"}',
    "number for text": b'{"name": 5, "domain": "a.example"}',
    "null for text": b'{"name": null, "domain": "a.example"}',
    "blank text": b'{"name": "  ", "domain": "a.example"}',
    "long text": b'{"name": "' + b"a" * 201 + b'", "domain": "a.example"}',
    "two lines": b'{"name": "a\\nb", "domain": "a.example"}',
    "domain with spaces": b'{"name": "a", "domain": "a b"}',
    "no such zone": b'{"name": "a", "domain": "a.example", "timezone": "Mars/Base"}',
}


def test_a_malformed_body_is_a_400_and_sends_nothing(world, one):
    before = len(world.sent)
    for what, body in BODIES.items():
        answer = one.post("/sites", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), what
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) == {"type", "title", "status", "detail", "code"}
    assert len(world.sent) == before


PLACES = {
    b'{"name": NaN, "domain": "a.example"}': "name: is a number that is not finite",
    b'{"name": "a", "domain": [1, -1e999]}': "domain.1: is a number that is not finite",
    b'{"name": {"a": 9223372036854775808}}': "name.a: is an integer of more than 64 bits",
    b'{"name": [{"a": -9223372036854775809}]}': "name.0.a: is an integer of more than 64 bits",
    b'{"name": "a", "domain": "a", "name": "b"}': "name: is there twice",
    b'{"name": [{"a": 1, "a": 1}]}': "name.0.a: is there twice",
    b'{"name": "\\udc00"}': "name: has a NUL or half a surrogate pair",
    b'{"name": {"\\u0000": 1}}': "name: has a key with a NUL or half a surrogate pair",
    b'{"' + b"a" * 101 + b'": 1}': "the body: has a key of more than 100 characters",
    deep(64): "name: has more than 64 levels",
    b"[" * 100_000: "The body's JSON has more than 64 levels.",
    b"1e999": "the body: is a number that is not finite",
}


def test_what_is_refused_in_a_body_is_named_by_its_place(one):
    for body, detail in PLACES.items():
        answer = one.post("/sites", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["detail"]) == (400, detail), body[:60]


def test_64_bits_64_levels_and_zeros_below_zero_are_read():
    good = b'{"a": [9223372036854775807, -9223372036854775808, -0.0, 1e308, "\\ud83d\\ude00"]}'
    assert read_json(good) == {"a": [2**63 - 1, -(2**63), 0.0, 1e308, "\U0001f600"]}
    assert read_json(b"[" * 64 + b"]" * 64)


SETTINGS = [
    {"stage_1_batch_size": 0},
    {"stage_1_batch_size": 101},
    {"stage_1_batch_size": "5"},
    {"stage_1_batch_size": True},
    {"stage_1_batch_size": 5.5},
    {"stage_1_batch_size": 10**18},
    {"stage_7_batch_size": 5},
    {"within_stage_delay": -1},
    {"between_stage_delay": 3601},
    {"scheduled_time": "24:00"},
    {"scheduled_time": "2:00"},
    {"scheduled_time": "02:00\n"},
    {"timezone": "Nowhere/Land"},
    {"frequency": "hourly"},
    {"frequency": ["daily"]},
    {"schedule_weekday": 7},
    {"schedule_day": 29},
    {"max_parallel_batches": 11},
    {"language": "English"},
    {"language": ""},
    {"brand_voice": "x" * 501},
    {"audience": 7},
    {"banned_words": "delve"},
    {"banned_words": ["x" * 61]},
    {"banned_words": [str(n) for n in range(51)]},
    {"is_enabled": 1},
    {"is_enabled": "true"},
    {"is_enabled": None},
    {"next_run_at": None},
    {"site_id": "x"},
]


def test_an_impossible_setting_is_a_400_that_names_the_field(world, one):
    before = len(world.sent)
    for settings in SETTINGS:
        answer = one.put(CONFIG.format(site=one.site_id), json=settings)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), settings
        assert answer.json()["detail"].startswith(next(iter(settings)))
    assert len(world.sent) == before


QUERIES = [
    "/automation/config",
    "/automation/current_processing",
    "/automation/history?site_id={site}&limit=0",
    "/automation/history?site_id={site}&limit=-1",
    "/automation/history?site_id={site}&limit=1001",
    "/automation/history?site_id={site}&limit=1000000000",
    "/automation/history?site_id={site}&limit=" + "9" * 5000,
    "/automation/history?site_id={site}&limit=ten",
    "/automation/history?site_id={site}&limit=",
    "/automation/history?site_id={site}&limit=1.5",
    "/automation/history?site_id={site}&cursor=1",
    "/automation/history?site_id={site}&cursor=%00",
    "/automation/history?site_id={site}&cursor=%F0%9F%98%80",
    "/automation/history?site_id={site}&cursor=" + "A" * 27,
    "/automation/history?site_id={site}&cursor=" + "A" * 300,
    "/automation/logs?run_id={run}&lines=0",
    "/automation/logs?run_id={run}&lines=1001",
    "/automation/logs?run_id={run}&lines=x",
    "/automation/events?run_id={run}&after=-1",
    "/automation/events?run_id={run}&after=9223372036854775808",
    "/automation/events?run_id={run}&after=x",
    "/automation/stream",
    "/automation/stream?run_id={run}&site_id={site}",
    "/automation/stream?run_id={run}&after=x",
    "/planner/keywords?site_id={site}&status=%00",
    "/planner/keywords?site_id={site}&status='%20or%201=1",
    "/planner/keywords",
    "/sites?limit=0",
    "/sites?cursor=x",
    "/account/ledger?cursor=x",
    "/account/ai_tasks?limit=5000",
]


def test_a_bad_parameter_is_a_400(one):
    run = one.start_run()
    for query in QUERIES:
        answer = one.get(query.format(site=one.site_id, run=run))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), query


def test_unknown_and_blank_parameters_do_no_harm(one):
    run = one.start_run()
    paths = (
        f"/automation/history?site_id={one.site_id}&cursor=&colour=red",
        f"/automation/events?run_id={run}&after=",
        f"/planner/keywords?site_id={one.site_id}&status=&cursor=",
        f"/automation/current_processing?site_id={one.site_id}&run_id=",
        "/account/ai_tasks?run_id=",
    )
    for path in paths:
        assert one.get(path).status_code == 200, path


IMPOSSIBLE_IDS = ("%00", "A", "a" * 65, "..%2f..%2fetc", "%5c", "a%20b", "%F0%9F%98%80", "a'--")


def test_what_cannot_be_an_id_is_a_404(client, one):
    for bad in IMPOSSIBLE_IDS:
        for path in ("/automation/run?run_id=", "/automation/config?site_id=", "/writer/content/"):
            answer = one.get(path + bad)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path + bad
        path = f"/admin/accounts/{bad}"
        assert client.ask("GET", path, "the-admin-token").status_code == 404, path
        options = {"json": {"amount": 1, "reason": "r"}, "headers": {"Idempotency-Key": "k"}}
        answer = client.ask("POST", f"{path}/credits", "the-admin-token", **options)
        assert answer.status_code == 404, path


def test_an_empty_id_is_a_400_that_names_it(one):
    empty = (
        "/automation/config?site_id=",
        "/automation/run?run_id=",
        "/automation/events?run_id=",
        "/planner/keywords?site_id=",
    )
    for path in empty:
        answer = one.get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), path
        name = path.partition("?")[2].rstrip("=")
        assert answer.json()["detail"] == f"{name}: must not be empty"
    assert one.post("/automation/run_now?site_id=").status_code == 400
    assert one.get("/automation/config?site_id=%20").status_code == 404


def test_content_types_other_than_ours_are_a_400(one):
    kinds = ("text/plain", "", "application/x-www-form-urlencoded", "application/json; charset=x")
    for kind in kinds:
        body = b'{"name": "a", "domain": "a.example"}'
        answer = one.post("/sites", content=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), kind
    answer = one.post(KEYWORDS.format(site=one.site_id), content=b"keyword\na")
    assert (answer.status_code, answer.json()["detail"]) == (400, "The body is not JSON.")
    headers = JSON | {"Content-Encoding": "gzip"}
    assert one.post("/sites", content=b"x", headers=headers).status_code == 400


def test_a_body_without_a_content_type_is_read_as_json(one):
    site = one.post("/sites", content=b'{"name": "a", "domain": "a.example"}')
    assert site.status_code == 201
    changed = one.put(CONFIG.format(site=one.site_id), content=b'{"stage_1_batch_size": 7}')
    assert changed.json()["stage_1_batch_size"] == 7
    rows = one.post(KEYWORDS.format(site=one.site_id), content=b'{"keywords": [{"keyword": "a"}]}')
    assert rows.json()["imported"] == 1
    for path in ("/sites", KEYWORDS.format(site=one.site_id)):
        assert one.post(path).json()["detail"] == "The body is not JSON."


def test_a_body_where_none_is_read_is_a_400(one):
    path = RUN_NOW.format(site=one.site_id)
    assert one.post(path, json={"account_id": "x"}).status_code == 400
    assert one.post(path, json={}).status_code == 202


def test_a_large_body_is_a_413_by_its_length_and_while_reading(one):
    large = b" " * 1_000_001
    assert one.post("/sites", content=large, headers=JSON).json()["code"] == "too_large"

    async def parts():
        for _ in range(61):
            yield b" " * 100_000

    for path in ("/sites", KEYWORDS.format(site=one.site_id), RUN_NOW.format(site=one.site_id)):
        answer = one.post(path, content=parts(), headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large"), path


def test_too_many_or_too_large_headers_are_a_431(one):
    many = {f"X-{number}": "a" for number in range(101)}
    for headers in (many, {"X-Large": "a" * 9000}):
        assert one.get("/sites", headers=headers).json()["code"] == "headers_too_large"


def test_an_idempotency_key_that_cannot_be_kept_is_a_400(one):
    path = f"/automation/run_now?site_id={one.site_id}"
    for key in (b"", b"a" * 256, b"\xfc", b"a\tb"):
        signed = {b"Authorization": f"Bearer {one.key}".encode(), b"Idempotency-Key": key}
        answer = one.client.ask("POST", path, headers=signed)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), key


def test_unknown_addresses_and_wrong_methods_are_problems(one):
    assert one.get("/nothing").json()["code"] == "not_found"
    assert one.get("/sites/").json()["code"] == "not_found"
    answer = one.client.ask("DELETE", "/sites", one.key)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"


def test_a_body_that_comes_too_slowly_is_a_408(one, monkeypatch):
    monkeypatch.setattr("services.api.limits.BODY_WITHIN", 0.05)

    async def slowly():
        yield b"{"
        await asyncio.sleep(0.5)
        yield b"}"

    answer = one.post("/sites", content=slowly(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (408, "request_timeout")
