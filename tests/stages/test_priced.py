"""What a call costs: by use or by the call, and nothing that nobody counted when it failed."""

import pytest

from events.prices import CURRENT, LOCAL
from services.stage_workers.ai.model import Call
from services.stage_workers.batch import priced

MODEL = "gpt-4.1-mini"


def call(model: str = MODEL, *, error: str | None = None, known: bool = True) -> Call:
    return Call(
        model=model,
        tokens_in=5_000,
        tokens_out=2_000,
        milliseconds=1,
        error=error,
        cost_known=known,
    )


@pytest.mark.parametrize(
    ("made", "is_paid"),
    [
        (call(), True),
        (call(known=False), True),  # the work was had: an estimate of its tokens is paid
        (call(error="wrong shape"), True),  # the provider counted it
        (call(error="a web page", known=False), False),
        (call(LOCAL.text), True),
        (call(LOCAL.text, error="refused"), False),
    ],
)
def test_a_failed_call_costs_what_the_provider_counted(made: Call, is_paid: bool):  # noqa: FBT001
    entered = priced(made, "write_article", CURRENT)
    assert (entered.credits_used > 0) is is_paid
    assert entered.tokens_in == made.tokens_in
    assert entered.cost_known is made.cost_known
