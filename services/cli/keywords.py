"""`septet keywords`: hand in a file of keywords."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.cli.client import BASE, Json, sign_in
from services.cli.output import Code, Failed, cell, command, emit, group

app = group("Keywords: import them from a file.")

SHOWN = 10


@command(app, "import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with a header row, or JSON; - is stdin")],
    site: Annotated[str, typer.Option(help="Site id")],
) -> None:
    """Import keywords from CSV or JSON. Those that the site has are counted as duplicates."""
    content = _read(file)
    is_json = file.suffix.lower() == ".json" or content.lstrip()[:1] in {b"{", b"["}
    emit_import(
        sign_in("account").post(
            f"{BASE}/planner/keywords",
            content=b'{"keywords": %s}' % content if content.lstrip()[:1] == b"[" else content,
            content_type="application/json" if is_json else "text/csv",
            site_id=site,
        )
    )


def emit_import(done: Json) -> None:
    """Print what became of the rows, the first rejected ones with their reasons."""
    rejected = done["rejected"]
    lines = [counts(done)]
    lines += [f"  row {one['row']}: {cell(one['reason'])}" for one in rejected[:SHOWN]]
    if len(rejected) > SHOWN:
        lines.append(f"  and {len(rejected) - SHOWN} more; see --output json")
    emit(done, "\n".join(lines))


def counts(done: Json) -> str:
    """Return what became of the rows in one line."""
    return (
        f"{done['imported']} keywords imported, {done['duplicates']} duplicates, "
        f"{len(done['rejected'])} rejected"
    )


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Failed(f"cannot read {file}: {error.strerror}", Code.USAGE) from error
