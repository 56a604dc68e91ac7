"""Real processes under load, one fault after another: nothing lost, nothing twice, soon at rest."""

from collections.abc import Callable

from tests.chaos.scenario import Result, Scenario


def test_a_fault_costs_nothing(scenario: Scenario, played: Callable[[Scenario], Result]):
    result = played(scenario)
    assert result.findings == []
