"""What the end-to-end tests work with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkouts import Checkout, generate_small_data, make_checkout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return make_checkout(tmp_path_factory.mktemp("a checkout") / "workload forecast")


@pytest.fixture(scope="session")
def small_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_small_data(tmp_path_factory.mktemp("data"))
