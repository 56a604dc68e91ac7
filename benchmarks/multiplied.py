"""Makes a long log of few decisions: one account's history by the rules, told of many accounts.

Every id in a log follows from others (`kind-` and 24 hex digits), so another account's history is
the same bytes with other ids: streams, versions, receipts and sums stay as the rules made them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from pydantic_core import from_json

from benchmarks.words import keywords_for
from events.commands import (
    AccountRequested,
    ApprovalRequested,
    ConfigUpdateRequested,
    CreditsRequested,
    Key,
    KeywordsSubmitted,
    PauseRequested,
    ResumeRequested,
    RunRequested,
    SiteRequested,
    TimerElapsed,
)
from events.config import ConfigChanges
from events.content import NewKeyword
from events.envelope import Envelope, encode
from events.ids import derive
from events.message import Event, wire_name
from events.pipeline import CONTENT
from events.run import StageBatchRequested, TimerSet
from services.orchestrator.handler import receipt_stream
from services.orchestrator.rules.state import Run
from tests.projections.history import Worker, World

AT_ONCE = 4  # sites of an account that are worked on at the same time
KEYWORDS = 20
ACCOUNT = derive("account", "multiplied")
ID = re.compile(rb"([a-z]+-[0-9a-f]{24})(?![0-9a-f])")
REQUEST, REPORTS = wire_name(StageBatchRequested), 4  # whose answers have ids of their own
DIGITS = 8  # hex digits of an id that tell the copies apart
SMALL = {"stage_1_batch_size": 20, "stage_3_batch_size": 20} | {
    f"stage_{stage}_batch_size": 2 for stage in (2, 4, 5, 6)
}


class Line(NamedTuple):
    """An event as the store holds it; its position is given by the store."""

    stream: str
    version: int
    name: str
    body: bytes


@dataclass
class Scribe(World):
    """A world that writes down every event, published or not, as the store would."""

    lines: list[Line] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    due: dict[str, TimerSet] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)

    def record(self, envelope: Envelope) -> None:
        """Append an event to its stream."""
        super().record(envelope)
        self.placed.clear()  # nobody looks back here, and it would grow
        event = envelope.message
        assert isinstance(event, Event)
        if isinstance(event, TimerSet):
            self.due[event.timer_id] = event
        if envelope.run_id is not None:
            self.homes[envelope.run_id] = envelope.site_id or ""
        streams = {
            "run": envelope.run_id,
            "site": envelope.site_id,
            "account": envelope.account_id,
            "receipt": receipt_stream(envelope.cause),
        }
        stream = streams[event.STREAM] or ""
        version = self.versions[stream] = self.versions.get(stream, 0) + 1
        self.lines.append(Line(stream, version, wire_name(event), encode(envelope)))

    def fire(self, run: str) -> bool:
        """Let the run's timer elapse, if it waits for one."""
        timer = self.runs[run].timer
        if timer is None:
            return False
        self.now = max(self.now, self.due[timer].due_at)
        self.say(TimerElapsed(timer_id=timer), ACCOUNT, self.homes[run], run)
        return True


def one_account(events: int) -> list[Line]:
    """Return an account's whole history of at least so many events, its last append complete."""
    world = Scribe()
    opened = AccountRequested(
        name="Multiplied",
        amount=1_000_000_000,
        key=Key(key_id=derive("key", "multiplied"), digest=derive("digest", "x"), role="admin"),
    )
    world.say(opened, ACCOUNT)
    world.say(CreditsRequested(amount=5, reason="more"), ACCOUNT)
    sites, working = 0, list[Iterator[None]]()
    while len(world.lines) < events:
        while len(working) < AT_ONCE:
            working.append(_site(world, sites))
            sites += 1
        working = [script for script in working if next(script, "over") != "over"]
    return world.lines


