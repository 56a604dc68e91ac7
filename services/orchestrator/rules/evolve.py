"""How events change state: total functions that never refuse and never raise."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from events.account import (
    AccountOpened,
    AiProviderChosen,
    AiProviderDropped,
    CreditsGranted,
    CreditsHeld,
    CreditsReleased,
    CreditsSettled,
    KeyIssued,
    KeyRevoked,
)
from events.config import Config
from events.content import Outcome, Tally, plus, tally_of
from events.estimate import Past
from events.message import Event, Message
from events.pipeline import CONTENT, LAST, PROMPTS
from events.run import (
    BatchExpired,
    BatchFailed,
    BatchGivenUp,
    BatchReturned,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    StageBatchCompleted,
    StageBatchRequested,
    StageCompleted,
    StageStarted,
    TimerFired,
    TimerSet,
)
from events.site import (
    ConfigUpdated,
    ContentApproved,
    ContentRejected,
    ContentReturned,
    ItemsFreed,
    ItemsMoved,
    ItemsRequeued,
    KeywordsAdded,
    ScheduleAdvanced,
    SiteCreated,
    SiteOccupied,
    SiteReleased,
)
from services.orchestrator.rules.state import Account, Asked, Run, Site, State

V = TypeVar("V")


def evolve(state: State, event: Event) -> State:
    """Fold an event of the state's own run into the part whose stream it belongs to."""
    match event.STREAM:
        case "run":
            return replace(state, run=evolve_run(state.run, event))
        case "site":
            return replace(state, site=evolve_site(state.site, event, state.run.id))
        case "account":
            return replace(state, account=evolve_account(state.account, event, state.run.id))
        case _:  # a receipt changes nothing
            return state


def evolve_run(run: Run, event: Message) -> Run:
    """Fold an event of the run's stream."""
    match event:
        case RunStarted():
            return replace(
                run,
                status="running",
                config=event.config,
                prices=event.prices,
                models=event.models,
                site_name=event.site_name,
                scope=None if event.retry_of is None else _scope_of(event),
            )
        case StageStarted():
            return replace(
                run,
                stage=event.stage,
                is_open=True,
                items=event.items,
                settled=frozenset(),
                tally=Tally(),
                rest=None,
            )
        case StageBatchRequested():
            back = run.again.get(event.batch_id)
            failures = back.failures if back else 0
            asked = Asked(event.stage, event.items, event.attempt, event.last, failures)
            return replace(
                run,
                in_flight=_with(run.in_flight, event.batch_id, asked),
                again=_without(run.again, event.batch_id),
                batches=run.batches if back else run.batches + 1,
                rest=None,
            )
        case StageBatchCompleted():
            return _recorded(run, event)
        case BatchFailed() | BatchExpired() | BatchReturned():
            return _came_back(run, event)
        case BatchGivenUp():
            lost = tuple(Outcome(item=item, error=event.error) for item in event.items)
            return replace(
                run,
                again=_without(run.again, event.batch_id),
                settled=run.settled | set(event.items),
                tally=plus(run.tally, tally_of(event.stage, lost, (), ())),
                last_error=event.error,
            )
        case StageCompleted():
            done = replace(run, is_open=False, reported=None, again={}, rest=None)
            return replace(done, rest="between_stages") if run.items else done
        case TimerSet():
            return replace(run, timer=event.timer_id, timers=run.timers + 1, rest=None)
        case TimerFired():
            return replace(run, timer=None)
        case RunPaused():
            return replace(run, status="paused")
        case RunResumed():
            return replace(run, status="running", rest=None)
        case RunCancelled():
            return replace(run, status="cancelled")
        case RunCompleted():
            return replace(run, status="completed")
        case RunFailed():
            return replace(run, status="failed")
        case _:
            return run


