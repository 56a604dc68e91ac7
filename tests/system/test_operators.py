"""What operators do at the command line: a journey, an audit, a repair."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from events.topics import COMMANDS, RUN_EVENTS, Record
from projections.database import open_engine
from services.places import read_model_url
from tests.system.septet import KEYWORDS, Septet, running, wait_for

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def septet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Septet]:
    """Give a Septet of this file's own, as its tables are damaged and its broker is killed."""
    with running(tmp_path_factory.mktemp("operated") / "data") as started:
        yield started


@pytest.fixture
def command(septet: Septet, tmp_path: Path) -> Command:
    """Give the command line, signed in as the account."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **septet.environment,
            "SEPTET_API_KEY": septet.key,
            "SEPTET_API_URL": f"http://127.0.0.1:{septet.port}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **environment,
        }
        return subprocess.run(
            [sys.executable, "-m", "services.cli.main", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_pipeline_is_run_from_the_command_line_alone(command: Command, tmp_path: Path):
    def ask(*arguments: str, **environment: str) -> Any:
        return told(command(*arguments, "--output", "json", **environment))

    opened = ask("account", "create", "Acme", "--credits", "900")
    account, key = opened["account_id"], {"SEPTET_API_KEY": opened["api_key"]}
    assert ask("account", "credit", account, "100", "--reason", "gift")["balance"] == 1000
    shown = ask("account", "show", **key)
    assert (shown["account_id"], shown["available_credits"]) == (account, 1000)
    site = ask("site", "create", "Shop", "--domain", "shop.example", **key)["site_id"]
    assert [one["site_id"] for one in ask("site", "list", **key)["items"]] == [site]
    (tmp_path / "words.csv").write_text("keyword\ncold brew\nCold  Brew\nespresso machine\n")
    imported = ask("keywords", "import", "--site", site, "words.csv", **key)
    assert imported == {"imported": 2, "duplicates": 1, "rejected": []}
    run = ask("run", "start", "--site", site, **key)["run_id"]
    assert ask("run", "pause", run, **key)["status"] == "paused"
    assert ask("run", "resume", run, **key)["status"] == "running"
    assert ask("run", "cancel", run, **key)["status"] == "cancelled"
    assert ask("run", "show", run, **key)["status"] == "cancelled"
    assert [one["run_id"] for one in ask("run", "list", "--site", site, **key)["runs"]] == [run]
    lines = [line["message"] for line in ask("run", "logs", run, **key)["lines"]]
    assert any(line.startswith("Run cancelled by") for line in lines)
    refused = command("run", "pause", run, **key)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert command("run", "show", run, SEPTET_API_KEY="sk_wrong").returncode == 4
    assert command("run", "show").returncode == 2
    assert command("run", "show", "run-unknown", **key).returncode == 1


def test_a_replay_prints_the_runs_events_from_the_store_and_from_kafka(
    septet: Septet, command: Command
):
    site = septet.new_site(KEYWORDS[:3])
    run_id = septet.start_run(site)
    septet.finished(run_id)
    history = [(event["position"], event["type"]) for event in septet.events(run_id)]
    for source in ("store", "kafka"):
        done = command("audit", "replay", "--run", run_id, "--from", source)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(line["position"], line["type"]) for line in lines] == history
        assert {line["run_id"] for line in lines} == {run_id}
    of_site = command("audit", "replay", "--site", site).stdout.splitlines()
    assert {json.loads(line)["site_id"] for line in of_site} == {site}
    assert len(of_site) > len(history)


def test_a_damaged_row_is_named_by_an_audit_and_made_again_by_a_rebuild(
    septet: Septet, command: Command
):
    site = septet.new_site(())
    agreed = told(command("audit", "verify", "--output", "json"))
    assert (agreed["differences"], agreed["topic_compared"]) == ([], True)
    engine = open_engine(read_model_url(septet.settings))
    with engine.begin() as tx:
        tx.execute(
            sa.text("update sites set name = 'forged' where site_id = :site"), {"site": site}
        )
    engine.dispose()
    differing = command("audit", "verify", "--output", "json")
    assert differing.returncode == 1
    (difference,) = json.loads(differing.stdout)["differences"]
    assert site in difference
    assert told(command("projections", "rebuild", "--output", "json"))["set_aside"] == []
    assert told(command("audit", "verify", "--output", "json"))["differences"] == []


def test_a_rebuild_beside_a_run_that_goes_on_stops_nothing(septet: Septet, command: Command):
    """Rows are damaged and made again while the projector writes; the API always has the run."""
    site = septet.new_site(KEYWORDS[:6])
    run_id = septet.start_run(site)
    damage = sa.text("update runs set held_credits = -7 where run_id = :run")
    rebuilt, ended = list[Any](), False
    while not (rebuilt and ended):
        engine = open_engine(read_model_url(septet.settings))
        with engine.begin() as tx:
            tx.execute(damage, {"run": run_id})
        engine.dispose()
        rebuilt.append(told(command("projections", "rebuild", "--output", "json")))
        ended = septet.get("/automation/run", run_id=run_id)["status"] == "completed"
    assert {one["tables"] for one in rebuilt} == {"filled"}
    assert [one["switched"] for one in rebuilt] == [True] * len(rebuilt)
    agreed = told(command("audit", "verify", "--output", "json"))
    assert (agreed["differences"], agreed["topic_compared"]) == ([], True)


def test_a_dead_letter_is_listed_shown_and_sent_again(septet: Septet, command: Command):
    septet.publish(Record(COMMANDS, b"site-1", b"{ not JSON", (("ce_id", b"cmd-bad"),)))

    def letters() -> Any:
        found = told(command("dead-letters", "list", "--output", "json"))["dead_letters"]
        return [one for one in found if one["message_id"] == "cmd-bad"]

    (letter,) = wait_for("it is set aside", letters)
    assert (letter["consumer"], letter["key"]) == ("orchestrator", "site-1")
    assert letter["error"]
    shown = told(command("dead-letters", "show", letter["id"], "--output", "json"))
    assert shown["body"] == "{ not JSON"
    assert told(command("dead-letters", "replay", letter["id"], "--yes", "--output", "json"))
    wait_for("it is set aside again", lambda: len(letters()) == 2)


def test_no_event_is_missing_from_a_broker_that_came_back_empty(septet: Septet, command: Command):
    septet.finished(septet.start_run(septet.new_site(KEYWORDS[:2])))
    septet.lose_broker()
    wait_for("everything answers again", septet.is_ready)

    def is_whole() -> bool:
        verdict = json.loads(command("audit", "verify", "--output", "json").stdout)
        return bool(verdict["topic_compared"]) and verdict["differences"] == []

    wait_for("the topic has every event of the store", is_whole)


def test_every_record_says_its_head_also_after_the_broker_was_emptied(
    septet: Septet, command: Command
):
    site = septet.new_site(KEYWORDS[:2])
    septet.finished(septet.start_run(site))

    def said() -> dict[str | None, str | None]:
        return {
            record.header("ce_position"): record.header("ce_chain")
            for record in septet.records(RUN_EVENTS)
        }

    before = said()
    assert all(before.values())
    kept = command("audit", "heads", "--site", site, "--output", "json").stdout
    assert septet.get("/automation/audit_head", site_id=site) == json.loads(kept)
    (septet.folder / "kept.jsonl").write_text(kept)
    septet.lose_broker()
    wait_for("everything answers again", septet.is_ready)
    wait_for("all is published again", lambda: before.items() <= said().items())
    heads = str(septet.folder / "kept.jsonl")
    told_again = told(command("audit", "verify", "--heads", heads, "--output", "json"))
    assert (told_again["differences"], told_again["topic_compared"]) == ([], True)
