"""Features are made on polars and on Spark; DuckDB, which takes seconds to bind so many columns, makes none."""

from __future__ import annotations

import pytest

from tests.frames import Backend


@pytest.fixture(scope="session", params=["polars", pytest.param("spark", marks=pytest.mark.spark)])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every backend that features are made on, one after the other."""
    return Backend(request.param, request.getfixturevalue("spark") if request.param == "spark" else None)


@pytest.fixture(scope="session")
def light_backend() -> Backend:
    """The one that is fast enough for many small cases."""
    return Backend("polars")
