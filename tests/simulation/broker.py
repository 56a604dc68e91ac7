"""A broker in memory: at least once, late copies, lost answers, stolen partitions, lost data.

What the services use of Kafka (`Admin`, `OrderedProducer`, `Producer.publish`) stands here in
small. Actors send with a plain producer, whose copies may come late and out of order; the relay's
producer keeps the order of each partition, and an answer that it does not get ends its life.
"""

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from events.kafka.connection import AnswerLost, NothingSent, OtherBroker
from events.topics import DEAD_LETTERS, RUN_EVENTS, Record
from tests.simulation.faults import Faults
from tests.simulation.pause import pause

PARTITIONS = 2

Place = tuple[str, int]


@dataclass
class Member:
    """What one consumer believes to own: for each partition its generation, and what comes next."""

    name: str
    topics: tuple[str, ...]
    mine: dict[Place, tuple[int, int]]


class Broker:
    """Partitions, committed offsets, owners with generations; `epoch` counts its lives."""

    def __init__(
        self,
        faults: Faults,
        moved: Callable[[], None],
        sent: Callable[[Record], None],
        stale: Callable[[], None],
    ) -> None:
        self.faults, self.chance = faults, faults.chance
        self._moved, self._sent, self.stale = moved, sent, stale
        self.log: dict[Place, list[Record]] = defaultdict(list)
        self.committed: Counter[Place] = Counter()
        self.generation: Counter[Place] = Counter()
        self.owner: dict[Place, str] = {}
        self.late: list[Record] = []
        self.members: list[Member] = []
        self.epoch = 0

    # --- producers

    def store(self, record: Record) -> None:
        """Append a record to its partition."""
        place = (record.topic, zlib.crc32(record.key or b"") % PARTITIONS)
        kept = self.log[place]
        kept.append(replace(record, partition=place[1], offset=len(kept)))
        self._sent(kept[-1])

    async def publish(self, record: Record) -> None:
        """Send as a plain producer does. Raises NothingSent or AnswerLost."""
        faults = self.faults
        if faults.strikes(faults.lost / 3, "nothing sent"):
            raise NothingSent("the broker cannot be reached")
        if faults.strikes(faults.lost / 3, "answer lost: never sent"):
            raise AnswerLost("it never arrived")
        self.store(record)
        self.copy(record)
        await pause()
        if faults.strikes(faults.lost / 3, "answer lost: sent"):
            raise AnswerLost("it did arrive")

    def copy(self, record: Record) -> None:
        """Have the record there again, at once or much later."""
        if self.faults.strikes(self.faults.twice, "sent twice"):
            self.store(record)
        if self.faults.strikes(self.faults.late, "sent late"):
            self.late.append(record)

    def deliver_late(self) -> None:
        """A send that timed out arrives after all."""
        if self.late and self.chance.random() < 0.1:
            self.store(self.late.pop(self.chance.randrange(len(self.late))))

    def wipe(self) -> None:
        """The broker dies and comes back with nothing."""
        for durable in (self.log, self.committed, self.owner, self.late):
            durable.clear()
        for place in list(self.generation):
            self.generation[place] += 1
        for member in self.members:
            member.mine.clear()
        self.epoch += 1
        self._moved()

    # --- consumers

    def member(self, name: str, topics: tuple[str, ...]) -> Member:
        """Return a consumer that owns nothing yet."""
        self.members = [one for one in self.members if one.name != name]
        self.members.append(Member(name, topics, {}))
        return self.members[-1]

    def poll(self, member: Member, most: int) -> tuple[Place, int, Sequence[Record]] | None:
        """Return what a member reads next, with the generation in which it does; none when idle."""
        places = [
            place
            for topic in member.topics
            for place in ((topic, 0), (topic, 1))
            if len(self.log[place]) > self._next(member, place)
        ]
        if not places:
            return None
        place = places[self.chance.randrange(len(places))]
        if not self._joined(member, place):
            return None
        generation, offset = member.mine[place]
        records = self.log[place][offset : offset + self.chance.randint(1, most)]
        member.mine[place] = (generation, offset + len(records))
        return place, generation, records

    def _next(self, member: Member, place: Place) -> int:
        return member.mine[place][1] if place in member.mine else self.committed[place]

    def _joined(self, member: Member, place: Place) -> bool:
        if place in member.mine:
            if member.mine[place][0] == self.generation[place]:
                return True
            if self.faults.strikes(0.5):
                self.faults.sometimes("a zombie worked on")
                self._moved()  # what it reads, its successor reads too
                return True
            del member.mine[place]
        is_free = self.owner.get(place, member.name) == member.name
        if not is_free and not self.faults.strikes(self.faults.steal, "partition stolen"):
            return False
        self.generation[place] += 1
        self.owner[place] = member.name
        member.mine[place] = (self.generation[place], self.committed[place])
        self._moved()
        return len(self.log[place]) > self.committed[place]

    def commit(self, member: Member, place: Place, generation: int, offset: int) -> None:
        """Note how far the group has come; who has lost the partition is refused."""
        if generation == self.generation[place]:
            self.committed[place] = max(self.committed[place], offset)
            return
        self.faults.sometimes("a zombie's commit was refused")
        member.mine.pop(place, None)

    def leave(self, name: str) -> None:
        """A member is gone: its partitions are free."""
        for place in [place for place, owner in self.owner.items() if owner == name]:
            del self.owner[place]
        self._moved()

    def unread(self, *topics: str) -> Iterator[Record]:
        """Yield what the groups have not committed yet."""
        for topic in topics:
            for number in range(PARTITIONS):
                place = (topic, number)
                yield from self.log[place][self.committed[place] :]

    def is_read(self) -> bool:
        """Tell whether every command, request and report has been handled."""
        return not self.late and not self.behind()

    def behind(self) -> list[str]:
        """Return the partitions of which something has not been handled.

        Of the public topic the last record may be a late copy of half an append, which waits for a
        rest that has long been there: the tables tell how far that topic has been read.
        """
        return [
            f"{place} is read to {self.committed[place]} of {len(records)}"
            for place, records in sorted(self.log.items())
            if place[0] not in {DEAD_LETTERS, RUN_EVENTS} and self.committed[place] < len(records)
        ]

    def topic(self) -> Iterator[Record]:
        """Yield the public topic, partition after partition."""
        for number in range(PARTITIONS):
            yield from self.log[RUN_EVENTS, number]


