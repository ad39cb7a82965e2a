from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from workload_forecast.planning.replay import Outcome, naive, outcome

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
