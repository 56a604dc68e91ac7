"""A run's progress: live bars where a terminal looks on, a line per change where none does."""

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
from services.cli.output import note, say
from services.logs import printable

MARKS = {"pending": "·", "running": "●", "completed": "✓", "partial": "!"}
STYLES = {"pending": "dim", "running": "cyan", "completed": "green", "partial": "yellow"}


class Progress(Protocol):
    """Whoever shows a run as it goes."""

    def show(self, run: Json, eta: float | None) -> None:
        """Show the run as it is now; `eta` is the seconds left, none when unknown."""
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
    with Live(console=console, refresh_per_second=8) as live:
        yield Bars(live)


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
        self._changed("run", run["status"], f"{run['total_credits_used']} credits")

    def tell(self, line: str) -> None:
        note(line)

    def _changed(self, what: str, status: str, more: str) -> None:
        if self.said.get(what) != status:
            self.said[what] = status
            elapsed = clock(time.monotonic() - self.began)
            say(f"{elapsed:>5}  {what:<10} {status:<9}  {more}".rstrip())


class Bars:
    """A bar a stage, and a line of sums below."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.began = time.monotonic()

    def show(self, run: Json, eta: float | None) -> None:
        elapsed = time.monotonic() - self.began
        left = f"left about {clock(eta)}" if eta else ""
        sums = f"credits {run['total_credits_used']}   elapsed {clock(elapsed)}   {left}"
        state = Text(f"{run['status']}   ", style=STYLES.get(run["status"], "bold"))
        self.live.update(Group(bars(run), state.append(sums, style="default")))

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
    return f"{stage['items_done']}/{stage['items_total']}{failed}, {stage['credits_used']} credits"


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"
