"""One Septet serves the tests that harm nobody; those that kill something start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.septet import Septet, running


@pytest.fixture(scope="session")
def septet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Septet]:
    with running(tmp_path_factory.mktemp("septet") / "data") as started:
        yield started


@pytest.fixture
def own_septet(tmp_path: Path) -> Iterator[Septet]:
    with running(tmp_path / "data") as started:
        yield started
