"""The kinds of stores against what each has to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.bench import Bench
from tests.storage.conformance import StoreConformance
from workload_forecast.storage.local_store import LocalStore
from workload_forecast.storage.locations import parse_location
from workload_forecast.storage.stores import open_store


class TestLocal(StoreConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        folder = tmp_path / "a folder"
        folder.mkdir()
        return Bench.in_folder(folder)


@pytest.mark.azurite
class TestAzurite(StoreConformance):
    @pytest.fixture
    def bench(self, blob_bench: Bench) -> Bench:
        return blob_bench


def test_a_path_is_kept_in_a_folder(tmp_path: Path) -> None:
    assert isinstance(open_store(parse_location(str(tmp_path)), {}), LocalStore)