def _recorded(run: Run, event: StageBatchCompleted) -> Run:
    asked = run.in_flight.get(event.batch_id)
    errors = [outcome.error for outcome in event.outcomes if outcome.error]
    made = {made for outcome in event.outcomes for made in outcome.made}
    wait = event.halt.wait_seconds if event.halt else 0
    return replace(
        run,
        in_flight=_without(run.in_flight, event.batch_id),
        settled=run.settled | {outcome.item for outcome in event.outcomes},
        tally=plus(run.tally, event.tally),
        credits_used=run.credits_used + event.tally.credits_used,
        reported=event.batch_id if asked and asked.last and not event.deferred else run.reported,
        rest="provider" if wait else "within_stage",
        wait=wait,
        last_error=errors[-1] if errors else run.last_error,
        scope=None if run.scope is None else run.scope | made,
    )


def _scope_of(started: RunStarted) -> frozenset[str]:
    return frozenset(item for one in started.retried for item in one.items)


def _came_back(run: Run, event: BatchFailed | BatchExpired | BatchReturned) -> Run:
    asked = run.in_flight.get(event.batch_id)
    if asked is None:
        return run
    charged = (
        sum(call.credits_used for call in event.calls) if isinstance(event, BatchFailed) else 0
    )
    failures = asked.failures + (not isinstance(event, BatchReturned))
    return replace(
        run,
        in_flight=_without(run.in_flight, event.batch_id),
        again=_with(run.again, event.batch_id, replace(asked, failures=failures)),
        tally=plus(run.tally, Tally(credits_used=charged)),
        credits_used=run.credits_used + charged,
    )


def evolve_site(site: Site, event: Message, run_id: str) -> Site:
    """Fold an event of the site's stream; `run_id` is the envelope's."""
    match event:
        case SiteCreated():
            config = Config(timezone=event.timezone)
            return replace(site, is_created=True, name=event.name, config=config)
        case ConfigUpdated():
            return replace(site, config=event.config, next_run_at=event.next_run_at)
        case ScheduleAdvanced():
            return replace(site, next_run_at=event.next_run_at, answered=event.slot)
        case KeywordsAdded():
            ids = [keyword.id for keyword in event.keywords]
            return replace(
                site,
                keywords=site.keywords | set(ids),
                pending=_wait(site.pending, 1, ids),
            )
        case SiteOccupied():
            return replace(site, active=run_id)
        case SiteReleased():
            return replace(site, active=None, taken=site.taken | set(event.taken))
        case ItemsMoved():
            return _moved(site, event, run_id)
        case ItemsRequeued():
            return _requeued(site, event)
        case ItemsFreed():
            return replace(site, taken=site.taken - set(event.items))
        case ContentApproved():
            return _reviewed(site, event.content_id, "approved")
        case ContentRejected():
            return _reviewed(site, event.content_id, "rejected")
        case ContentReturned():
            site = _reviewed(site, event.content_id, "changes_requested")
            return replace(
                site,
                pending=_wait(site.pending, CONTENT, [event.task_id]),
                revising=site.revising | {event.task_id},
            )
        case _:
            return site


def _reviewed(site: Site, content_id: str, status: str) -> Site:
    return replace(site, contents=_with(site.contents, content_id, status))


def _requeued(site: Site, event: ItemsRequeued) -> Site:
    again = set(event.items)
    failed = list(site.failed)
    failed[event.stage - 1] = {
        item: run for item, run in failed[event.stage - 1].items() if item not in again
    }
    pending = _wait(site.pending, event.stage, list(event.items))
    return replace(site, failed=tuple(failed), pending=pending)


