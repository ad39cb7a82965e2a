"""The blob server and what stands before it, each started once and only by the tests that need it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.storage.bench import Bench
from tests.storage.machines.azurite import Azurite
from tests.storage.machines.faults import Faults, faulty_proxy


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests is nobody to Azure in them."""
    for name in os.environ:
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def proxy(azurite: Azurite) -> Iterator[Faults]:
    with faulty_proxy(azurite.port) as running:
        yield running


@pytest.fixture
def faults(proxy: Faults) -> Faults:
    """A proxy that breaks nothing until it is told to."""
    proxy.reset()
    return proxy


@pytest.fixture
def blob_bench(azurite: Azurite, faults: Faults) -> Bench:
    """A new container in the blob server, behind the proxy."""
    return Bench.in_azurite(azurite, faults, f"c-{uuid.uuid4().hex[:12]}")
