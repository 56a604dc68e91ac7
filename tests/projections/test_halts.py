"""What is shown of a provider that answers nobody: why the run stands, and what is put off."""

import sqlalchemy as sa

from events.run import RunPaused, TimerSet
from projections import overview, runs
from projections.run_log import run_log as lines
from tests.builders import RUN, SITE
from tests.projections.tables import ask, beside, fold_all
from tests.rules.lies import BUSY, LOCKED, halted_run


def test_a_run_says_what_it_waits_for_and_why_it_was_paused(engine: sa.Engine) -> None:
    scene = halted_run()
    log = [one.placed for one in scene.log()]
    fold_all(engine, log)
    with engine.connect() as tx:
        asked = sa.select(lines.c.level, lines.c.message).order_by(lines.c.position)
        told = [(level, message) for level, message in tx.execute(asked)]
    halted = [one for one in told if "put off" in one[1]]
    assert halted == [
        ("warning", "Batch 1 done: 1 keyword, 1 credit. 2 keywords put off: too many requests"),
        ("warning", "Batch 2 done: 1 keyword, 1 credit. 1 keyword put off: the key is refused"),
    ]
    waiting = [message for level, message in told if level == "warning" and "Waiting" in message]
    assert len(waiting) == 1
    assert waiting[0].endswith("UTC before the AI provider is asked again")
    assert ("warning", "Run paused: the key is refused") in told
    account = log[0].envelope.account_id
    run = ask(engine, runs.find, account, RUN)
    assert (run.status, run.stages[0].items_done, run.stages[0].items_failed) == ("running", 3, 0)
    assert ask(engine, overview.counts, account, SITE)[0].failed == 0


def test_a_run_says_until_when_it_waits_and_for_what(engine: sa.Engine) -> None:
    log = [one.placed for one in halted_run().log()]
    kinds = [one.envelope.message.TYPE for one in log]
    account = log[0].envelope.account_id
    is_set, fired = kinds.index("TimerSet"), kinds.index("TimerFired")
    waits = log[is_set].envelope.message
    assert isinstance(waits, TimerSet)
    shown = []
    for begin, end in ((0, is_set), (is_set, is_set + 1), (is_set + 1, fired + 1)):
        fold_all(engine, log[begin:end])
        run = ask(engine, runs.find, account, RUN)
        now = ask(engine, runs.processing, account, RUN)
        assert (now.waiting_until, now.waiting_for) == (run.waiting_until, run.waiting_for)
        shown.append((run.waiting_until, run.waiting_for))
    assert shown == [(None, None), (waits.due_at, BUSY.detail), (None, None)]


def test_a_run_that_is_paused_while_it_waits_waits_no_more(engine: sa.Engine) -> None:
    log = [one.placed for one in halted_run().log()]
    is_set = [one.envelope.message.TYPE for one in log].index("TimerSet")
    fold_all(engine, [*log[: is_set + 1], beside(log[is_set], RunPaused(reason="requested"))])
    run = ask(engine, runs.find, log[0].envelope.account_id, RUN)
    assert (run.status, run.waiting_until, run.waiting_for) == ("paused", None, None)


def test_a_run_that_its_provider_paused_gives_the_reason(engine: sa.Engine) -> None:
    scene = halted_run()
    log = [one.placed for one in scene.log()]
    paused = next(n for n, one in enumerate(log) if one.envelope.message.TYPE == "RunPaused")
    fold_all(engine, log[: paused + 1])
    run = ask(engine, runs.find, log[0].envelope.account_id, RUN)
    assert (run.status, run.pause_reason) == ("paused", "provider_key_refused")
    assert run.error_message == f"Paused: {LOCKED.detail}"
