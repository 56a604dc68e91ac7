"""What is shown of a provider that answers nobody: why the run stands, and what is put off."""

import sqlalchemy as sa

from projections import overview, runs
from projections.run_log import run_log as lines
from tests.builders import RUN, SITE
from tests.projections.tables import ask, fold_all
from tests.rules.lies import LOCKED, halted_run


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


def test_a_run_that_its_provider_paused_gives_the_reason(engine: sa.Engine) -> None:
    scene = halted_run()
    log = [one.placed for one in scene.log()]
    paused = next(n for n, one in enumerate(log) if one.envelope.message.TYPE == "RunPaused")
    fold_all(engine, log[: paused + 1])
    run = ask(engine, runs.find, log[0].envelope.account_id, RUN)
    assert (run.status, run.pause_reason) == ("paused", "provider_key_refused")
    assert run.error_message == f"Paused: {LOCKED.detail}"
