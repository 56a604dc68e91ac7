"""A command acts once, is never lost, and its outcome can be asked for."""

import asyncio
from datetime import timedelta

from events.kafka.connection import AnswerLost, NothingSent
from services.api import pending
from services.api.pending import open_pending
from tests.api.world import Client, accept, impatience, refuse, silent

KEY = {"Idempotency-Key": "the key"}


def run_now(tenant, **headers):
    path = f"/automation/run_now?site_id={tenant.site_id}"
    return tenant.post(path, headers={**KEY, **headers})


def outcome(tenant, command_id):
    return tenant.get(f"/commands/{command_id}")


def unanswered(tenant):
    """Return the answer to a request that stays without an outcome."""
    with impatience():
        answer = run_now(tenant)
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    return answer


def test_the_same_key_and_request_give_the_same_answer_and_act_once(world, one):
    before = len(world.sent)
    first, second = run_now(one), run_now(one)
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert len(world.sent) == before + 1


def test_a_refusal_is_replayed_under_its_key(world, one):
    world.script = refuse("run_already_active", active_run_id="run-1")
    first = run_now(one)
    world.script = accept
    second = run_now(one)
    assert first.json()["active_run_id"] == "run-1"
    assert (first.status_code, first.content) == (second.status_code, second.content)


