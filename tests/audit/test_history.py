"""What happened, and what it was at any position: what whoever looked then would have seen."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic_core import from_json
from typer.testing import CliRunner, Result

from events.topics import Record
from services.audit import topic
from services.audit.history import state_of_run, state_of_site
from services.cli.main import app
from services.orchestrator.store import Store, open_store
from tests.audit.conftest import Copies
from tests.builders import ACCOUNT, RUN, SITE

Septet = Callable[..., Result]


@pytest.fixture
def septet(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> Septet:
    monkeypatch.chdir(copies.settings.data_dir)
    monkeypatch.setenv("SEPTET_DATA_DIR", str(copies.settings.data_dir))
    monkeypatch.setenv("SEPTET_DATABASE_URL", copies.url)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["audit", *arguments], catch_exceptions=False)

    return run


def positions(result: Result) -> list[int]:
    return [json.loads(line)["position"] for line in result.stdout.splitlines()]


def of(copies: Copies, kind: str, id_: str) -> list[int]:
    """Return the positions of all published events of a run or a site, by the topic."""
    return [
        int(record.header("ce_position") or 0)
        for record in copies.topic
        if json.loads(record.value or b"").get(kind) == id_
    ]


@pytest.mark.parametrize("source", ["store", "kafka"])
@pytest.mark.parametrize(
    ("option", "kind", "id_"), [("--run", "run_id", RUN), ("--site", "site_id", SITE)]
)
def test_a_history_is_whole_up_to_any_position_and_from_any(
    copies: Copies, septet: Septet, source: str, option: str, kind: str, id_: str
) -> None:
    copies.topic[5:5] = copies.topic[:5]  # published again
    everything = sorted(set(of(copies, kind, id_)))
    middle, later = everything[len(everything) // 2], everything[-3]
    asked = ("replay", option, id_, "--from", source)
    assert positions(septet(*asked)) == everything
    assert positions(septet(*asked, "--at", str(middle))) == [p for p in everything if p <= middle]
    assert positions(septet(*asked, "--after", str(middle))) == [
        p for p in everything if p > middle
    ]
    between = septet(*asked, "--after", str(middle), "--at", str(later))
    assert positions(between) == [p for p in everything if middle < p <= later]
    none = septet(*asked, "--after", str(everything[-1]))
    assert (none.exit_code, none.stdout) == (1, "")


def test_a_line_holds_the_very_bytes_of_the_event(copies: Copies, septet: Septet) -> None:
    position, _, name, body = copies.event("RunStarted")
    (line, *_) = [
        line
        for line in septet("replay", "--run", RUN).stdout.splitlines()
        if f'"ce_type":"{name}"' in line
    ]
    start = f'{{"position":{position},"type":"RunStarted","ce_type":"{name}",'
    assert line == start + body[1:].decode()


def test_only_rows_that_name_the_run_are_read(
    copies: Copies, monkeypatch: pytest.MonkeyPatch, septet: Septet
) -> None:
    read = list[bytes]()

    def counting(body: bytes) -> Any:
        read.append(body)
        return from_json(body)

    monkeypatch.setattr("services.audit.history.from_json", counting)
    septet("replay", "--run", RUN)
    assert read
    assert all(RUN.encode() in body for body in read)
    ((count,),) = copies.sql("stored_events", "SELECT count(*) FROM stored_events")
    assert len(read) < count


@pytest.fixture
def store(copies: Copies) -> Any:
    opened = open_store(copies.settings)
    yield opened
    opened.close()


def test_a_run_is_told_as_it_was(copies: Copies, store: Store) -> None:
    begun, *_ = copies.event("RunStarted")
    assert state_of_run(store, RUN, begun - 1) is None
    first = state_of_run(store, RUN, begun)
    assert first is not None
    assert first["run"]["status"] == "running"
    reported, *_ = copies.event("StageBatchCompleted", 1)
    asked, *_ = copies.event("StageBatchRequested", 1)
    middle = state_of_run(store, RUN, asked)
    after = state_of_run(store, RUN, reported)
    assert middle is not None
    assert after is not None
    assert (middle["run"]["current_stage"], middle["run"]["batches_in_flight"]) == (2, 1)
    assert (after["run"]["items_done"], after["run"]["batches_in_flight"]) == (1, 0)
    assert after["run"]["total_credits_used"] > middle["run"]["total_credits_used"]
    assert middle["run"]["held_credits"] == middle["account"]["held_credits"] > 0
    assert middle["site"]["active_run_id"] == RUN
    assert (middle["site"]["waiting"]["ideas"], middle["site"]["waiting"]["clusters"]) == (1, 0)


def test_a_run_that_is_over_is_told_as_the_tables_have_it(copies: Copies, store: Store) -> None:
    last = store.newest()
    told = state_of_site(store, SITE, last)
    assert told is not None
    ((balance, held),) = copies.sql("accounts", "SELECT balance, held_credits FROM accounts")
    assert told["account"] == {
        "account_id": ACCOUNT,
        "balance": balance,
        "held_credits": held,
        "available_credits": balance - held,
    }
    assert (told["run"], told["site"]["active_run_id"]) == (None, None)
    run = state_of_run(store, RUN, last)
    assert run is not None
    assert (run["run"]["status"], run["run"]["held_credits"]) == ("completed", 0)


def test_a_state_is_printed_as_json_with_its_position(copies: Copies, septet: Septet) -> None:
    begun, *_ = copies.event("RunStarted")
    told = json.loads(septet("replay", "--site", SITE, "--at", str(begun), "--state").stdout)
    assert told["position"] == begun
    assert told["run"]["run_id"] == RUN
    assert json.loads(septet("replay", "--run", RUN, "--state", "--output", "json").stdout)
    unknown = septet("replay", "--run", RUN, "--at", "1", "--state")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert septet("replay", "--run", RUN, "--state", "--after", "3").exit_code == 2
    assert septet("replay", "--run", RUN, "--site", SITE).exit_code == 2


def test_what_was_compared_is_a_table_or_an_object(septet: Septet) -> None:
    told = json.loads(septet("verify", "--output", "json").stdout)
    assert (told["differences"], told["topic_compared"]) == ([], True)
    assert {check["check"] for check in told["checks"]} == {
        "log", "chain", "topic", "read-model", "ledger", "artifacts",
    }  # fmt: skip
    shown = septet("verify", "--only", "log,chain")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0].split() == ["CHECK", "COMPARED", "FINDINGS", "SECONDS"]
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:3]] == ["log", "chain"]
    assert septet("verify", "--only", "chain,weather").exit_code == 2


def test_a_strangers_record_is_a_note_and_exit_code_0(copies: Copies, septet: Septet) -> None:
    copies.topic.append(Record(copies.topic[0].topic, None, b"garbage", (), 2, 7))
    done = septet("verify", "--only", "topic")
    assert done.exit_code == 0
    line = "topic: 2/7 is no event: the record has no ce_type header"
    assert done.stdout.splitlines()[-1] == f"note: {line}"
    told = json.loads(septet("verify", "--only", "topic", "--output", "json").stdout)
    assert (told["notes"], told["differences"]) == ([line], [])


def test_a_finding_is_a_line_and_exit_code_1(copies: Copies, septet: Septet) -> None:
    copies.sql("sites", "UPDATE sites SET name = 'forged'")
    done = septet("verify", "--only", "read-model")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1] == (
        f"read-model: sites {SITE}: name is 'forged', should be '{SITE}'"
    )


def test_heads_that_were_printed_are_compared_later(copies: Copies, septet: Septet) -> None:
    lines = septet("heads", "--output", "json").stdout
    assert [json.loads(line).get("site_id") for line in lines.splitlines()] == [None, SITE]
    kept = copies.settings.data_dir / "kept.jsonl"
    kept.write_text(lines)
    assert septet("verify", "--only", "chain", "--heads", str(kept)).exit_code == 0
    one = json.loads(septet("heads", "--site", SITE, "--output", "json").stdout)
    kept.write_text(json.dumps(one | {"head": "0" * 64}))
    assert septet("verify", "--only", "chain", "--heads", str(kept)).exit_code == 1
    assert septet("verify", "--heads", "no-such-file").exit_code == 2
    assert septet("heads", "--site", "site-x").exit_code == 1


def test_a_topic_that_nobody_serves_is_one_sentence(
    septet: Septet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: object) -> Any:
        raise topic.NoBroker("nobody answers")
        yield

    monkeypatch.setattr(topic, "records", nobody)
    done = septet("replay", "--run", RUN, "--from", "kafka")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: no broker answers at ")
