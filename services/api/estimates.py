"""What a run would cost before it starts, what that assumes, and the price list it goes by."""

from collections.abc import Mapping

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import BaseModel

from events.config import Config
from events.estimate import StageEstimate, estimate, required_of, total_of
from events.pipeline import IMAGES, STAGES, stage_of
from events.prices import CURRENT, PRICES, Models, Rates
from projections import accounts, configs, estimates, overview, runs
from services.api.dependencies import OptionalId, Read, RunModels, TheSite, Who

router = APIRouter(prefix="/api/v1", tags=["automation"])


class EstimatedStage(BaseModel):
    """What one stage would do and cost, and what that assumes.

    `learned_from` counts the site's own items that the assumption comes from, the newest 100 to
    200; 0 when there are too few of them and our defaults are taken.
    """

    stage: int
    name: str
    items: int
    credits: int
    learned_from: int
    makes_per_item: float
    assumption: str


class Estimate(BaseModel):
    """What a run would cost now, in whole credits, and whether the account can start it."""

    site_id: str
    retry_of: str | None
    estimated_credits: int
    required_credits: int
    balance: int
    available_credits: int
    sufficient: bool
    price_version: int
    stages: list[EstimatedStage]


def assumption_of(one: StageEstimate) -> str:
    """Return in words what the estimate of a stage assumes."""
    stage = stage_of(one.stage)
    if one.stage == STAGES[-1].number:
        return "Costs nothing."
    of = _count(one.down, stage.takes)
    become = "is" if one.down == 1 else "are"
    verb = "finish" if one.stage == IMAGES else "make"  # a draft was made before its images
    makes = f"{of} {become} expected to {verb} {_count(one.up, STAGES[one.stage].takes)}"
    if one.seen:
        return f"{makes}, as the last {one.seen} {stage.takes}s of this site did."
    return f"{makes}: our default, as this site has not done enough of them to learn from."


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def estimate_of(
    tx: sa.Connection, account_id: str, site_id: str, retry_of: str | None, models: Models
) -> Estimate | None:
    """Return the estimate from one view of backlog, past, config and balance.

    With `retry_of` it is for what failed in that run, which must be the site's. `models` are the
    installation's, which count unless the account has chosen its own.
    """
    account = accounts.find(tx, account_id)
    config = configs.find(tx, account_id, site_id)
    if account is None or config is None:
        return None
    if retry_of is None:
        pending = overview.waiting(tx, account_id, site_id)
    else:
        run = runs.find(tx, account_id, retry_of)
        if run is None or run.site_id != site_id:
            return None
        pending = overview.failed_in(tx, account_id, site_id, retry_of)
    stages = estimate(
        pending,
        Config.model_validate(config.model_dump()),
        CURRENT,
        estimates.history(tx, account_id, site_id),
        overview.revisions(tx, account_id, site_id, retry_of),
        accounts.models_of(tx, account_id, models),
    )
    total = total_of(stages)
    return Estimate(
        site_id=site_id,
        retry_of=retry_of,
        estimated_credits=total,
        required_credits=required_of(total),
        balance=account.balance,
        available_credits=account.available_credits,
        sufficient=account.available_credits >= required_of(total),
        price_version=CURRENT,
        stages=[
            EstimatedStage(
                stage=one.stage,
                name=stage_of(one.stage).name,
                items=one.items,
                credits=one.credits,
                learned_from=one.seen,
                makes_per_item=round(one.up / one.down, 3),
                assumption=assumption_of(one),
            )
            for one in stages
        ],
    )


@router.get("/automation/estimate", name="estimate")
async def estimate_now(
    site: TheSite, read: Read, models: RunModels, retry_of: OptionalId = None
) -> Estimate:
    """What a run would cost if it started now; with retry_of, one over what failed in that run."""
    return await read.find(estimate_of, site.site_id, retry_of, models)


class Prices(BaseModel):
    """Prices by version; a run keeps the one that it started with.

    `versions` are whole credits per successful call, `rates` those for a million tokens and for an
    image of models that are paid by use, each call rounded up; the first pattern that fits counts.
    """

    current: int
    versions: Mapping[int, Mapping[str, int]]
    rates: Mapping[int, tuple[Rates, ...]]


@router.get("/account/prices", tags=["account"])
async def prices(_: Who) -> Prices:
    """The price list, with its older versions."""
    return Prices(
        current=CURRENT,
        versions={version: prices.per_call for version, prices in PRICES.items()},
        rates={version: prices.rates for version, prices in PRICES.items()},
    )
