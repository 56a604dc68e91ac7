"""Keywords as CSV and JSON: good rows are taken, bad ones named."""

import json

import pytest

from events.content import NewKeyword
from services.api.csv_import import from_csv, from_list, in_messages
from services.api.problems import InvalidRequest
from tests.api.world import accept, impatience

CSV = {"Content-Type": "text/csv; charset=utf-8"}


def words(rows):
    return [keyword.keyword for keyword in rows[0]]


def test_a_csv_file_is_read_by_its_header():
    data = "\ufeffIntent, KEYWORD ,extra,Volume,difficulty\r\nCommercial,red shoes,x,120,40\r\n"
    keywords, rejected = from_csv(data.encode())
    expected = NewKeyword(keyword="red shoes", volume=120, difficulty=40, intent="commercial")
    assert (keywords, rejected) == ([expected], [])


def test_quotes_semicolons_short_rows_and_blank_lines_are_read():
    assert words(from_csv(b'keyword,volume\n"a, b"\n\n c \n')) == ["a, b", "c"]
    assert from_csv(b"keyword;volume\na;5\n")[0] == [NewKeyword(keyword="a", volume=5)]
    assert words(from_csv(b"keyword\ra\rb")) == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (",5,5,", "keyword is empty"),
        ("a" * 201 + ",,,", "more than 200"),
        ("a\x07b,,,", "control"),
        ("a\0b,,,", "control"),
        ("a,-1,,", "volume"),
        ("a,1.5,,", "volume"),
        ("a,1000000001,,", "volume"),
        ("a,many,,", "volume"),
        ("a," + "9" * 5000 + ",,", "volume"),
        ("a,\u0665,,", "volume"),
        ("a,,101,", "difficulty"),
        ("a,,,\x01x", "intent"),
        ("a,1,200,,5", "more cells than the header has columns (4)"),
        ("a,1,,,, b", "needs quotes"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_taken(row, word):
    data = f"keyword,volume,difficulty,intent\ngood,,,\n{row}\nalso good,,,\n"
    keywords, (rejected,) = from_csv(data.encode())
    assert [keyword.keyword for keyword in keywords] == ["good", "also good"]
    assert rejected.row == 3
    assert word in rejected.reason


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"phrase\nx", b"\xff\xfek\x00", b"keyword\n\xff", b'keyword\n"' + b"a" * 140_000],
)
def test_what_is_no_such_file_is_refused_whole(data):
    with pytest.raises(InvalidRequest):
        from_csv(data)


def test_a_delimiter_without_quotes_rejects_its_row_and_blank_cells_at_the_end_do_not():
    keywords, (rejected,) = from_csv(b'keyword\ncoffee, black\n"tea, green"\nmilk,, \n')
    assert [keyword.keyword for keyword in keywords] == ["tea, green", "milk"]
    assert rejected.row == 2
    assert rejected.reason == (
        "the row has more cells than the header has columns (1); "
        "a cell with the delimiter in it needs quotes"
    )


def test_a_header_that_names_a_column_twice_is_refused():
    with pytest.raises(InvalidRequest, match="column volume twice"):
        from_csv(b"keyword,volume,Volume\na,1,2\n")
    assert words(from_csv(b"keyword,other,other\na,1,2\n")) == ["a"]


@pytest.mark.parametrize("data", [b'keyword\na\n"b\nc\nd\n', b'keyword\na\n"b\nc" d\ne\n'])
def test_a_quote_that_swallows_rows_refuses_the_file_and_says_where_it_begins(data):
    with pytest.raises(InvalidRequest, match="begins in line 3 of the file is not CSV"):
        from_csv(data)


def test_ten_thousand_rows_are_read_and_no_more():
    rows = b"keyword\n" + b"a\n" * 10_000
    assert len(from_csv(rows)[0]) == 10_000
    with pytest.raises(InvalidRequest, match="10,000"):
        from_csv(rows + b"b\n")
    with pytest.raises(InvalidRequest, match="10,000"):
        from_list([{"keyword": "a"}] * 10_001)


