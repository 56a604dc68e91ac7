"""The read model knows which provider each account has chosen, as the rules do at every moment."""

import sqlalchemy as sa

from events.prices import LOCAL
from projections import accounts
from projections.projector import project
from tests.projections.history import ALICE, BOB, World
from tests.projections.tables import ask, fold_all, nothing_set_aside


def test_the_choice_is_what_the_rules_hold_at_every_moment(engine: sa.Engine, world: World) -> None:
    fresh, chosen = World(), 0
    for placed in world.placed:
        fresh.record(placed.envelope)
        project(engine, [placed], nothing_set_aside)
        if not placed.envelope.message.TYPE.startswith("AiProvider"):
            continue
        chosen += 1
        for account in fresh.accounts:
            state = fresh.accounts[account]
            expected = state.models or LOCAL
            assert ask(engine, accounts.models_of, account, LOCAL) == expected
    assert chosen > 5


def test_of_several_choices_the_last_counts(engine: sa.Engine, world: World) -> None:
    fold_all(engine, world.placed)
    row = ask(engine, accounts.ai_choice, ALICE)
    assert row is not None
    assert (row.account_id, row.secret_id) == (ALICE, "secret-fourth")
    assert row.base_url == "https://api.openai.com/v1"
    assert (row.models.text, row.models.own) == ("gpt-5-mini", True)
    other = ask(engine, accounts.ai_choice, BOB)
    assert other is not None
    assert other.secret_id == "secret-last"
    assert ask(engine, accounts.ai_choice, "account-of-nobody") is None


def test_keys_that_no_run_needs_any_more_are_those_of_choices_that_are_over(
    engine: sa.Engine, world: World
) -> None:
    assert ask(engine, accounts.past_secrets, ALICE) == set()
    fold_all(engine, world.placed)
    assert ask(engine, accounts.past_secrets, ALICE) == {"secret-second", "secret-third"}
    assert ask(engine, accounts.past_secrets, BOB) == {"secret-first"}
    assert ask(engine, accounts.past_secrets, "account-of-nobody") == set()
