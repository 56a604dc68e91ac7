"""A chain of hashes for each key: whoever keeps one of its heads can tell if its past was changed.

A key is a site, or an account for what concerns no site. Every stored event of it is a link, in the
order of the store. Subscribers see the published ones; what stands between two of them, receipts of
what machines say to each other, is hashed apart, so that a subscriber can follow without seeing it.
"""

import hashlib
import re
from dataclasses import dataclass

SIZE = 32  # bytes of a SHA-256
NOTHING = bytes(SIZE)
HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a key's chain: `chain` covers all that was published and what stood between.

    `unseen` covers what has been stored since without being published; it enters the next link.
    """

    chain: bytes
    unseen: bytes = NOTHING


def first(key: str) -> Head:
    """Return the head of a key of which nothing is stored; no two keys begin alike."""
    return Head(hashlib.sha256(b"septet.chain.v1\n" + key.encode()).digest())


def digest_of(name: str, body: bytes) -> bytes:
    """Return SHA-256 of an event: the length of its wire name, the name, the stored bytes.

    The length has four bytes, most significant first, so no two events are framed alike.
    """
    named = name.encode()
    return hashlib.sha256(b"".join((len(named).to_bytes(4, "big"), named, body))).digest()


def link(before: bytes, unseen: bytes, digest: bytes) -> bytes:
    """Return SHA-256 of three times 32 bytes: head before, hash of the unseen, digest."""
    return hashlib.sha256(before + unseen + digest).digest()


def extend(head: Head, digest: bytes, *, shown: bool) -> Head:
    """Return the head after an event that is published, or is not."""
    if shown:
        return Head(link(head.chain, head.unseen, digest))
    return Head(head.chain, link(head.unseen, NOTHING, digest))


def head_in(chain: str | None, unseen: str | None) -> Head | None:
    """Return the head that two headers say, in hex; none when they say none."""
    if chain is None or not HEX.fullmatch(chain):
        return None
    hidden = bytes.fromhex(unseen) if unseen and HEX.fullmatch(unseen) else NOTHING
    return Head(bytes.fromhex(chain), hidden)
