from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from workload_forecast.planning.replay import Outcome, naive, outcome, saved_at, trade_off

START = datetime(2016, 7, 1)


def plan(**servers: tuple[str, str]) -> pl.DataFrame:
    rows = [(name, action, machine) for name, (action, machine) in servers.items()]
    return pl.DataFrame(rows, schema=["server", "action", "machine"], orient="row")


def loads(**servers: list[float | None]) -> pl.DataFrame:
    rows = [(name, START + timedelta(hours=n), load) for name, of in servers.items() for n, load in enumerate(of)]
    return pl.DataFrame(rows, schema=["server", "hour", "total_load"], orient="row", strict=False)


def test_what_would_have_happened_is_counted() -> None:
    made = plan(b=("consolidate", "a"), a=("keep", "a"), c=("scale_out", "c"), d=("scale_out", "d"), e=("keep", "e"))
    came = loads(a=[6, 6, 2], b=[5, 3, None], c=[12, 1, 1], d=[2, 2, 2], e=[9.5, 1, 1], stranger=[99, 99, 99])
    assert outcome(made, came, capacity=10.0, usable=9.0) == Outcome(
        servers=5, machines=4, overloads=2, avoidable=1, scale_outs=2, needed=1, missed=1
    )


def test_hours_without_a_row_had_no_load() -> None:
    assert outcome(plan(a=("keep", "a")), loads(), 1.0, 1.0) == Outcome(1, 1, 0, 0, 0, 0, 0)


def test_the_naive_forecast_repeats_the_newest_known_day() -> None:
    forecast = pl.DataFrame(
        {"total_load_last_same_hour": [1.0, 2.0, 2.5, None], "expected_load": [0.0] * 4, "probability_low": [0.5] * 4}
    )
    said = naive(forecast, 1.0, 2.0)
    assert said["expected_load"].to_list() == [1.0, 2.0, 2.5, None]
    assert said["probability_low"].to_list() == [1.0, 0.0, 0.0, None]
    assert said["probability_high"].to_list() == [0.0, 0.0, 1.0, None]


def test_plans_are_summed_up_by_how_careful_they_are() -> None:
    rows = [("model", 0.0, 4, 2, 12), ("model", 0.0, 4, 3, 0), ("model", 1.0, 4, 4, 0), ("naive", 1.0, 2, 1, 24)]
    columns = ["forecast", "errors", "servers", "machines", "avoidable"]
    assert trade_off(pl.DataFrame(rows, schema=columns, orient="row")).rows() == [
        ("model", 0.0, pytest.approx(3 / 8), 12 / (5 * 48)),
        ("model", 1.0, 0.0, 0.0),
        ("naive", 1.0, 0.5, 0.5),
    ]


@pytest.mark.parametrize(
    ("allowed", "saved"), [(0.005, None), (0.01, 0.2), (0.02, 0.3), (0.03, 0.4), (0.035, 0.4), (0.04, 0.4), (9.0, 0.4)]
)
def test_what_is_saved_at_as_many_overloads(allowed: float, saved: float | None) -> None:
    """Of plans with as many overloads the best counts, and plans that save less for more overloads do not."""
    curve = pl.DataFrame({"overloads": [0.04, 0.03, 0.01, 0.01], "machines_saved": [0.35, 0.4, 0.2, 0.1]})
    assert saved_at(curve, allowed) == pytest.approx(float("nan") if saved is None else saved, nan_ok=True)
