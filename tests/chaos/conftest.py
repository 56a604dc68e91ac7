"""One world a kind for all scenarios that leave it sound; what cannot run here is said."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.scenario import Result, Scenario, play, slug
from tests.chaos.world import Kind, World
from tests.system.septet import ON_REAL_ENGINES

ENGINES = "Apache Kafka and PostgreSQL" if ON_REAL_ENGINES else "embedded engines"
RESULTS = Path("build/chaos") / ("real.jsonl" if ON_REAL_ENGINES else "embedded.jsonl")
SEED = int(os.getenv("SEPTET_CHAOS_SEED") or 0) or random.randrange(1, 1_000_000)


def why_not(scenario: Scenario) -> str:
    """Return what keeps the scenario from being played here, nothing when it can be."""
    if scenario.on not in ("both", "real" if ON_REAL_ENGINES else "embedded"):
        return f"has no meaning on the {ENGINES}"
    if "root" in scenario.needs and (os.geteuid() != 0 or shutil.which("mount") is None):
        return "needs root, who can mount a small disk"
    if "cc" in scenario.needs and shutil.which("cc") is None:
        return "needs a C compiler, for the library that puts clocks wrong"
    return ""


PLAYED = [scenario for scenario in FAULTS if not why_not(scenario)]
LEFT_OUT = {scenario.name: why for scenario in FAULTS if (why := why_not(scenario))}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "scenario" in metafunc.fixturenames:
        names = [slug(scenario.name) for scenario in PLAYED]
        metafunc.parametrize("scenario", PLAYED, ids=names)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Play the scenarios of a kind of world one after another: it is started once."""
    kinds = ["plain", "proxied", "clock", "small"]

    def place(item: pytest.Item) -> int:
        spec = getattr(item, "callspec", None)
        scenario = spec.params.get("scenario") if spec is not None else None
        return kinds.index(scenario.world) if isinstance(scenario, Scenario) else -1

    items.sort(key=place)


def pytest_report_header() -> str:
    return f"chaos: {len(PLAYED)} scenarios on the {ENGINES}, SEPTET_CHAOS_SEED={SEED}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, why in LEFT_OUT.items():
        terminalreporter.write_line(f"left out: {name}: {why}")


class Stage:
    """Holds the present world; one that a scenario did not leave sound is not used again."""

    def __init__(self) -> None:
        self.world: World | None = None

    def world_of(self, kind: Kind) -> World:
        if self.world is not None and self.world.kind != kind:
            self.close()
        if self.world is None:
            world = World(kind, SEED)
            try:
                world.start()
            except BaseException:
                world.close()
                raise
            self.world = world
        return self.world

    def close(self) -> None:
        if self.world is not None:
            self.world.close()
            self.world = None


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    held = Stage()
    yield held
    held.close()


@pytest.fixture
def played(stage: Stage) -> Callable[[Scenario], Result]:
    """Give what plays a scenario and writes down what was seen."""

    def perform(scenario: Scenario) -> Result:
        world = stage.world_of(scenario.world)
        result = Result(scenario.name, scenario.expected, ENGINES, SEED)
        sound = False
        try:
            play(scenario, world, result)
            sound = not result.findings
        except BaseException as error:  # an interrupted scenario is no result without findings
            result.findings.append(f"{type(error).__name__}: {error}")
            raise
        finally:
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            with RESULTS.open("a") as lines:
                lines.write(json.dumps(asdict(result)) + "\n")
            if not sound:
                print(world.deployment.said())  # noqa: T201  # pytest shows it of a failed test
                stage.close()
        return result

    return perform