def _site(world: Scribe, number: int) -> Iterator[None]:
    """A site's first two runs: a whole one, and one over failures with a pause in it."""
    site = derive("site", number)
    world.say(
        SiteRequested(name=site, domain="shop.example", timezone="Europe/Berlin"), ACCOUNT, site
    )
    changes = ConfigChanges.model_validate(SMALL)
    world.say(ConfigUpdateRequested(changes=changes), ACCOUNT, site)
    words = keywords_for(number, 2 * KEYWORDS)
    for words_, worker in (
        (words[:KEYWORDS], Worker()),
        (words[KEYWORDS:], Worker(fails=frozenset(words[-2:]))),
    ):
        new = tuple(NewKeyword(keyword=word, volume=100, difficulty=20) for word in words_)
        world.say(KeywordsSubmitted(keywords=new), ACCOUNT, site)
        yield
        run = world.say(RunRequested(), ACCOUNT, site).run_id or ""
        yield from world.work(run, worker, _at_drafts)
        world.say(PauseRequested(note="a look at the ideas"), ACCOUNT, site, run)
        world.now += timedelta(minutes=5)
        world.say(ResumeRequested(), ACCOUNT, site, run)
        yield from world.work(run, worker, _never)
    for content in list(world.sites[site].contents)[:3]:
        world.say(ApprovalRequested(content_id=content), ACCOUNT, site)
        yield


def _at_drafts(run: Run) -> bool:
    return run.stage == CONTENT


def _never(_: Run) -> bool:
    return False


def multiplied(lines: Sequence[Line], accounts: int) -> Iterator[Line]:
    """Give the same history of so many accounts, append by append, all of them side by side."""
    appends = list(_appends(lines))
    known: dict[bytes, bytes] = {}
    for one in lines:
        for id_ in (*ID.findall(one.body), *ID.findall(one.stream.encode())):
            known.setdefault(id_, id_)
    names = list(known)
    masks = [derive("mask", number)[-DIGITS:] for number in range(accounts)]
    parents = _parents(appends)
    others = [_renamed(names, int(mask, 16), parents) for mask in masks]
    for append in appends:
        split = [(one, ID.split(one.body), ID.split(one.stream.encode())) for one in append]
        for other in others:
            for one, body, stream in split:
                yield one._replace(
                    stream=b"".join(other.get(part, part) for part in stream).decode(),
                    body=b"".join(other.get(part, part) for part in body),
                )


def _appends(lines: Sequence[Line]) -> Iterator[list[Line]]:
    append: list[Line] = []
    for one in lines:
        append.append(one)
        if one.stream.startswith("receipt-"):
            yield append
            append = []


def _parents(appends: Sequence[Sequence[Line]]) -> dict[bytes, tuple[bytes, int]]:
    """Return for each message of the log from which id, and with which number, its own follows.

    Parents come first. A report is not in the log by itself: it follows from the request.
    """
    found: dict[bytes, tuple[bytes, int]] = {}
    for append in appends:
        for number, one in enumerate(append):
            fields = from_json(one.body)
            id_, cause = fields["id"].encode(), fields["cause"].encode()
            found[id_] = (cause, number)
            if one.name == REQUEST:
                for report in range(REPORTS):
                    found[derive("msg", fields["id"], report).encode()] = (id_, report)
    return found


def _renamed(
    names: Sequence[bytes], mask: int, parents: Mapping[bytes, tuple[bytes, int]]
) -> dict[bytes, bytes]:
    """Return each id as the account of this mask knows it: other leading digits, the same rest.

    Those of messages follow from their causes, as everywhere.
    """
    renamed = {}
    for name in names:
        if name in parents:
            continue
        kind, _, digits = name.rpartition(b"-")
        leading = int(digits[:DIGITS], 16) ^ mask
        renamed[name] = b"%s-%08x%s" % (kind, leading, digits[DIGITS:])
    for name, (parent, number) in parents.items():
        renamed[name] = derive("msg", renamed[parent].decode(), number).encode()
    return renamed