def test_json_rows_count_from_one_and_want_exact_types():
    bad = [{"keyword": 5}, "text", {"keyword": "b", "volume": True}]
    rows = [{"keyword": "a"}, *bad, {"keyword": "b", "volume": "5"}, {"volume": 5}]
    rows.append({"keyword": "c", "volume": 0})
    keywords, rejected = from_list(rows)
    assert [keyword.keyword for keyword in keywords] == ["a", "c"]
    assert [row.row for row in rejected] == [2, 3, 4, 5, 6]


def test_messages_hold_at_most_a_thousand_keywords_and_stay_small():
    small = [NewKeyword(keyword="a")] * 2500
    assert [len(some) for some in in_messages(small)] == [1000, 1000, 500]
    large = [NewKeyword(keyword="\U0001f600" * 200, intent="\U0001f600" * 50)] * 1000
    portions = list(in_messages(large))
    assert len(portions) == 3
    assert sum(len(some) for some in portions) == 1000


def test_an_import_answers_with_all_its_commands_numbers_added_up(world, one):
    path = f"/planner/keywords?site_id={one.site_id}"
    rows = "".join(f"word {number},{number}\n" for number in range(1500))
    data = "keyword,volume\n" + rows + "word 1400,\n,5\n"
    answer = one.post(path, content=data.encode(), headers=CSV | {"Idempotency-Key": "k"})
    assert answer.status_code == 200
    assert answer.json() == {
        "imported": 1500,
        "duplicates": 1,
        "rejected": [{"row": 1503, "reason": "keyword is empty"}],
    }
    commands = [sent for sent in world.sent if sent.message.TYPE == "KeywordsSubmitted"]
    assert [len(sent.message.keywords) for sent in commands] == [1000, 501]
    again = one.post(path, content=data.encode(), headers=CSV | {"Idempotency-Key": "k"})
    assert (again.status_code, again.content) == (answer.status_code, answer.content)
    assert world.sent[-1] == commands[-1]
    told = one.get(f"/commands/{commands[0].id}").json()
    assert told["numbers"] == {"imported": 1500, "duplicates": 1}


def test_an_import_is_pending_until_its_last_command_is_answered(world, one):
    world.script = lambda command: accept(command) if len(command.message.keywords) > 1 else []
    data = b"keyword\n" + b"".join(b"word %d\n" % number for number in range(1001))
    with impatience():
        answer = one.post(f"/planner/keywords?site_id={one.site_id}", content=data, headers=CSV)
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    path = f"/commands/{answer.json()['command_id']}"
    world.send_again()
    assert one.get(path).json()["status"] == "pending"
    world.script = accept
    world.send_again()
    assert one.get(path).json()["numbers"] == {"imported": 1001, "duplicates": 0}


def test_an_import_without_a_good_row_changes_nothing(world, one):
    before = len(world.sent)
    path = f"/planner/keywords?site_id={one.site_id}"
    answer = one.post(path, json={"keywords": [{"keyword": ""}]})
    assert answer.status_code == 200
    assert answer.json()["imported"] == 0
    assert len(answer.json()["rejected"]) == 1
    assert len(world.sent) == before


