"""What the tests of the projections do again and again: project, dump, shuffle, set aside."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import sqlalchemy as sa

from events.ids import derive
from events.message import Message
from events.topics import Placed
from projections.database import metadata, reading
from projections.projector import project

Answer = TypeVar("Answer")
Tables = dict[str, list[tuple[Any, ...]]]


@dataclass
class Letters:
    """Dead letters in a list; `broken` stands for a broker that does not acknowledge."""

    events: list[Placed] = field(default_factory=list)
    broken: bool = False

    def __call__(self, placed: Placed, error: Exception) -> None:
        if self.broken:
            raise TimeoutError("nobody acknowledged the dead letter") from error
        self.events.append(placed)


def nothing_set_aside(placed: Placed, error: Exception) -> None:
    """Fail the test that did not expect a bad event."""
    raise AssertionError(f"{placed.envelope.message} was set aside") from error


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
