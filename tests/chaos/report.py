"""Turn what the suite has measured into the tables of docs/reliability.md.

`python -m tests.chaos.report` reads build/chaos/*.jsonl, of each fault and engines the last line,
and replaces what stands between the page's two marks. Nobody writes a figure by hand.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.faults import FAULTS
from tests.chaos.scenario import Scenario, slug

SHOWN = 2  # findings of a fault
PAGE = Path("docs/reliability.md")
MEASURED = Path("build/chaos")
BEGIN, END = "<!-- measured -->\n", "<!-- end of what was measured -->\n"
TITLES = {
    "embedded": ("On the embedded engines", "make chaos"),
    "real": ("On Apache Kafka and PostgreSQL", "make chaos-kafka"),
}
HEAD = "| Fault | Expected | Observed | How to repeat it |\n| --- | --- | --- | --- |\n"


def latest(lines: Iterable[str]) -> dict[str, Any]:
    """Return the last result of each fault."""
    return {result["fault"]: result for result in map(json.loads, lines)}


def observed(result: Mapping[str, Any]) -> str:
    """Return in words what was measured."""
    parts = [*_times(result), *_repeated(result["repeated"]), *_answers(result)]
    return "; ".join([*parts, *_found(result["findings"])])


def _found(findings: Sequence[str]) -> Iterator[str]:
    """Yield what went wrong: runs first, as they say most."""
    ordered = sorted(findings, key=lambda finding: not finding.startswith("run-"))
    for finding in ordered[:SHOWN]:
        yield f"**not as expected: {finding}**"
    if len(ordered) > SHOWN:
        yield f"**and {len(ordered) - SHOWN} more findings**"


def _times(result: Mapping[str, Any]) -> Iterator[str]:
    if result["held_seconds"] >= 1:
        yield f"held {result['held_seconds']:g} s"
    if result["recovered_seconds"] is not None:
        yield f"a new run was through {result['recovered_seconds']:g} s after healing"
    if result["rest_seconds"] is not None:
        yield f"all at rest after {result['rest_seconds']:g} s"


def _repeated(counts: Mapping[str, int]) -> Iterator[str]:
    if counts:
        yield (
            f"of {counts['batches']} batches {counts['asked_again']} asked for again, "
            f"{counts['reported_again']} reported again, {counts['charged_twice']} charged twice"
        )


def _answers(result: Mapping[str, Any]) -> Iterator[str]:
    said = ", ".join(f"{count} of {status}" for status, count in result["answers"].items())
    if said:
        yield f"answers {said}, the slowest {result['slowest_answer']:g} s"


def table(name: str, results: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row for each fault that has a meaning on these engines, measured or not."""
    for scenario in FAULTS:
        if scenario.on in ("both", name):
            yield row(scenario, results.get(scenario.name), TITLES[name][1])


def row(scenario: Scenario, result: Mapping[str, Any] | None, command: str) -> str:
    """Return one row. A cell must not hold what would end it."""
    repeat = f"{command} ONLY={slug(scenario.name)}"
    told = "not measured yet" if result is None else observed(result)
    seed = "" if result is None else f" SEED={result['seed']}"
    cells = (scenario.name, scenario.expected, told, f"`{repeat}{seed}`")
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |\n"


def page(text: str, measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page with new tables; one of which nothing was measured stays as it is."""
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    sections = _sections(old)
    for name, results in measured.items():
        sections[TITLES[name][0]] = HEAD + "".join(table(name, results))
    tables = (f"\n## {title}\n\n{sections[title]}" for title, _ in TITLES.values())
    return f"{before}{BEGIN}{''.join(tables)}\n{END}{after}"


def _sections(old: str) -> dict[str, str]:
    found = dict.fromkeys((title for title, _ in TITLES.values()), "Not measured yet.\n")
    for part in old.split("\n## ")[1:]:
        title, _, body = part.partition("\n\n")
        found[title] = body.rstrip("\n") + "\n"
    return found


def main() -> None:
    """Write the page."""
    files = {name: MEASURED / f"{name}.jsonl" for name in TITLES}
    measured = {
        name: latest(file.read_text().splitlines()) for name, file in files.items() if file.exists()
    }
    if not measured:
        sys.exit("nothing was measured: run make chaos first")
    PAGE.write_text(page(PAGE.read_text(), measured))


if __name__ == "__main__":
    main()
