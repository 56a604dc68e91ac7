"""The fixtures of the API's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.api import sender
from tests.api.world import Client, Tenant, World


@pytest.fixture
def limits() -> dict[str, int]:
    """Limit nothing; a test that is about limits says which."""
    return {}


@pytest.fixture
def world(
    tmp_path: Path, limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Give a world that is patient: on a busy machine no answer becomes a pending one."""
    monkeypatch.setattr(sender, "ANSWER_WITHIN", 50)
    world = World(tmp_path, **limits)
    yield world
    world.engine.dispose()
    world.pending.close()
    world.key_uses.close()
    world.vault.close()


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    client = Client(world)
    yield client
    client.close()


@pytest.fixture
def one(world: World, client: Client) -> Tenant:
    return Tenant(world, client, "one")


@pytest.fixture
def other(world: World, client: Client) -> Tenant:
    return Tenant(world, client, "other")
