"""Money: what a batch may cost, whether that is covered, and what is settled for it."""

from events.account import CreditsHeld, CreditsSettled
from events.content import AiCall, tally_of
from events.estimate import estimate, total_of
from events.message import Event
from events.pipeline import CONTENT, STAGES
from events.prices import Models, cost_of
from events.run import BatchFailed, RunPaused, StageBatchCompleted
from services.orchestrator.rules.state import State


def bound_of(prices: int, stage: int, items: int, models: Models) -> int:
    """Return what one batch of so many items should cost, in whole credits."""
    return cost_of(prices, stage, items, max(items, 1), models)


def cover(state: State, stage: int, items: int) -> list[Event]:
    """Return what must happen before a batch may be asked for.

    Nothing when the run's hold covers it beside the batches in flight; a further hold when the
    account can; else the pause that says how much is missing.
    """
    run, account = state.run, state.account
    promised = sum(
        bound_of(run.prices, a.stage, len(a.items), run.models) for a in run.in_flight.values()
    )
    bound = bound_of(run.prices, stage, items, run.models)
    short = promised + bound - account.holds.get(run.id, 0)
    if short <= 0:
        return []
    if short <= account.available:
        return [CreditsHeld(amount=short)]
    available = max(account.available, 0)
    missing = short - available
    to_finish = promised + cost_of_rest(state) - account.holds.get(run.id, 0) - available
    return [
        RunPaused(
            reason="insufficient_credits",
            missing_credits=missing,
            missing_to_finish=max(missing, to_finish),
        )
    ]


def cost_of_rest(state: State) -> int:
    """Return what all that the run has not asked for yet is estimated to cost, by its own prices.

    What batches in flight will make is not counted: nobody knows it yet.
    """
    run, site = state.run, state.site
    busy = run.settled.union(run.taken)
    waiting = {
        stage.number: [item for item in site.waiting(stage.number) if run.may_take(item)]
        for stage in STAGES[run.stage :]
    }
    waiting[run.stage] = [item for item in run.items if item not in busy]
    pending = [len(waiting.get(stage.number, ())) for stage in STAGES]
    revisions = len(site.revising.intersection(waiting.get(CONTENT, ())))
    return total_of(estimate(pending, run.config, run.prices, site.history, revisions, run.models))


def charge(
    state: State, report: StageBatchCompleted | BatchFailed
) -> tuple[StageBatchCompleted | BatchFailed, list[Event]]:
    """Return the report with its calls at what is charged, and the settlement of it.

    Above hold and available credits nothing is charged: the rest stands as uncovered.
    """
    run, account = state.run, state.account
    cost = sum(call.credits_used for call in report.calls)
    if cost == 0:
        return report, []
    held = account.holds.get(run.id, 0)
    amount = min(cost, held + max(account.available, 0))
    calls = _cut(report.calls, cost - amount)
    settled = CreditsSettled(
        stage=report.stage,
        batch_id=report.batch_id,
        amount=amount,
        from_hold=min(amount, held),
        uncovered=cost - amount,
    )
    if isinstance(report, BatchFailed):
        return report.model_copy(update={"calls": calls}), [settled]
    changed = {
        "calls": calls,
        "tally": tally_of(report.stage, report.outcomes, report.made, calls),
        "uncovered": cost - amount,
    }
    return report.model_copy(update=changed), [settled]


def _cut(calls: tuple[AiCall, ...], excess: int) -> tuple[AiCall, ...]:
    """Take the excess off the last calls, so that the task log's sum is what was charged."""
    kept = []
    for call in reversed(calls):
        cut = min(excess, call.credits_used)
        excess -= cut
        kept.append(call.model_copy(update={"credits_used": call.credits_used - cut}))
    return tuple(reversed(kept))
