"""One reading of the store: the promises of the log, the chain, and what other copies should hold.

The log's rules are about one account each, so several processes may read the store side by side,
each looking into the events of its own accounts.
"""

import gc
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from zlib import crc32

import numpy as np

from events.account import CreditsSettled
from events.chain import NOTHING, Head, digest_of, extend, first
from events.content import Draft, Image
from events.envelope import BadMessage, Envelope, UnknownMessage, decode
from events.message import Message
from events.run import BatchFailed, StageBatchCompleted
from events.topics import Placed, is_published
from services.invariants import Audit
from services.orchestrator.chain import Chain, Entry, open_chain
from services.orchestrator.store import Raw, Store, Stored, open_store
from services.settings import Settings

PAGE = 2_000
MOST = 1_000  # lines that are kept of one process: a log that is wrong throughout has millions
MARK = 16  # bytes of a hash that are remembered of an event: enough that no other has the same
ACCOUNT = b'"account_id":"'
# What an event should look like elsewhere: its place, a hash of key and bytes, and the head there.
INDEX = np.dtype([("position", "<u8"), ("mark", f"V{MARK}"), ("head", f"V{MARK}")])
NAMED = np.dtype([("digest", "V32"), ("position", "<u8")])


@dataclass(frozen=True, slots=True)
class Bounds:
    """The part of the store that is looked into: up to a position; heads are recorded up to one."""

    until: int
    linked: int


@dataclass(frozen=True, slots=True)
class Part:
    """Which accounts are looked into: those whose checksum leaves `number` of `parts`."""

    number: int = 0
    parts: int = 1

    def has(self, body: bytes) -> bool:
        """Tell whether an event is this part's: each is some part's, whatever its bytes."""
        if self.parts == 1:
            return True
        start = body.rfind(ACCOUNT) + len(ACCOUNT)
        return crc32(body[start : body.find(b'"', start)]) % self.parts == self.number


@dataclass(slots=True)
class Survey:
    """What was found, and what the other copies are compared with."""

    events: int = 0
    log: list[str] = field(default_factory=list)
    chain: list[str] = field(default_factory=list)
    index: bytearray = field(default_factory=bytearray)
    artifacts: bytearray = field(default_factory=bytearray)
    owners: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, tuple[int, int]] = field(default_factory=dict)  # balance, held
    spent: dict[tuple[str, int], list[int]] = field(default_factory=dict)  # calls, settled
    unlinked: int = 0


def survey(
    settings: Settings, bounds: Bounds, part: Part, *, log: bool = True, alone: bool = False
) -> Survey:
    """Read the store once. `alone` is a process that does nothing else.

    Without `log` the rules of the log are not looked at.
    """
    if alone:
        gc.set_threshold(200_000)  # what is read makes no circles, and is much
    store, chain = open_store(settings), open_chain(settings)
    try:
        reader = Reader(bounds, part, Audit() if log else None)
        for raw, entry in paired(store, chain, bounds):
            reader.see(raw, entry)
        return reader.end()
    finally:
        chain.close()
        store.close()


def paired(store: Store, chain: Chain, bounds: Bounds) -> Iterator[tuple[Raw | None, Entry | None]]:
    """Yield each stored event with what was recorded of it, in store order, either perhaps none."""
    after, until = 0, max(bounds.until, bounds.linked)
    while True:
        page = [row for row in store.raw(after, PAGE) if row[0] <= bounds.until]
        reached = page[-1][0] if len(page) == PAGE else until
        recorded = chain.within(after, reached)
        yield from _paired(page, recorded)
        if len(page) < PAGE:
            return
        after = reached


def _paired(page: list[Raw], recorded: list[Entry]) -> Iterator[tuple[Raw | None, Entry | None]]:
    place, count = 0, len(recorded)
    for row in page:
        while place < count and recorded[place].position < row[0]:
            yield None, recorded[place]
            place += 1
        if place < count and recorded[place].position == row[0]:
            yield row, recorded[place]
            place += 1
        else:
            yield row, None
    for entry in recorded[place:]:
        yield None, entry


