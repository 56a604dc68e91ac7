"""When a provider that is down is left alone, and when one caller may try it: a pure state machine.

Closed, everybody calls. Open, nobody does. After the wait one caller, the probe, finds out for all.
Times are seconds of any clock that only goes forward.
"""

from dataclasses import dataclass, replace

FAILURES = 5  # different requests in a row that fail, so that one bad request closes no door
FIRST_WAIT = 5.0  # seconds, doubled by each probe that fails
LONGEST_WAIT = 300.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """`failing` are the requests since the last answer; `until` is when an open one lets a probe.

    `wait` is for how long it opens next.
    """

    failing: frozenset[str] = frozenset()
    until: float | None = None
    wait: float = FIRST_WAIT
    is_probing: bool = False

    @property
    def is_open(self) -> bool:
        """Tell whether all but a probe have to wait."""
        return self.until is not None


def asked(circuit: Circuit, now: float) -> tuple[Circuit, float]:
    """Return the circuit, and 0 for who may call, else for how many seconds nobody should."""
    if circuit.until is None:
        return circuit, 0.0
    if now < circuit.until:
        return circuit, circuit.until - now
    if circuit.is_probing:
        return circuit, circuit.wait
    return replace(circuit, is_probing=True), 0.0


def answered(circuit: Circuit) -> Circuit:
    """Return a closed circuit: any answer shows that the provider is there."""
    return circuit if circuit == CLOSED else CLOSED


def failed(circuit: Circuit, request: str, now: float) -> Circuit:
    """Return the circuit after a request failed; of one that is asked often only once counts."""
    if circuit.until is not None:
        return circuit if now < circuit.until else opened(circuit, now)
    failing = circuit.failing | {request}
    circuit = replace(circuit, failing=failing)
    return opened(circuit, now) if len(failing) >= FAILURES else circuit


def opened(circuit: Circuit, now: float) -> Circuit:
    """Return an open circuit, which the next time opens for longer."""
    longer = min(2 * circuit.wait, LONGEST_WAIT)
    return replace(circuit, until=now + circuit.wait, wait=longer, is_probing=False)


def abandoned(circuit: Circuit) -> Circuit:
    """Return the circuit after its probe was cut off without finding out."""
    return replace(circuit, is_probing=False)


CLOSED = Circuit()
