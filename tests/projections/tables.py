"""What the tests of the projections do again and again: project, dump, shuffle, set aside."""

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from events.envelope import encode
from events.ids import derive
from events.message import Message, wire_name
from events.topics import Placed, Written
from projections.database import metadata, reading
from projections.fold import SetAside
from projections.parts import Log
from projections.projector import Refold, project
from projections.rebuild import rebuild

Answer = TypeVar("Answer")
Tables = dict[str, list[tuple[Any, ...]]]


@dataclass
class Letters:
    """Dead letters in a list; `broken` stands for a broker that does not acknowledge."""

    events: list[Placed] = field(default_factory=list)
    broken: bool = False

    def __call__(self, placed: Placed, reason: str) -> None:
        if self.broken:
            raise TimeoutError(f"nobody acknowledged the dead letter: {reason}")
        self.events.append(placed)


def nothing_set_aside(placed: Placed, reason: str) -> None:
    """Fail the test that did not expect a bad event."""
    raise AssertionError(f"{placed.envelope.message} was set aside: {reason}")


@dataclass
class Told:
    """A log in a list, as the store would give it; `heard` is called before each event."""

    placed: Sequence[Placed]
    heard: Callable[[int], None] = lambda _: None

    def newest(self) -> int:
        return max((placed.position for placed in self.placed), default=0)

    def written(self, after: int = 0) -> Iterator[Written]:
        for number, one in enumerate(self.placed):
            if one.position > after:
                self.heard(number)
                yield written(one)


def written(placed: Placed) -> Written:
    """Return an event as the store holds it."""
    envelope = placed.envelope
    return Written(placed.position, wire_name(envelope.message), encode(envelope))


def again(engine: sa.Engine, log: Log, set_aside: SetAside = nothing_set_aside, **how: Any) -> Any:
    """Rebuild, and return what was found."""
    return rebuild(engine, log, folder_of(engine), set_aside, **how)


def refolding(engine: sa.Engine, placed: Sequence[Placed]) -> Refold:
    """Return the refold that a projector is given."""

    def refold(set_aside: SetAside) -> None:
        again(engine, Told(placed), set_aside, wait=True)

    return refold


def folder_of(engine: sa.Engine) -> Path:
    """Return the folder in which this read model is rebuilt."""
    name = str(engine.url.database)
    is_file = engine.dialect.name == "sqlite"
    return Path(f"{name}-rebuild") if is_file else Path(tempfile.gettempdir(), name, "rebuild")


def fold_all(engine: sa.Engine, placed: Sequence[Placed], size: int = 37) -> None:
    """Project the events as they come, so many in one transaction."""
    for start in range(0, len(placed), size):
        project(engine, placed[start : start + size], nothing_set_aside)


def dump(engine: sa.Engine) -> Tables:
    """Return every row of every table."""
    with reading(engine) as tx:
        return {
            table.name: sorted(map(tuple, tx.execute(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
        }


def ask(engine: sa.Engine, query: Callable[..., Answer], *arguments: Any) -> Answer:
    """Run one query in a transaction of its own."""
    with reading(engine) as tx:
        return query(tx, *arguments)


def interleaved(placed: Sequence[Placed], seed: int) -> list[Placed]:
    """Return the events with the keys in another order among themselves, each key in its own."""
    chance = random.Random(seed)
    queues: dict[str, list[Placed]] = {}
    for one in placed:
        queues.setdefault(one.key, []).append(one)
    mixed = []
    while queues:
        key = chance.choice(sorted(queues))
        taken = chance.randint(1, 20)
        mixed += queues[key][:taken]
        queues[key] = queues[key][taken:]
        if not queues[key]:
            del queues[key]
    return mixed


def beside(placed: Placed, message: Message) -> Placed:
    """Return another event of the same site and run, right after this one."""
    position = placed.position + 1
    changed = {"id": derive("msg", "beside", position), "message": message}
    envelope = placed.envelope.model_copy(update=changed)
    return replace(placed, position=position, envelope=envelope)
