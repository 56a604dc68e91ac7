"""Poison on every topic and a bug for one run: set aside, told, replayed; no other run notices."""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from events.envelope import Envelope
from events.run import RunPaused
from events.topics import (
    COMMANDS,
    DEAD_LETTERS,
    RUN_EVENTS,
    STAGE_REPORTS,
    Record,
    record_of,
    stage_topic,
)
from projections.database import open_engine
from services.places import read_model_url
from tests.system.septet import KEYWORDS, Septet, wait_for

STAGE_TOPICS = [stage_topic(number) for number in range(1, 8)]
TOPICS = [COMMANDS, STAGE_REPORTS, RUN_EVENTS, *STAGE_TOPICS]
CONSUMERS = {
    "orchestrator": 2,
    "projector": 1,
    **{f"stage-worker-{number}": 1 for number in range(1, 8)},
}


def told(septet: Septet, *arguments: str) -> Any:
    done = septet.command("dead-letters", *arguments, "--output", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def misplaced(topic: str, account: str, site: str, run: str) -> Record:
    """Return an event of the run that nobody can use where it stands, but for whose run it is."""
    envelope = Envelope(
        id=f"msg-astray-{topic}-{run}",
        account_id=account,
        site_id=site,
        run_id=run,
        at=datetime(2026, 3, 2, tzinfo=UTC),
        cause="nobody",
        message=RunPaused(),
    )
    return record_of(topic, run if topic in STAGE_TOPICS else site, envelope)


def log_of(septet: Septet, run: str) -> list[str]:
    lines = septet.get("/automation/logs", run_id=run, lines=200)["lines"]
    return [f"{line['level']}: {line['message']}" for line in lines]


def test_poison_is_told_to_its_run_replayed_and_counted(own_septet: Septet):
    septet = own_septet
    account = septet.get("/account")["account_id"]
    site, other_site = septet.new_site(KEYWORDS[:2]), septet.new_site(KEYWORDS[:2])
    run = septet.start_run(site)
    assert septet.finished(run)["dead_letters"] == 0
    septet.publish(
        *(misplaced(topic, account, site, run) for topic in TOPICS),
        *(Record(topic, site.encode(), b"\xff\xfe not json", ()) for topic in TOPICS),
    )
    other = septet.start_run(other_site)

    wait_for("the run says so", lambda: septet.run(run)["dead_letters"] == len(TOPICS))
    wait_for(
        "all of it is set aside",
        lambda: len(septet.records(DEAD_LETTERS)) == 2 * len(TOPICS),
    )
    of_run = told(septet, "list", "--run", run)
    assert {one["attempt"] for one in of_run["dead_letters"]} == {1}
    by = [one["consumer"] for one in of_run["dead_letters"]]
    assert {name: by.count(name) for name in by} == CONSUMERS
    assert told(septet, "list", "--run", other)["total"] == 0
    assert told(septet, "list", "--site", site, "--consumer", "projector")["total"] == 1
    assert told(septet, "list", "--limit", "3")["total"] == 2 * len(TOPICS)
    said = [line for line in log_of(septet, run) if line.startswith("error: ")]
    assert len([line for line in said if "aside: " in line]) == len(TOPICS)
    noted = [one for one in septet.events(run) if one["type"] == "MessageSetAside"]
    assert {one["data"]["consumer"] for one in noted} == set(CONSUMERS)

    dry = told(septet, "replay", "--run", run, "--dry-run", "--limit", "7")
    assert (dry["replayed"], len(dry["would_replay"]), dry["left"]) == ([], 7, len(TOPICS) - 7)
    assert len(septet.records(DEAD_LETTERS)) == 2 * len(TOPICS)
    assert len(told(septet, "replay", "--run", run, "--yes")["replayed"]) == len(TOPICS)

    wait_for("it failed again", lambda: septet.run(run)["dead_letters"] == 2 * len(TOPICS))
    again = told(septet, "list", "--run", run)["dead_letters"]
    assert sorted(one["attempt"] for one in again) == [1] * len(TOPICS) + [2] * len(TOPICS)
    assert any("aside for the 2nd time" in line for line in log_of(septet, run))
    third = told(septet, "replay", "--run", run, "--dry-run")
    assert len(third["would_replay"]) == len(TOPICS)  # each message once, not each letter

    assert septet.finished(other)["status"] == "completed"
    assert septet.run(other)["dead_letters"] == 0
    septet.check()


def test_a_bug_in_a_stage_is_one_runs_and_a_replay_after_it_is_mended_is_handled(
    own_septet: Septet,
):
    """The rows of one site's keywords are gone, so stage 1 raises whenever it reads them."""
    septet = own_septet
    site, other_site = septet.new_site(KEYWORDS[:2]), septet.new_site(KEYWORDS[:2])
    engine = open_engine(read_model_url(septet.settings))
    with engine.begin() as tx:
        tx.execute(sa.text("delete from keywords where site_id = :site"), {"site": site})
    engine.dispose()
    run, other = septet.start_run(site), septet.start_run(other_site)

    ended = septet.finished(run)
    assert (ended["status"], "not in the read model" in ended["error_message"]) == ("failed", True)
    wait_for("the run says so", lambda: septet.run(run)["dead_letters"] == 3)
    assert "LookupError" in septet.run(run)["last_dead_letter"]
    letters = told(septet, "list", "--run", run)
    assert [one["count"] for one in letters["causes"]] == [3]
    assert {(one["consumer"], one["attempt"]) for one in letters["dead_letters"]} == {
        ("stage-worker-1", 1)
    }

    rebuilt = septet.command("projections", "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert len(told(septet, "replay", "--run", run, "--yes")["replayed"]) == 3

    def handled() -> bool:
        return len([line for line in log_of(septet, run) if "and handled" in line]) == 3

    wait_for("the run says that it was handled", handled)
    assert told(septet, "replay", "--run", run, "--yes")["replayed"] == []
    assert septet.run(run)["dead_letters"] == 3
    retried = septet.post("/automation/retry_failed", run_id=run)["run_id"]
    assert septet.finished(retried)["status"] == "completed"
    assert septet.finished(other)["status"] == "completed"
    assert septet.run(other)["dead_letters"] == septet.run(retried)["dead_letters"] == 0
    septet.check()
