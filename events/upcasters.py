"""Old versions become current: one function for every shape that has been replaced."""

from collections.abc import Callable
from typing import Any

Upcaster = Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]

# Old wire name -> function from its body to the newer wire name and body. None has been needed yet;
# tests/stored holds a sample of every version ever shipped, and every one of them must decode.
UPCASTERS: dict[str, Upcaster] = {}


def upcast(name: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the current wire name and body of what an older release wrote."""
    while name in UPCASTERS:
        name, body = UPCASTERS[name](body)
    return name, body
