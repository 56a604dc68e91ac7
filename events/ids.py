"""Ids that follow from their parts, so that doing a thing twice makes the same ids."""

import hashlib
import re

ID = re.compile(r"^[a-z0-9_-]{1,64}$")


def derive(kind: str, *parts: str | int) -> str:
    """Return `kind-` and 96 bits of the parts' SHA-256 in hex: the same parts, the same id.

    The parts are joined by a character that no id has, so ("a", "bc") differs from ("ab", "c").
    """
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode())
    return f"{kind}-{digest.hexdigest()[:24]}"


def is_id(text: str) -> bool:
    """Tell whether the text could be an id of ours; what is not is never looked up."""
    return ID.fullmatch(text) is not None


def run_id_of(command_id: str) -> str:
    """Return the id of the run that this RunRequested starts."""
    return derive("run", command_id)


def batch_id_of(run_id: str, stage: int, number: int) -> str:
    """Return the id of a stage's batch; `number` counts the run's batches from 1."""
    return derive("batch", run_id, stage, number)


def keyword_id_of(site_id: str, keyword: str) -> str:
    """Return a keyword's id; case and spaces are folded, as a keyword is unique per site."""
    return derive("kw", site_id, fold(keyword))


def fold(keyword: str) -> str:
    """Return the keyword in lower case with single spaces: what makes two keywords the same."""
    return " ".join(keyword.casefold().split())
