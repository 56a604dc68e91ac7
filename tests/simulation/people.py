"""What people ask for, at any time, sensible or not, in their own account or in another's."""

from typing import TYPE_CHECKING, Any

from events.commands import (
    ApprovalRequested,
    CancelRequested,
    ChangesRequested,
    ConfigUpdateRequested,
    CreditsRequested,
    KeyRevocationRequested,
    KeywordsSubmitted,
    PauseRequested,
    RejectionRequested,
    ResumeRequested,
    RunRequested,
)
from events.config import ConfigChanges
from events.content import NewKeyword
from events.envelope import Envelope
from events.message import Message
from events.topics import COMMANDS, RUN_EVENTS, STAGE_REPORTS, Record, command_record, stage_topic
from tests.builders import ACCOUNT
from tests.simulation.faults import Faults

if TYPE_CHECKING:
    from tests.simulation.world import World

SITES = ("site-a", "site-b")
STRANGER = "account-b"
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
TIMES = ("00:30", "01:30", "01:45", "02:00", "02:30", "14:00")
PLANNED_BUG = "key-with-a-bug"


def wish(world: "World", id_: str) -> Envelope:
    """Return the next thing that somebody asks for."""
    chance, audit = world.random, world.audit
    site = chance.choice(SITES)
    run = world.active(site) or (world.last_run.get(site) or "run-none")
    reviewed = sorted(audit.sites[site].in_review) if site in audit.sites else []
    sort = chance.random()
    message: Message
    if world.theme == "calendar" and sort < 0.5:
        sort = 0.5 + sort  # fewer starts by hand, more of all else
    if sort < 0.30:
        retry = chance.choice(world.lost[site]) if world.lost[site] and sort < 0.12 else None
        return asked(world, RunRequested(retry_of=retry), id_, site, f"run-{id_}")
    if sort < 0.55:
        kinds = (PauseRequested, PauseRequested, ResumeRequested, ResumeRequested, CancelRequested)
        return asked(world, chance.choice(kinds)(), id_, site, run)
    if sort < 0.67:
        more = (f"more {id_}", f"more {chance.randrange(6)}", f"More  {chance.randrange(6)}")
        new = tuple(NewKeyword(keyword=one) for one in more[: chance.randint(1, 3)])
        return asked(world, KeywordsSubmitted(keywords=new), id_, site)
    if sort < 0.79:
        return asked(world, ConfigUpdateRequested(changes=changes(world)), id_, site)
    if sort < 0.87 and reviewed:
        draft = chance.choice(reviewed)
        message = chance.choice(
            [
                ChangesRequested(content_id=draft, note="shorter"),
                ChangesRequested(content_id=draft, note="longer"),
                ApprovalRequested(content_id=draft),
                RejectionRequested(content_id=draft, reason="no"),
            ]
        )
        return asked(world, message, id_, site)
    if sort < 0.94:
        top_up = CreditsRequested(amount=chance.randint(1, 30), reason="top-up")
        return asked(world, top_up, id_, None)
    if sort < 0.97:
        foreign = chance.choice([RunRequested(), CancelRequested(), PauseRequested()])
        return asked(world, foreign, id_, site, run, STRANGER)
    if world.faults.strikes(1.0 if world.faults.poison else 0, "bug of ours"):
        return asked(world, KeyRevocationRequested(key_id=PLANNED_BUG), id_, None)
    return asked(world, ApprovalRequested(content_id="draft-none"), id_, site)


def changes(world: "World") -> ConfigChanges:
    """Return a change of a config: of the schedule, of sizes, of delays."""
    chance = world.random
    if chance.random() < (0.8 if world.theme == "calendar" else 0.4):
        return ConfigChanges.model_validate(schedule(world))
    return ConfigChanges(
        max_parallel_batches=chance.randint(1, 3),
        stage_2_batch_size=chance.randint(1, 3),
        stage_4_batch_size=chance.randint(1, 2),
        within_stage_delay=chance.choice([0, 0, 5]),
        between_stage_delay=chance.choice([0, 0, 5]),
        max_items_per_stage=chance.choice([2, 3, 500]),
    )


def schedule(world: "World") -> dict[str, Any]:
    """Return the fields of some schedule, mostly daily, in the seed's own zone."""
    chance = world.random
    return {
        "is_enabled": chance.random() < 0.9,
        "frequency": chance.choice(["daily", "daily", "daily", "weekly", "monthly"]),
        "scheduled_time": chance.choice(TIMES),
        "timezone": world.zone if chance.random() < 0.8 else chance.choice(ZONES),
        "schedule_weekday": chance.randrange(7),
    }


def asked(
    world: "World",
    message: Message,
    id_: str,
    site: str | None,
    run: str | None = None,
    account: str = ACCOUNT,
) -> Envelope:
    """Return the command as the API sends it."""
    return Envelope(
        id=id_,
        account_id=account,
        site_id=site,
        run_id=run,
        at=world.now("api-a"),
        cause=id_,
        actor="key-a",
        message=message,
    )


def poison(world: "World", faults: Faults, number: int) -> Record:
    """Return a record that nobody can follow, with a header by which its dead letter is known."""
    chance = faults.chance
    stage = stage_topic(chance.randint(1, 7))
    topic = chance.choice([COMMANDS, STAGE_REPORTS, RUN_EVENTS, stage])
    good = command_record(asked(world, PauseRequested(), f"poison-{number}", "site-a", "run-x"))
    mark = ("poison", str(number).encode())
    foreign = tuple(
        (name, b"account-z" if name == "ce_accountid" else value) for name, value in good.headers
    )
    value, headers = chance.choice(
        [
            (b"\xff\x00 no json", good.headers),
            (None, good.headers),
            (b"{}", good.headers),
            (b"[1, 2]", good.headers),
            (good.value, ()),
            (good.value, (("ce_type", b"septet.Unheard.v9"),)),
            (good.value, foreign),
        ]
    )
    return Record(topic, good.key, value, (*headers, mark))
