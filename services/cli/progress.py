"""A run's progress: bars where a terminal looks on, else a line per change, or JSON per event."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.cli.client import Json
from services.cli.output import emit, note, say
from services.cli.shown import count, wait_text
from services.logs import printable

MARKS = {"pending": "·", "running": "●", "completed": "✓", "partial": "!"}
STYLES = {"pending": "dim", "running": "cyan", "completed": "green", "partial": "yellow"}


class Progress(Protocol):
    """Whoever shows a run as it goes."""

    def show(self, run: Json, eta: float | None) -> None:
        """Show the run as it is now; `eta` is its stage's seconds left, none when unknown."""
        ...

    def heard(self, event: Json) -> None:
        """Take an event of the run's history; each comes once."""
        ...

    def tell(self, line: str) -> None:
        """Print a line that is not about the run."""
        ...


@contextmanager
def following() -> Iterator[Progress]:
    """Give the way of showing progress that suits where stdout goes."""
    console = Console()
    if not console.is_terminal:
        yield Lines()
        return
    with Live(console=console, refresh_per_second=4) as live:
        yield Bars(live)


class EventLines:
    """Each event as a line of JSON."""

    def show(self, run: Json, eta: float | None) -> None:
        del run, eta

    def heard(self, event: Json) -> None:
        emit(event, "")

    def tell(self, line: str) -> None:
        note(line)


class Lines:
    """One line for each change of the run or of a stage."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.said: dict[str, str] = {}

    def show(self, run: Json, eta: float | None) -> None:
        del eta
        for stage in run["stages"]:
            if stage["status"] != "pending":
                self._changed(f"{stage['stage']} {stage['name']}", stage["status"], amounts(stage))
        self._changed("run", run["status"], count(run["total_credits_used"], "credit"))
        if wait := wait_text(run):
            self._changed("wait", wait, "")

    def heard(self, event: Json) -> None:
        del event

    def tell(self, line: str) -> None:
        note(line)

    def _changed(self, what: str, status: str, more: str) -> None:
        if self.said.get(what) != status:
            self.said[what] = status
            elapsed = clock(time.monotonic() - self.began)
            say(f"{elapsed:>5}  {what:<10} {status:<9}  {more}".rstrip())


class Bars:
    """A bar a stage, and a line of sums below, in which time goes on by itself."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.began = time.monotonic()
        self.run: Json | None = None
        self.eta: float | None = None
        self.told_at = self.began
        live.update(self)

    def show(self, run: Json, eta: float | None) -> None:
        self.run, self.eta, self.told_at = run, eta, time.monotonic()
        self.live.refresh()

    def heard(self, event: Json) -> None:
        del event

    def __rich__(self) -> Group:
        """Return what is to be seen at this moment."""
        if self.run is None:
            return Group()
        now, run = time.monotonic(), self.run
        left = 0.0 if self.eta is None else self.eta - (now - self.told_at)
        stage = f"stage {run['current_stage']} about {clock(left)} more" if left >= 1 else ""
        sums = f"credits {run['total_credits_used']}   elapsed {clock(now - self.began)}   {stage}"
        state = Text(f"{run['status']}   ", style=STYLES.get(run["status"], "bold"))
        wait = wait_text(run)
        waiting = [] if wait is None else [Text(printable(f"waiting {wait}"), style="yellow")]
        return Group(bars(run), state.append(sums, style="default"), *waiting)

    def tell(self, line: str) -> None:
        self.live.console.print(Text(printable(line)))


def bars(run: Json) -> Table:
    """Return a row a stage: mark, name, bar, counts, credits, time."""
    grid = Table.grid(padding=(0, 1))
    for stage in run["stages"]:
        total, ended = stage["items_total"], stage["items_done"] + stage["items_failed"]
        style = STYLES[stage["status"]]
        bar = ProgressBar(
            total=max(total, 1),
            completed=ended if total else float(stage["status"] == "completed"),
            width=24,
            complete_style=style,
            finished_style=style,
        )
        grid.add_row(
            Text(MARKS[stage["status"]], style=style),
            Text(f"{stage['stage']} {stage['name']}", style=style),
            bar,
            Text(f"{ended}/{total}", justify="right"),
            Text(f"{stage['items_failed']} failed" if stage["items_failed"] else "", style="red"),
            Text(f"{stage['credits_used']} credits", justify="right"),
        )
    return grid


def amounts(stage: Json) -> str:
    """Return a stage's items and credits in words."""
    failed = f", {stage['items_failed']} failed" if stage["items_failed"] else ""
    used = count(stage["credits_used"], "credit")
    return f"{stage['items_done']}/{stage['items_total']}{failed}, {used}"


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"
