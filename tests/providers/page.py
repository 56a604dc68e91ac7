"""Writes the table of misbehaviours into docs/ai.md: `python -m tests.providers.page`."""

from pathlib import Path

from tests.providers.misbehaviours import ROWS

PAGE = Path(__file__).parents[2] / "docs" / "ai.md"
BEGIN, END = "<!-- misbehaviours -->\n", "<!-- end of misbehaviours -->\n"
FATES = {
    "answered": "answered",
    "unavailable": "waits",
    "rate_limited": "waits",
    "out_of_credits": "pauses",
    "key_refused": "pauses",
    "misconfigured": "pauses",
}


def table() -> str:
    """Return a row for each misbehaviour, as it is tested."""
    lines = ["| The server … | Septet … | The run | Calls in the log |", "|---|---|---|---|"]
    for row in ROWS:
        fate = FATES.get(row.outcome, "goes on without the item")
        lines.append(f"| {row.name} | {row.page} | {fate} | {'; '.join(row.calls)} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page with the table of now."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