def test_an_import_without_a_good_row_takes_its_key_too(world, one):
    path, headers = f"/planner/keywords?site_id={one.site_id}", {"Idempotency-Key": "k"}
    bad, good = {"keywords": [{"keyword": ""}]}, {"keywords": [{"keyword": "a"}]}
    first, again = (one.post(path, json=bad, headers=headers) for _ in range(2))
    assert (first.status_code, first.content) == (again.status_code, again.content)
    other = one.post(path, json=good, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert one.post(path, json=good, headers={"Idempotency-Key": "l"}).json()["imported"] == 1
    late = one.post(path, json=bad, headers={"Idempotency-Key": "l"})
    assert (late.status_code, late.json()["code"]) == (409, "idempotency_conflict")
    assert world.send_again() == []


def test_ten_thousand_long_rows_fit_as_csv_and_as_json(one):
    """Also where a client writes each letter beyond ASCII as six, as many do."""
    path = f"/planner/keywords?site_id={one.site_id}"
    latin = "".join(f"coffee {n:05} {'x' * 180},5400,31,informational\n" for n in range(10_000))
    data = f"keyword,volume,difficulty,intent\n{latin}".encode()
    assert one.post(path, content=data, headers=CSV).json()["imported"] == 10_000
    greek = [{"keyword": f"καφές {n:05} {'ω' * 70}", "volume": n} for n in range(10_000)]
    body = json.dumps({"keywords": greek}).encode()
    answer = one.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["imported"] == 10_000


FAULTS = {
    '{"keyword": "a", "bogus": 1}': "bogus is not a field",
    '{"keyword": "a", "volume": 9223372036854775808}': "volume is an integer of more than 64 bits",
    '{"keyword": "a", "volume": 1e999}': "volume is a number that is not finite",
    '{"keyword": "a", "keyword": "b"}': "keyword is there twice",
    '{"keyword": "a\\u0000b"}': "keyword has a NUL or half a surrogate pair",
    '{"keyword": ["a", {"b": 9223372036854775808}]}': (
        "keyword.1.b is an integer of more than 64 bits"
    ),
    f'{{"{"a" * 101}": 1}}': "the row has a key of more than 100 characters",
    '{"keyword": ' + "[" * 65 + "]" * 65 + "}": "keyword has more than 64 levels",
    "9223372036854775808": "the row is an integer of more than 64 bits",
    '"a"': "the row is not an object",
}


def test_whatever_is_wrong_with_a_json_row_rejects_that_row_alone(one):
    path = f"/planner/keywords?site_id={one.site_id}"
    body = f'{{"keywords": [{{"keyword": "good"}}, {", ".join(FAULTS)}, {{"keyword": "too"}}]}}'
    answer = one.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "imported": 2,
        "duplicates": 0,
        "rejected": [
            {"row": row, "reason": reason} for row, reason in enumerate(FAULTS.values(), start=2)
        ],
    }


WHOLE = (
    "{}",
    "[]",
    '{"keywords": {}}',
    '{"keywords": [], "x": 1}',
    '{"keywords": [{"keyword": "a"}], "x": 9223372036854775808}',
    '{"keywords": [{"keyword": "a"}], "keywords": []}',
    '{"keywords": [{"keyword": "a"}, {"keyword": "b", "volume": NaN}]}',
    '{"keywords": [{"keyword": "a"}, {"keyword": "b", "volume": -Infinity}]}',
    '{"keywords": [{"keyword": "a"}, {"keyword": "\\ud800"}]}',
    '{"keywords": [{"keyword": "a"}, {"\\ud800": 1}]}',
)


@pytest.mark.parametrize("body", WHOLE)
def test_what_is_no_json_or_no_list_of_keywords_is_a_400(world, one, body):
    path, before = f"/planner/keywords?site_id={one.site_id}", len(world.sent)
    answer = one.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert len(world.sent) == before


def test_keywords_are_listed_page_by_page_and_by_status(one):
    one.add_keywords(*"abcde")
    path = f"/planner/keywords?site_id={one.site_id}&limit=2"
    first = one.get(path).json()
    second = one.get(f"{path}&cursor={first['next_cursor']}").json()
    assert [item["keyword"] for item in first["items"] + second["items"]] == ["a", "b", "c", "d"]
    assert set(first["items"][0]) >= {"id", "status", "keyword", "cluster_id"}
    assert one.get(f"{path}&status=clustered").json() == {"items": [], "next_cursor": None}