class Reader:
    """Takes stored and recorded events one by one, in store order."""

    def __init__(self, bounds: Bounds, part: Part, audit: Audit | None) -> None:
        self._bounds, self._part, self._audit = bounds, part, audit
        self._heads: dict[str, Head] = {}
        self._found = Survey()
        self._unreadable = 0

    def see(self, raw: Raw | None, entry: Entry | None) -> None:
        """Take the next position: what is stored there, and what was recorded of it."""
        if raw is None:
            if entry is not None and self._part.number == 0:
                self._tell("chain", f"{_where(entry)}: an event is gone from the store")
        elif self._part.has(raw[4]):
            self._look(raw, entry)
        if entry is not None:
            self._heads[entry.key] = entry.head

    def end(self) -> Survey:
        """Return what was found, when nothing follows."""
        found = self._found
        if self._audit is not None:
            torn = self._audit.end()
            if not self._unreadable:  # else the receipt may be what could not be read
                found.log += [f"log: {line}" for line in torn]
            found.owners = self._audit.owners
            found.accounts = {
                id_: (account.balance, account.holds.total())
                for id_, account in self._audit.accounts.items()
            }
        return found

    def _look(self, raw: Raw, entry: Entry | None) -> None:
        position, stream, version, name, body = raw
        self._found.events += 1
        try:
            envelope = decode(name, body)
        except (UnknownMessage, BadMessage) as error:
            self._unreadable += 1
            self._tell("log", f"{stream} v{version} at position {position} is no event: {error}")
            envelope = None
        digest = digest_of(name, body)
        head = self._link(raw, entry, envelope, digest)
        if envelope is None:
            return
        message = envelope.message
        if head is not None:
            mark = sha256(digest + envelope.key.encode()).digest()[:MARK]
            self._found.index += position.to_bytes(8, "little") + mark + head[:MARK]
        if isinstance(message, StageBatchCompleted):
            self._name_artifacts(position, message)
        self._spend(envelope, message)
        if self._audit is not None:
            audit = self._audit
            audit.see(Stored(Placed(position, envelope), stream, version, name, body))
            if audit.found:
                for line in audit.found:
                    self._tell("log", line)
                audit.found.clear()

    def _link(
        self, raw: Raw, entry: Entry | None, envelope: Envelope | None, digest: bytes
    ) -> bytes | None:
        """Compare with what was recorded; return the head there, none for what is not published."""
        position, stream, version, name, _ = raw
        if envelope is not None:
            key, shown = envelope.key, is_published(envelope.message)
        elif entry is not None:
            key, shown = entry.key, entry.shown
        else:
            key, shown = "", False
        before = self._heads.get(key) or first(key)
        here = Entry(position, key, extend(before, digest, shown=shown), shown)
        if entry is not None:
            if here != entry:
                self._tell("chain", f"{_where(entry)}: the event is not the one that was recorded")
            return entry.head.chain if shown else None
        if position <= self._bounds.linked:
            what = f"{stream} v{version} {name}"
            self._tell("chain", f"{_where(here)}: {what} was put in")
        else:
            self._found.unlinked += 1
            self._heads[key] = here.head
        return here.head.chain if shown else None

    def _name_artifacts(self, position: int, report: StageBatchCompleted) -> None:
        for fact in report.made:
            match fact:
                case Draft(body=digest) | Image(file=digest):
                    try:
                        named = bytes.fromhex(digest)
                    except ValueError:
                        named = b""
                    if len(named) != len(NOTHING):
                        self._tell("log", f"{fact.id} at position {position} names no artifact")
                        continue
                    self._found.artifacts += named + position.to_bytes(8, "little")

    def _spend(self, envelope: Envelope, message: Message) -> None:
        match message:
            case (
                StageBatchCompleted(stage=stage, calls=calls)
                | BatchFailed(stage=stage, calls=calls)
            ) if calls:
                sums = self._found.spent.setdefault((envelope.run_id or "", stage), [0, 0])
                sums[0] += sum(call.credits_used for call in calls)
            case CreditsSettled(stage=stage, amount=amount):
                sums = self._found.spent.setdefault((envelope.run_id or "", stage), [0, 0])
                sums[1] += amount

    def _tell(self, check: str, line: str) -> None:
        lines = self._found.log if check == "log" else self._found.chain
        if len(lines) < MOST:
            lines.append(f"{check}: {line}")


def _where(entry: Entry) -> str:
    return f"{entry.key} at position {entry.position}"


class Index:
    """Every published event in 40 bytes, found by its position."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        table = np.frombuffer(b"".join(parts), dtype=INDEX)
        table = table[np.argsort(table["position"], kind="stable")]
        self._positions = array("Q", table["position"].tobytes())
        self._marks, self._heads = table["mark"].tobytes(), table["head"].tobytes()
        self._seen = bytearray(len(self._positions))

    def __len__(self) -> int:
        return len(self._positions)

    def find(self, position: int) -> int | None:
        """Return the event's number, none when the store publishes nothing at the position."""
        number = bisect_left(self._positions, position)
        is_there = number < len(self._positions) and self._positions[number] == position
        return number if is_there else None

    def mark(self, number: int) -> bytes:
        return self._marks[number * MARK : (number + 1) * MARK]

    def head(self, number: int) -> bytes:
        return self._heads[number * MARK : (number + 1) * MARK]

    def see(self, number: int) -> bool:
        """Remember that the event was seen; tell whether it had not been before."""
        is_new = not self._seen[number]
        self._seen[number] = 1
        return is_new

    def unseen(self) -> Iterator[int]:
        """Yield the positions of events that were not seen."""
        number = self._seen.find(0)
        while number >= 0:
            yield self._positions[number]
            number = self._seen.find(0, number + 1)


def mark_of(name: str, body: bytes, key: bytes) -> bytes:
    """Return the mark of an event that has this wire name, these bytes and this key."""
    return sha256(digest_of(name, body) + key).digest()[:MARK]
