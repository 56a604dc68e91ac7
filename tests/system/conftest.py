"""One Septet serves the tests that harm nobody; those that kill something start their own."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.septet import ON_REAL_ENGINES, Septet, running

# Many of each service need a broker and a database that are made for many.
collect_ignore = [] if ON_REAL_ENGINES else ["test_many.py"]

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def septet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Septet]:
    with running(tmp_path_factory.mktemp("septet") / "data") as started:
        yield started


@pytest.fixture
def own_septet(tmp_path: Path) -> Iterator[Septet]:
    with running(tmp_path / "data") as started:
        yield started
