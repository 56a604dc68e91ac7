"""Who lives on this machine: a beat is the time of a file, renewed by the service's event loop.

Two ask for it. The embedded broker counts members long after their process is gone, so beside it
readiness looks at files of the data folder; Apache Kafka knows better. And a container without HTTP
has nothing else that its health check could ask for: its file is the setting `alive_file`.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from services.settings import Settings

BEAT_EVERY = 1.0  # seconds
SILENT_AFTER = 5.0  # seconds


def place_of(settings: Settings, name: str) -> Path:
    """Return the file whose time says when the service was last alive."""
    return settings.data_dir / "alive" / name


async def beat(files: Sequence[Path]) -> None:
    """Renew the files every second, until cancelled; an event loop that hangs is not alive."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        while True:
            for file in files:
                file.touch()
            await asyncio.sleep(BEAT_EVERY)
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def is_silent(settings: Settings, name: str) -> bool:
    """Tell whether nothing was heard of the service for so long that it is not there."""
    try:
        last = place_of(settings, name).stat().st_mtime
    except FileNotFoundError:
        return True
    return time.time() - last > SILENT_AFTER