def test_another_request_under_the_same_key_is_a_409(world, one):
    run = run_now(one).json()["run_id"]
    before = len(world.sent)
    for path in (f"/automation/pause?run_id={run}", f"/automation/run_now?site_id={one.site_id}&x"):
        answer = one.post(path, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert len(world.sent) == before
    assert one.get(f"/automation/run?run_id={run}").json()["status"] == "running"


def test_keys_are_kept_per_account(one, other):
    assert run_now(one).json()["run_id"] != run_now(other).json()["run_id"]


def test_without_a_key_every_request_is_a_command_of_its_own(one):
    path = f"/automation/run_now?site_id={one.site_id}"
    assert one.post(path).json()["run_id"] != one.post(path).json()["run_id"]


def test_concurrent_requests_with_one_key_act_once(world, one):
    path = f"/automation/run_now?site_id={one.site_id}"
    begun = [one.client.begin("POST", path, one.key, headers=KEY) for _ in range(10)]
    answers = [future.result(timeout=60) for future in begun]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert len({command.id for command in world.sent if command.run_id}) == 1
    assert len(one.get(f"/automation/history?site_id={one.site_id}").json()["runs"]) == 1


def test_one_key_at_several_processes_at_once_acts_once(world, one):
    """Each has its own application and its own connections to the table that they share."""
    tables = [open_pending(world.database) for _ in range(3)]
    processes = [Client(world, world.new_app(table)) for table in tables]
    path = f"/automation/run_now?site_id={one.site_id}"
    try:
        begun = [process.begin("POST", path, one.key, headers=KEY) for process in processes * 4]
        answers = [future.result(timeout=60) for future in begun]
        other = processes[1].ask("POST", path, one.key, headers=KEY, json={"a": 1})
    finally:
        for process, table in zip(processes, tables, strict=True):
            process.close()
            table.close()
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert len({command.id for command in world.sent if command.run_id}) == 1
    assert other.status_code in (400, 409)


def test_a_command_is_pending_until_its_outcome_is_known(world, one):
    world.script = silent
    first, second = unanswered(one), unanswered(one)
    assert first.json() == second.json()
    command_id = first.json()["command_id"]
    assert first.json() == {"command_id": command_id, "status": "pending"}
    assert first.headers["location"] == f"/api/v1/commands/{command_id}"
    assert outcome(one, command_id).json() == {"command_id": command_id, "status": "pending"}
    world.script = accept
    assert world.send_again() == [command_id]
    told = outcome(one, command_id).json()
    assert (told["status"], told["site_id"]) == ("accepted", one.site_id)
    assert run_now(one).json()["run_id"] == told["run_id"]
    assert world.send_again() == []


def test_a_refused_outcome_has_code_detail_and_numbers(world, one):
    world.script = silent
    command_id = unanswered(one).json()["command_id"]
    world.script = refuse("nothing_to_do", items=0)
    world.send_again()
    told = outcome(one, command_id).json()
    assert (told["status"], told["code"]) == ("refused", "nothing_to_do")
    assert (told["detail"], told["numbers"]) == ("No.", {"items": 0})


def test_a_pending_command_is_nobody_elses(world, one, other):
    world.script = silent
    command_id = unanswered(one).json()["command_id"]
    assert outcome(other, command_id).status_code == 404
    assert outcome(one, "cmd-unknown").content == outcome(other, command_id).content


def test_when_nothing_was_sent_the_answer_is_503_and_the_key_is_free(world, one):
    world.failure = NothingSent("away")
    answer = run_now(one)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert world.send_again() == []
    world.failure = None
    run = run_now(one)
    assert run.status_code == 202
    assert run.json()["status"] == "running"


def test_a_lost_answer_is_pending_and_the_command_is_sent_again(world, one):
    world.failure = AnswerLost("unknown")
    answer = unanswered(one)
    world.failure = None
    assert world.send_again() == [answer.json()["command_id"]]
    assert outcome(one, answer.json()["command_id"]).json()["status"] == "accepted"


def test_nothing_sent_after_a_lost_answer_is_still_pending(world, one):
    world.failure = AnswerLost("unknown")
    command_id = unanswered(one).json()["command_id"]
    world.failure = NothingSent("away")
    assert unanswered(one).json()["command_id"] == command_id
    assert world.send_again() == [command_id]


def test_a_key_is_forgotten_after_a_day(world, one):
    first = run_now(one).json()["run_id"]
    world.now += timedelta(hours=23, minutes=59)
    assert run_now(one).json()["run_id"] == first
    world.now += timedelta(minutes=2)
    second = run_now(one).json()["run_id"]
    assert second != first
    assert run_now(one).json()["run_id"] == second
    world.now += timedelta(hours=23)
    other = one.post(f"/automation/pause?run_id={second}", headers=KEY)
    assert other.status_code == 409


def test_answered_and_old_rows_go(world, one):
    run_now(one)
    assert world.send_again() == []
    assert world.pending.count_open() == 0
    command_id = world.sent[-1].id
    assert world.pending.find(command_id).body == b""
    world.pending.forget(world.now + timedelta(hours=24))
    assert world.pending.find(command_id) is not None
    world.pending.forget(world.now + timedelta(hours=26))
    assert world.pending.find(command_id) is None


def test_the_operator_can_ask_for_an_account_that_is_pending(world, client, one):
    world.script = silent
    body = {"name": "New", "credits": 1}
    with impatience():
        answer = client.ask("POST", "/admin/accounts", "the-admin-token", json=body)
    command_id = answer.json()["command_id"]
    path = f"/commands/{command_id}"
    assert client.ask("GET", path, "the-admin-token").json()["status"] == "pending"
    assert outcome(one, command_id).status_code == 404
    world.script = accept
    world.send_again()
    told = client.ask("GET", path, "the-admin-token").json()
    assert told["status"] == "accepted"
    assert told["account_id"].startswith("account-")


def test_a_request_that_waits_holds_up_no_other(world, one):
    slow = one.post("/sites", json={"name": "slow", "domain": "a.example"}).json()["site_id"]
    world.script = lambda command: [] if command.site_id == slow else accept(command)
    waiting = one.client.begin("POST", f"/automation/run_now?site_id={slow}", one.key)
    assert one.post(f"/automation/run_now?site_id={one.site_id}").json()["status"] == "running"
    assert not waiting.done()
    world.script = accept
    world.send_again()
    assert waiting.result(timeout=60).json()["status"] == "running"


def test_the_trace_of_the_caller_travels_with_the_command(world, one):
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    run_now(one, traceparent=trace)
    assert world.sent[-1].traceparent == trace
    for wrong in ("x\x7f", f"00-{'0' * 32}-{'b' * 16}-01"):
        one.post(f"/automation/run_now?site_id={one.site_id}", headers={"traceparent": wrong})
        assert world.sent[-1].traceparent is None


def test_the_api_sends_again_by_itself_through_every_trouble(world, one, monkeypatch):
    monkeypatch.setattr(pending, "ROUND", 0.01)
    world.script = silent
    command_id = unanswered(one).json()["command_id"]
    world.script = accept
    world.now += timedelta(seconds=6)
    troubles = [NothingSent("away"), AnswerLost("unknown"), RuntimeError("a bug")]

    async def publish(record):
        if troubles:
            raise troubles.pop(0)
        await world.publish(record)

    async def until_answered():
        args = (world.pending, world.engine, publish, lambda: world.now)
        task = asyncio.create_task(pending.keep_sending(*args))
        async with asyncio.timeout(10):
            while world.pending.count_open():
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(until_answered())
    assert outcome(one, command_id).json()["status"] == "accepted"


def test_making_the_table_twice_keeps_what_is_in_it(world, one):
    run_now(one)
    before = world.pending.count_open()
    world.pending.create_tables()
    assert world.pending.count_open() == before > 0
