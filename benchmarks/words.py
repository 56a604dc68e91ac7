"""Keywords for benchmarks: real ones of the labelled file, a different stretch for every site."""

import csv
from pathlib import Path

LABELLED = Path(__file__).parent / "data" / "keywords-labelled.csv"


def keywords_for(site: int, count: int) -> tuple[str, ...]:
    """Return so many keywords; beyond the file's length they go round with a number added."""
    with LABELLED.open(encoding="utf-8", newline="") as file:
        words = [row["keyword"] for row in csv.DictReader(file)]
    start = site * count
    rounds = (divmod(at, len(words)) for at in range(start, start + count))
    return tuple(f"{words[at]} {number}" if number else words[at] for number, at in rounds)
