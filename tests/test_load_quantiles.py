from __future__ import annotations

import numpy as np
import pytest

from workload_forecast.load_quantiles import LoadQuantiles
from workload_forecast.schemas import LOAD_LEVELS, LOAD_QUANTILES


def test_a_quantile_is_so_many_errors_above_the_expected_load() -> None:
    quantiles = LoadQuantiles(1.0, (-2.0, 0.0, 1.5, 2.0, 10.0))
    found = quantiles.of(np.array([100.0, 3.0, 0.0]), np.array([9.0, 4.0, 0.0]))
    assert tuple(found) == LOAD_QUANTILES
    assert {name: values.tolist() for name, values in found.items()} == {
        "load_p10": [80.0, 0.0, 0.0],  # no load is negative
        "load_p50": [100.0, 3.0, 0.0],
        "load_p90": [115.0, 10.5, 1.5],
        "load_p95": [120.0, 13.0, 2.0],
        "load_p99": [200.0, 53.0, 10.0],
    }


def test_where_something_is_unknown_so_is_the_quantile() -> None:
    quantiles = LoadQuantiles(1.0, (-2.0, 0.0, 1.5, 2.0, 10.0))
    load, error = np.array([np.nan, 1.0, 1.0]), np.array([1.0, np.nan, 1.0])
    for values in quantiles.of(load, error).values():
        assert np.isnan(values).tolist() == [True, True, False]
    for values in LoadQuantiles().of(load, error).values():
        assert np.isnan(values).all(), "nothing was counted"


@pytest.mark.parametrize("factors", [(), (0.0,) * len(LOAD_LEVELS), (-1.0, 0.0, 1.0, 2.0, 1e300)])
def test_what_can_be_right(factors: tuple[float, ...]) -> None:
    assert LoadQuantiles(0.5, factors).problems == []


@pytest.mark.parametrize(
    ("least", "factors"),
    [
        (0.0, (1.0,)),
        (0.0, (0.0, 2.0, 1.0, 3.0, 4.0)),
        (0.0, (0.0, 1.0, 2.0, 3.0, float("inf"))),
        (0.0, (0.0, 1.0, 2.0, 3.0, float("nan"))),
        (-1.0, ()),
        (float("nan"), ()),
    ],
)
def test_what_cannot(least: float, factors: tuple[float, ...]) -> None:
    (problem,) = LoadQuantiles(least, factors).problems
    assert problem.startswith("load quantiles")
