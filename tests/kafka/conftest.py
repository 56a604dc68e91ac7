"""A broker that lets in only whom it knows, for all tests of this folder that need one."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import engines
from tests.engines.secured import SecuredBroker


@pytest.fixture(scope="session")
def secured() -> Iterator[SecuredBroker]:
    folder = Path(tempfile.mkdtemp(prefix="septet-secured-"))
    broker = SecuredBroker(folder / "kafka")
    try:
        broker.wait()
        yield broker
    finally:
        broker.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_kafka() -> Iterator[str]:
    """The address of an Apache Kafka whose topics a test leaves as it found them."""
    address, _ = engines.fresh()
    yield address
    engines.release(address)


@pytest.fixture
def kafka() -> Iterator[str]:
    """The address of an empty Apache Kafka of the test's own."""
    address, _ = engines.fresh()
    yield address
    engines.release(address)