# --- what the relay knows of a broker


class SimAdmin:
    """Stands in for `events.kafka.admin.Admin`: which cluster answers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self) -> None:
        await pause()

    async def stop(self) -> None:
        return

    async def make_topics(self) -> None:
        return

    async def cluster(self) -> str:
        return f"cluster-{self._broker.epoch}"

    async def require_same(self, cluster: str) -> None:
        if await self.cluster() != cluster:
            raise OtherBroker("another broker answers at this address")


async def sim_epoch_of(broker: Broker, _fresh: str) -> str:
    """Stand in for `events.kafka.reading.epoch_of`."""
    return f"epoch-{broker.epoch}"


class SimOrderedProducer:
    """Stands in for `events.kafka.producers.OrderedProducer`: one batch per partition at a time."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._epoch = broker, broker.epoch

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    async def send(self, records: Sequence[Record]) -> None:
        broker, faults = self._broker, self._broker.faults
        queues: dict[Place, list[Record]] = {}
        for record in records:
            place = (record.topic, zlib.crc32(record.key or b"") % PARTITIONS)
            queues.setdefault(place, []).append(record)
        for batch in queues.values():
            if self._epoch != broker.epoch:
                if broker.chance.random() < 0.7:
                    raise AnswerLost("the connection is gone")
                broker.stale()
            if faults.strikes(faults.lost / 3, "answer lost: never sent"):
                raise AnswerLost("it never arrived")
            for record in batch:
                broker.store(record)
            for record in batch:
                broker.copy(record)
            await pause()
            if faults.strikes(faults.lost / 3, "answer lost: sent"):
                raise AnswerLost("it did arrive")
