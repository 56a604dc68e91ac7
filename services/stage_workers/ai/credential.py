"""Where a provider is asked and with which key: what its callers share a gate by."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """An address up to and with /v1, and a key that no text of ours shows; "" sends none.

    `timeout` is the longest that one call may take, in seconds; `calls_at_once` are those under way
    in one process.
    """

    base_url: str
    api_key: str = field(repr=False)
    timeout: float = 60
    calls_at_once: int = 8
