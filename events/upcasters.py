"""Old versions become current: one pure function for every shape that has been replaced.

What was said stays as it was said: store, topic and dead letters keep the bytes and the wire name
of its day. Only a reader that decodes it sees the current class.
"""

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Upcaster = Callable[[Json], Json]

# Old wire name -> function from the JSON object of that version to that of the next one. None has
# been needed yet, as no version has been released: see docs/evolution.md.
UPCASTERS: dict[str, Upcaster] = {}


def upcasts(name: str) -> Callable[[Upcaster], Upcaster]:
    """Enter a function that turns the body of `name` into the next version's.

    It gets a copy of the whole body as it was said, which nobody has checked, and may read the
    envelope's fields but not change them. Raises ValueError when the name has one already, or is
    no wire name.
    """
    following(name)

    def enter(change: Upcaster) -> Upcaster:
        if name in UPCASTERS:
            raise ValueError(f"{name} has two upcasters")
        UPCASTERS[name] = change
        return change

    return enter


def following(name: str) -> str:
    """Return the wire name of the next version. Raises ValueError for what is no wire name."""
    stem, mark, version = name.rpartition(".v")
    if not (stem and mark and version.isascii() and version.isdigit()):
        raise ValueError(f"{name!r} is no wire name: septet.<Name>.v<version>")
    return f"{stem}.v{int(version) + 1}"


def upcast(name: str, body: Json) -> tuple[str, Json]:
    """Return the newest wire name that is known of the message, and its body in that version.

    Raises what an upcaster raises over a body that is not what its name says.
    """
    while (change := UPCASTERS.get(name)) is not None:
        name, body = following(name), change(dict(body))
    return name, body
