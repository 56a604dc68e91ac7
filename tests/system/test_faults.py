"""Killed processes, an emptied broker, garbage and repetitions: nothing lost, nothing twice."""

import time

import psutil
import pytest

from events.topics import COMMANDS, DEAD_LETTERS, RUN_EVENTS, STAGE_REPORTS, Record, stage_topic
from tests.system.septet import KEYWORDS, Septet, wait_for

SLOW = {"stage_1_batch_size": 1, "within_stage_delay": 0, "stage_2_batch_size": 1}


def _in_the_middle(septet: Septet, run_id: str, stage: int = 1, done: int = 2) -> None:
    def begun() -> bool:
        run = septet.run(run_id)
        return (run["current_stage"] or 0) > stage or run["stages"][stage - 1]["items_done"] >= done

    wait_for("the run is in the middle", begun)


def _is_whole(septet: Septet, run_id: str) -> None:
    septet.whole(run_id, len(KEYWORDS), within=120)
    septet.check()


@pytest.mark.parametrize(
    "service", ["stage-worker", "orchestrator", "projector", "scheduler", "api"]
)
def test_a_killed_service_is_restarted_and_the_run_goes_on(own_septet: Septet, service: str):
    site = own_septet.new_site(**SLOW)
    run_id = own_septet.start_run(site)
    _in_the_middle(own_septet, run_id)
    own_septet.kill(service)
    wait_for("everything answers again", own_septet.is_ready)
    _is_whole(own_septet, run_id)


def test_a_broker_that_comes_back_empty_costs_nothing(own_septet: Septet):
    site = own_septet.new_site(**SLOW)
    run_id = own_septet.start_run(site)
    _in_the_middle(own_septet, run_id)
    own_septet.lose_broker()
    _is_whole(own_septet, run_id)
    second = own_septet.start_run(own_septet.new_site(KEYWORDS[:3]))
    assert own_septet.finished(second)["status"] == "completed"


def test_topics_that_come_back_late_are_heard(own_septet: Septet):
    site = own_septet.new_site(**SLOW)
    run_id = own_septet.start_run(site)
    _in_the_middle(own_septet, run_id)
    with own_septet.frozen("orchestrator"):  # it is what makes topics
        own_septet.lose_broker()
        time.sleep(8)  # as long as groups take to be joined again, without a topic to be had
    _is_whole(own_septet, run_id)


def test_everything_killed_at_once_goes_on_after_a_start(own_septet: Septet):
    site = own_septet.new_site(**SLOW)
    run_id = own_septet.start_run(site)
    _in_the_middle(own_septet, run_id)
    own_septet.kill_all()
    own_septet.start()
    _is_whole(own_septet, run_id)


def test_garbage_on_every_topic_stops_nothing_and_is_set_aside(own_septet: Septet):
    site = own_septet.new_site(KEYWORDS[:4])
    topics = [COMMANDS, STAGE_REPORTS, RUN_EVENTS, *(stage_topic(n) for n in range(1, 8))]
    key = site.encode()
    typed = (("ce_type", b"septet.RunRequested.v1"), ("ce_id", b"cmd-x"))
    garbage = [
        bad
        for topic in topics
        for bad in (
            Record(topic, key, b"\xff\xfe not json", ()),
            Record(topic, key, b"{}", typed),
            Record(topic, None, None, (*typed, ("ce_source", None))),  # type: ignore[arg-type]
            Record(topic, key, b'{"a":1}', (("ce_type", b"septet.Nothing.v9"),)),
            Record(topic, key, b"{}", (("ce_type", b"\xff"),)),
            Record(topic, key, b"x" * 1_047_000, typed),  # as large as a topic takes
        )
    ]
    own_septet.publish(*garbage)
    assert own_septet.finished(own_septet.start_run(site))["status"] == "completed"
    wait_for(
        "every piece of garbage is a dead letter",
        lambda: len(own_septet.records(DEAD_LETTERS)) >= len(garbage),
    )
    letters = own_septet.records(DEAD_LETTERS)
    assert len(letters) == len(garbage)
    assert all(letter.header("septet-error") for letter in letters)
    origins = {(letter.header("septet-origin") or "").split("/")[0] for letter in letters}
    assert origins == set(topics)
    own_septet.check()


def test_every_message_said_again_in_another_order_changes_nothing(own_septet: Septet):
    site = own_septet.new_site(KEYWORDS[:4])
    run_id = own_septet.start_run(site)
    before = own_septet.finished(run_id)
    account = own_septet.get("/account")
    history = own_septet.events(run_id)
    topics = [COMMANDS, STAGE_REPORTS, RUN_EVENTS, *(stage_topic(n) for n in range(1, 8))]
    again = [record for topic in topics for record in own_septet.records(topic)]
    own_septet.publish(*reversed(again))
    marker = own_septet.new_site(KEYWORDS[:1])
    assert own_septet.finished(own_septet.start_run(marker))["status"] == "completed"
    assert own_septet.run(run_id) == before
    assert own_septet.events(run_id) == history
    spent = sum(
        run["total_credits_used"]
        for run in own_septet.get("/automation/history", site_id=marker)["runs"]
    )
    assert own_septet.get("/account")["balance"] == account["balance"] - spent
    own_septet.check()


def test_a_stop_is_clean_and_takes_seconds(own_septet: Septet):
    assert own_septet.stop() == 0


def test_readiness_names_the_service_that_is_gone(own_septet: Septet):
    """Nobody starts it again: the supervisor is stopped, and the process killed or stopped."""
    supervisor = psutil.Process(own_septet.process.pid)

    def silent() -> set[str]:
        answer = own_septet.api.get("/readyz")
        return {name for name, said in answer.json()["checks"].items() if said != "ok"}

    assert silent() == set()
    supervisor.suspend()
    try:
        own_septet.kill("scheduler")
        wait_for("the scheduler is named", lambda: silent() == {"scheduler"}, within=30)
        orchestrator = next(
            child
            for child in supervisor.children(recursive=True)
            if child.status() != psutil.STATUS_ZOMBIE and "orchestrator" in child.cmdline()
        )
        orchestrator.suspend()
        named = {"scheduler", "orchestrator"}
        wait_for("the orchestrator is named", lambda: silent() == named, within=30)
        orchestrator.resume()
        wait_for("it answers again", lambda: silent() == {"scheduler"}, within=30)
    finally:
        supervisor.resume()
    wait_for("all answer", own_septet.is_ready, within=60)