def _moved(site: Site, event: ItemsMoved, run_id: str) -> Site:
    gone = {*event.done, *event.failed}
    stage = event.stage
    pending = list(site.pending)
    pending[stage - 1] = {item: None for item in pending[stage - 1] if item not in gone}
    failed = site.failed
    if event.failed:
        lost = {**failed[stage - 1], **dict.fromkeys(event.failed, run_id)}
        failed = (*failed[: stage - 1], lost, *failed[stage:])
    site = replace(
        site,
        pending=tuple(pending),
        failed=failed,
        history={**site.history, stage: event.teach(site.history.get(stage, Past()))},
        taken=site.taken - gone if site.taken else site.taken,
        slugs=site.slugs | set(event.slugs) if event.slugs else site.slugs,
    )
    made = [one.id for one in event.made]
    match stage:
        case 1:
            seen = site.clusters | set(made)
            return replace(site, clusters=seen, pending=_wait(site.pending, 2, made))
        case 2 | 3:
            return replace(site, pending=_wait(site.pending, stage + 1, made))
        case 4:
            drafted = dict.fromkeys([*made, *event.revised], "drafted")
            return replace(
                site,
                contents={**site.contents, **drafted},
                task_of={**site.task_of, **{one.id: one.of for one in event.made}},
                revising=site.revising - set(event.done),
                pending=_wait(_wait(site.pending, PROMPTS, made), LAST, list(event.revised)),
            )
        case 5:
            return _illustrate(site, event)
        case 6:
            return _finish(site, [*event.done, *event.failed])
        case _:
            contents = {**site.contents, **dict.fromkeys(event.done, "review")}
            return replace(site, contents=contents)


def _illustrate(site: Site, event: ItemsMoved) -> Site:
    """Prompts wait for stage 6; a draft that got none is finished at once."""
    content_of = {one.id: one.of for one in event.made}
    counts: dict[str, int] = {}
    for content in content_of.values():
        counts[content] = counts.get(content, 0) + 1
    bare = [content for content in event.done if content not in counts]
    pending = _wait(_wait(site.pending, 6, list(content_of)), 7, bare)
    return replace(
        site,
        pending=pending,
        content_of={**site.content_of, **content_of},
        outstanding={**site.outstanding, **counts},
    )


def _finish(site: Site, prompts: list[str]) -> Site:
    """A draft is finished when none of its prompts is left, also when some have failed."""
    outstanding, content_of = dict(site.outstanding), dict(site.content_of)
    finished = []
    for prompt in prompts:
        content = content_of.pop(prompt, None)
        if content is None:
            continue
        outstanding[content] -= 1
        if outstanding[content] == 0:
            del outstanding[content]
            finished.append(content)
    return replace(
        site,
        outstanding=outstanding,
        content_of=content_of,
        pending=_wait(site.pending, 7, finished),
    )


def _wait(
    pending: tuple[Mapping[str, None], ...], stage: int, items: list[str]
) -> tuple[Mapping[str, None], ...]:
    if not items:
        return pending
    grown = {**pending[stage - 1], **dict.fromkeys(items)}
    return (*pending[: stage - 1], grown, *pending[stage:])


def evolve_account(account: Account, event: Message, run_id: str) -> Account:
    """Fold an event of the account's stream; `run_id` is the envelope's."""
    match event:
        case AccountOpened():
            return replace(account, is_open=True)
        case KeyIssued():
            return replace(account, keys=_with(account.keys, event.key.key_id, event.key.role))
        case KeyRevoked():
            return replace(account, keys=_without(account.keys, event.key_id))
        case AiProviderChosen():
            return replace(account, models=event.models)
        case AiProviderDropped():
            return replace(account, models=None)
        case CreditsGranted():
            return replace(account, balance=account.balance + event.amount)
        case CreditsHeld():
            return replace(account, holds=_add(account.holds, run_id, event.amount))
        case CreditsSettled():
            return replace(
                account,
                balance=account.balance - event.amount,
                holds=_add(account.holds, run_id, -event.from_hold),
            )
        case CreditsReleased():
            return replace(account, holds=_add(account.holds, run_id, -event.amount))
        case _:
            return account


def _add(holds: Mapping[str, int], run_id: str, amount: int) -> Mapping[str, int]:
    held = holds.get(run_id, 0) + amount
    return _with(holds, run_id, held) if held else _without(holds, run_id)


def _with(mapping: Mapping[str, V], key: str, value: V) -> Mapping[str, V]:
    return {**mapping, key: value}


def _without(mapping: Mapping[str, V], key: str) -> Mapping[str, V]:
    return {other: value for other, value in mapping.items() if other != key}
