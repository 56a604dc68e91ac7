"""`septet projections`: make the read model again from the events."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.environment import read_settings
from services.cli.output import Failed, command, emit, group, note
from services.cli.progress import clock
from services.cli.shown import count
from services.cli.stores import answering

if TYPE_CHECKING:
    from projections.rebuild import Progress, Rebuilt

app = group("Projections: make the read model again from the events.")

EVERY = 5.0  # seconds between two lines of progress, where no terminal looks on


@command(app, "rebuild")
def rebuild(
    *,
    compare_only: Annotated[
        bool, typer.Option("--compare-only", help="Change nothing; exit code 1 if rows differ")
    ] = False,
) -> None:
    """Fold every event again beside the live tables, compare, and put right what differs.

    Everything goes on meanwhile; readers see the old rows until the new ones are all there.
    """
    from events.topics import Placed
    from projections import database
    from projections import rebuild as rebuilding
    from services.cli.refold import refold
    from services.orchestrator.store import open_store
    from services.places import read_model_url

    settings = read_settings()
    set_aside: list[str] = []

    def report(placed: Placed, reason: str) -> None:
        set_aside.append(f"position {placed.position} cannot be projected: {reason}")

    began = time.monotonic()
    with answering(settings), shown() as told:
        store, engine = open_store(settings), database.open_engine(read_model_url(settings))
        try:
            database.create_tables(engine)
            found = refold(
                settings,
                engine,
                store,
                report,
                told=told,
                compare_only=compare_only,
            )
        except rebuilding.Running as running:
            raise Failed("another rebuild is at work: wait until it has ended") from running
        finally:
            engine.dispose()
            store.close()
    for line in (*found.examples, *set_aside):
        note(line)
    seconds = time.monotonic() - began
    answer = {
        "events": found.events,
        "seconds": round(seconds, 1),
        "tables": found.live,
        "differences": found.rows,
        "examples": found.examples,
        "switched": found.switched,
        "set_aside": set_aside,
    }
    rate = f"{found.events / max(seconds, 0.001):,.0f} a second"
    folded = f"{found.events:,} events folded again in {clock(seconds)}, {rate}"
    emit(answer, f"{folded}\n{verdict(found)}")
    if compare_only and found.differs:
        raise Failed(
            "the read model differs from the events. See septet projections rebuild",
            problem={"code": "differences", "count": found.rows.total()},
        )


def verdict(found: "Rebuilt") -> str:
    """Return what a rebuild found and did, in words."""
    if not found.differs:
        return "every row is as the events make it: nothing to replace"
    if found.live == "filled":
        tables = ", ".join(f"{count(rows, 'row')} of {name}" for name, rows in found.rows.items())
        what = f"differing: {tables}"
    else:
        what = f"the live tables are {'empty' if found.live == 'empty' else 'of another shape'}"
        if found.switched:
            what = what.replace(" are ", " were ")
    return f"{what}; {'replaced' if found.switched else 'nothing was changed'}"


@contextmanager
def shown() -> "Iterator[Callable[[Progress], None]]":
    """Give the way of showing a rebuild's progress that suits where stderr goes."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (TextColumn("{task.description:<9}"), BarColumn(24), TextColumn("{task.fields[how]}"))
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("folding", total=None, how="")
        pace = Pace()

        def tell(progress: "Progress") -> None:
            how = pace.of(progress) if progress.doing == "folding" else ""
            done = progress.position if progress.doing == "folding" else None
            total = progress.newest if progress.doing == "folding" else None
            bar.update(task, description=progress.doing, completed=done, total=total, how=how)

        yield tell


class Pace:
    """How quickly events are folded, and how long the rest takes at that pace."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def of(self, progress: "Progress") -> str:
        """Return the share that is done, events a second, and the time left."""
        passed = max(time.monotonic() - self.began, 0.001)
        share = progress.position / max(progress.newest, 1)
        left = clock(passed / share - passed) if share else "?"
        return f"{100 * share:3.0f} %  {progress.events / passed:,.0f} events/s  {left} left"


class Lines:
    """A line every few seconds, and one whenever something else begins."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.doing, self.said_at = "", 0.0

    def __call__(self, progress: "Progress") -> None:
        """Say how far it is, unless that was said just now."""
        now = time.monotonic()
        if progress.doing == self.doing and now - self.said_at < EVERY:
            return
        self.doing, self.said_at = progress.doing, now
        folding = progress.doing == "folding"
        note(f"folding {self.pace.of(progress)}" if folding else progress.doing)
