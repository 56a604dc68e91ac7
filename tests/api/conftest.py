"""The fixtures of the API's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Client, Tenant, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.engine.dispose()
    world.pending.close()


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
