"""One service for all tests that change nothing of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.service.worlds import World, make_world, served


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def client(world: World) -> Iterator[TestClient]:
    with served(world) as client:
        yield client
