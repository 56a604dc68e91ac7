import pytest

from services.stage_workers.ai.circuit import (
    CLOSED,
    FAILURES,
    FIRST_WAIT,
    LONGEST_WAIT,
    Circuit,
    abandoned,
    answered,
    asked,
    failed,
    opened,
)


def played(*steps: tuple[float, str]) -> list[float]:
    """Return what each ask is told: 0 to call, else the seconds to wait.

    A step is a time and "ask", "answered", "abandoned", or the name of a request that fails.
    """
    circuit, told = CLOSED, []
    for now, step in steps:
        match step:
            case "ask":
                circuit, wait = asked(circuit, now)
                told.append(wait)
            case "answered":
                circuit = answered(circuit)
            case "abandoned":
                circuit = abandoned(circuit)
            case request:
                circuit = failed(circuit, request, now)
    return told


def down(at: float = 0.0) -> list[tuple[float, str]]:
    return [(at, f"request {number}") for number in range(FAILURES)]


@pytest.mark.parametrize(
    ("story", "steps", "told"),
    [
        ("four different failures close nothing", [*down()[1:], (1, "ask")], [0]),
        ("the fifth does", [*down(), (1, "ask"), (4, "ask")], [4, 1]),
        ("one bad request closes nothing, however often", [(0, "bad")] * 50 + [(1, "ask")], [0]),
        (
            "an answer between forgets them",
            [*down()[1:], (0, "answered"), *down()[1:], (1, "ask")],
            [0],
        ),
        (
            "after the wait one probe goes",
            [*down(), (5, "ask"), (5, "ask"), (6, "ask")],
            [0, 10, 10],
        ),
        (
            "its answer lets all go",
            [*down(), (5, "ask"), (6, "answered"), (6, "ask"), (6, "ask")],
            [0, 0, 0],
        ),
        (
            "its failure doubles the wait",
            [*down(), (5, "ask"), (6, "request 1"), (7, "ask"), (16, "ask")],
            [0, 9, 0],
        ),
        (
            "a probe that was cut off lets the next one go",
            [*down(), (5, "ask"), (6, "abandoned"), (6, "ask")],
            [0, 0],
        ),
        (
            "who was under way when it opened makes it no longer",
            [*down(), (1, "late"), (2, "late too"), (5, "ask")],
            [0],
        ),
        (
            "whose answer comes late closes it too",
            [*down(), (1, "answered"), (1, "ask")],
            [0],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_circuit(story: str, steps: list[tuple[float, str]], told: list[float]):
    assert played(*steps) == told, story


def test_waits_grow_to_five_minutes_and_no_further():
    circuit, now, waits = CLOSED, 0.0, []
    for _ in range(9):
        circuit = opened(circuit, now)
        assert circuit.until is not None
        waits.append(circuit.until - now)
        now = circuit.until
    assert waits == [FIRST_WAIT * 2**power for power in range(6)] + [LONGEST_WAIT] * 3


def test_an_answer_brings_back_the_first_wait():
    circuit = answered(opened(opened(CLOSED, 0), 5))
    assert circuit == Circuit()
    assert opened(circuit, 100).until == 100 + FIRST_WAIT
