"""Freezes the shapes of messages: `python -m tests.stored.freeze`, for a release with `--release`.

Until a version is released its shape may change, and this command says so on purpose; what has been
released changes no more, so the command refuses.
"""

import argparse
import json
import sys
from typing import Any

from events.upcasters import UPCASTERS
from tests.stored.make import FOLDER
from tests.stored.shapes import FILE, FREEZE, complaints, frozen, frozen_again, shapes_now


def freeze(release: str | None) -> list[str]:
    """Write the shapes down, or return why not. `release` marks all that have no mark yet."""
    kept: dict[str, Any] = frozen() if FILE.exists() else {}
    samples = {path.stem for path in FOLDER.glob("septet.*.json")}
    refused = [
        one for one in complaints(kept, shapes_now(), UPCASTERS, samples) if FREEZE not in one
    ]
    if refused:
        return refused
    shapes = frozen_again(kept, shapes_now())
    for shape in shapes.values():
        shape["released"] = shape["released"] or release
    FILE.write_text(json.dumps(shapes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return []


if __name__ == "__main__":
    asked = argparse.ArgumentParser(prog="python -m tests.stored.freeze", description=__doc__)
    asked.add_argument("--release", metavar="VERSION", help="these shapes go out in this release")
    if lines := freeze(asked.parse_args().release):
        sys.exit("\n".join(lines))
