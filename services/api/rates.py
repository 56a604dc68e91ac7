"""How much one caller may ask of this process: requests a minute, and streams at once.

The counters are this process's memory: of several API processes each grants the whole limit.
"""

import ipaddress
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from services.api.problems import TooManyRequests

REQUESTS_PER_MINUTE = 6000
STREAMS_PER_KEY = 20
ASK_FOR_A_STREAM_AGAIN_AFTER = 5  # seconds
MOST_KNOWN = 10_000  # keys
SWEEP_EVERY = 60.0  # seconds
SITE_OF_IPV6 = 64  # bits: whoever has one such address has all that share them


class Memory(MemoryStorage):
    """The library's counters, without its thread.

    It starts one about once a request, which looks through all counters: with those of 100,000
    addresses that takes longer than the request. Once a minute is enough.
    """

    def __init__(self) -> None:
        super().__init__()
        self._swept = time.time()

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add to the counter, which is forgotten `expiry` seconds after its first hit."""
        now = time.time()
        if now - self._swept >= SWEEP_EVERY:
            self._swept = now
            for old in [one for one, end in self.expirations.items() if end <= now]:
                del self.expirations[old]
                self.storage.pop(old, None)
        if not self.get(key):
            self.expirations[key] = now + expiry
        self.storage[key] += amount
        return self.storage[key]


class Rates:
    """Sliding windows of a minute: one a key, one for the operator, one a stranger's address."""

    def __init__(self, requests_per_minute: int) -> None:
        """Take how many requests a window admits, 0 for no limit."""
        self._limit = RateLimitItemPerMinute(requests_per_minute) if requests_per_minute else None
        self._memory = Memory()
        self._windows = SlidingWindowCounterRateLimiter(self._memory)
        self._known: dict[str, str] = {}

    def known(self, digest: str) -> str | None:
        """Return the id of a key that was good when it was last looked up here."""
        return self._known.get(digest)

    def remember(self, digest: str, key_id: str) -> None:
        """Note that the key is good, so that strangers at the same address do not shut it out."""
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[digest] = key_id

    def forget(self, digest: str) -> None:
        """Note that the key is not good any more."""
        self._known.pop(digest, None)

    def count_key(self, key_id: str) -> None:
        """Count a request of the key. Raises TooManyRequests."""
        self._count("key", key_id)

    def count_operator(self) -> None:
        """Count a request with the admin token. Raises TooManyRequests."""
        self._count("operator")

    def count_stranger(self, address: str) -> None:
        """Count a request without a good key. Raises TooManyRequests."""
        self._count("address", network_of(address))

    def admit_stranger(self, address: str) -> None:
        """Raise TooManyRequests when the address has sent too many requests without a good key."""
        whose = ("address", network_of(address))
        if self._limit is not None and not self._windows.test(self._limit, *whose):
            raise self._refusal(self._limit, whose)

    def _count(self, *whose: str) -> None:
        if self._limit is not None and not self._windows.hit(self._limit, *whose):
            raise self._refusal(self._limit, whose)

    def _refusal(self, limit: RateLimitItemPerMinute, whose: tuple[str, ...]) -> TooManyRequests:
        frees_at = self._windows.get_window_stats(limit, *whose).reset_time
        seconds = int(max(0.0, frees_at - time.time())) + 1
        return TooManyRequests(f"At most {limit.amount:,} requests a minute are answered.", seconds)


def network_of(address: str) -> str:
    """Return whom an address stands for: itself, or for IPv6 the network of one subscriber.

    What is no address, as of a UNIX socket, is all one.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "-"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), SITE_OF_IPV6), strict=False))


class Streams:
    """How many streams each key has open."""

    def __init__(self, most: int) -> None:
        """Take how many a key may have, 0 for no limit."""
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, key_id: str) -> Iterator[None]:
        """Hold one of the key's streams, until it ends in whatever way. Raises TooManyRequests."""
        if self._most and self._open[key_id] >= self._most:
            detail = f"At most {self._most:,} streams at once are open for a key."
            raise TooManyRequests(detail, ASK_FOR_A_STREAM_AGAIN_AFTER)
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]

    def count(self) -> int:
        """Return how many streams are open."""
        return self._open.total()
