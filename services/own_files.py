"""Secrets that an installation makes for itself: files that only their owner can read."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def known(path: Path) -> str | None:
    """Return the file's text, none where there is no such file, or nothing in it."""
    with suppress(OSError):
        return path.read_text(encoding="ascii").strip() or None
    return None


def known_or_made(path: Path, make: Callable[[], str]) -> str:
    """Return the file's text; where there is none yet, make it. Of several makers one wins."""
    text = known(path)
    if text is not None:
        return text
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    return path.read_text(encoding="ascii").strip()
