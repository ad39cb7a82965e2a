"""The whole feature table: against the oracle, and the promises that hold for every feature."""

from __future__ import annotations

import random
from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.features.helpers import HOLIDAYS, at, features, noisy, one, series
from tests.frames import Backend, Row, assert_same_rows, by_key
from tests.strategies import hourly_tables
from workload_forecast.errors import SchemaError
from workload_forecast.features.build import build_features
from workload_forecast.features.calendar import calendar_table
from workload_forecast.schemas import CALENDAR, FEATURE_NAMES, FEATURES, HORIZON_HOURS, HOURLY_LOAD, MEASURES

KEY = ("server", "hour")

options = {"missing_hours": st.sampled_from(["unknown", "zero"]), "extend_hours": st.sampled_from([0, 1, 48, 60])}


def check(backend: Backend, rows: list[Row], missing_hours: str, extend_hours: int) -> None:
    found = features(backend, rows, missing_hours, extend_hours=extend_hours)
    assert_same_rows(found, oracle.features(rows, missing_hours, extend_hours, HOLIDAYS), FEATURES, rel=1e-9)


@settings(max_examples=6, deadline=None)
@given(rows=hourly_tables(), **options)
def test_agrees_with_the_oracle(light_backend: Backend, rows: list[Row], missing_hours: str, extend_hours: int) -> None:
    check(light_backend, rows, missing_hours, extend_hours)


@pytest.mark.parametrize(("missing_hours", "extend_hours"), [("unknown", 48), ("zero", 1)])
def test_five_weeks_of_servers_with_gaps_agree_with_the_oracle(
    backend: Backend, missing_hours: str, extend_hours: int
) -> None:
    seen = {"a": 0.95, "b": 0.4, "c": 0.02}
    rows = noisy(850, seed=1, observed=seen["a"]) + series(7.5, [30], "d")
    rows += [row for server in "bc" for row in noisy(300, seed=2, observed=seen[server], server=server)]
    check(backend, rows, missing_hours, extend_hours)


def test_the_result_has_the_columns_and_types_of_its_table(backend: Backend) -> None:
    hourly = backend.frame(HOURLY_LOAD, noisy(5))
    calendar = backend.frame(CALENDAR, calendar_table(at(0), at(5)).to_pylist())
    frame = build_features(hourly, calendar, missing_hours="unknown")
    assert list(frame.collect_schema().items()) == list(FEATURES.columns.items())


def test_a_missing_column_is_named(light_backend: Backend) -> None:
    hourly = light_backend.frame(HOURLY_LOAD, noisy(5)).drop("secure_bytes_load")
    calendar = light_backend.frame(CALENDAR, calendar_table(at(0), at(5)).to_pylist())
    with pytest.raises(SchemaError, match=r"'hourly_load' lacks the column\(s\) secure_bytes_load"):
        build_features(hourly, calendar, missing_hours="unknown")


def changed(row: Row, draw: random.Random) -> Row:
    return row | {name: draw.uniform(1000, 2000) for name in MEASURES}


@pytest.mark.parametrize("missing_hours", ["unknown", "zero"])
def test_nothing_newer_than_the_horizon_enters_any_feature(light_backend: Backend, missing_hours: str) -> None:
    """For random hours: a server whose newer values are other ones, and one that has none but (changed) its last.

    The last one stays, so that the hour still has a row.
    """
    draw, original = random.Random(4), noisy(400, seed=4)
    hours = [49, 72, 215, 216, 263, *draw.sample(range(50, 399), 10)]
    rows = list(original)
    for hour in hours:
        newest = at(hour - HORIZON_HOURS)
        kept = [row for row in original if row["hour"] <= newest]
        newer = [changed(row, draw) for row in original if row["hour"] > newest]
        rows += [row | {"server": f"changed {hour}"} for row in kept + newer]
        rows += [row | {"server": f"removed {hour}"} for row in kept + newer[-1:]]
    found = by_key(features(light_backend, rows, missing_hours), KEY)
    for hour in hours:
        before = found["a", at(hour)]
        for damage in ("changed", "removed"):
            after = found[f"{damage} {hour}", at(hour)]
            for name in FEATURE_NAMES:
                assert before[name] == after[name], (name, hour, damage)


def test_a_value_at_the_horizon_does_enter(light_backend: Backend) -> None:
    """The counterpart of the property above: it would hold for features that see nothing at all."""
    rows = series(5.0, range(300))
    rows[300 - HORIZON_HOURS] = changed(rows[300 - HORIZON_HOURS], random.Random(0))
    before = one(features(light_backend, series(5.0, range(301))), at(300))
    after = one(features(light_backend, rows + series(5.0, [300])), at(300))
    seen = {name for name in FEATURE_NAMES if before[name] != after[name]}
    means = {f"{measure}_mean_{window}" for measure in MEASURES for window in ("1d", "7d")}
    shape = {"total_load_std_7d", "total_load_max_7d", "total_load_same_hour_mean_7d"}
    assert seen == means | shape | {
        "total_load_lag_48h",
        "total_load_last_same_hour",
        "expected_load",
        "expected_error",
    }


def test_the_horizon_of_extended_hours_reaches_the_last_observed_one(light_backend: Backend) -> None:
    rows = series(float, range(300))
    found = features(light_backend, rows, extend_hours=HORIZON_HOURS)
    last = one(found, at(299 + HORIZON_HOURS))
    assert last["total_load"] is None
    assert last["total_load_lag_48h"] == 299.0
    assert last["total_load_mean_1d"] == pytest.approx(299 - 23 / 2)
    assert all(last[name] is not None for name in FEATURE_NAMES if name != "total_load_lag_730h")


def test_extending_changes_no_row_within_the_history(light_backend: Backend) -> None:
    rows = noisy(260, seed=5)
    plain, extended = (by_key(features(light_backend, rows, extend_hours=n), KEY) for n in (0, 48))
    assert {key: row for key, row in extended.items() if key in plain} == plain
    assert len(extended) == len(plain) + 48


def test_rows_from_an_hour_on_are_those_of_the_whole(light_backend: Backend) -> None:
    """What only older rows need is left out, and nothing else."""
    rows = noisy(1000, seed=4) + noisy(300, seed=5, server="b")
    whole = by_key(features(light_backend, rows), KEY)
    for first in (at(0), at(290), at(900)):
        late = by_key(features(light_backend, rows, since=first), KEY)
        assert late == {key: row for key, row in whole.items() if row["hour"] >= first}


def test_another_server_changes_nothing_for_the_first(light_backend: Backend) -> None:
    alone = noisy(250, seed=5)
    together = [*noisy(400, seed=6, server="0"), *alone, *noisy(300, seed=7, server="b")]
    first = [row for row in features(light_backend, together) if row["server"] == "a"]
    assert by_key(first, KEY) == by_key(features(light_backend, alone), KEY)


def test_a_server_of_a_single_hour_gets_rows(light_backend: Backend) -> None:
    found = features(light_backend, series(4.0, [10]), extend_hours=HORIZON_HOURS)
    assert len(found) == 1 + HORIZON_HOURS
    newest = one(found, at(10 + HORIZON_HOURS))
    assert (newest["total_load_lag_48h"], newest["total_load_mean_7d"], newest["total_load_std_7d"]) == (4.0, 4.0, 0.0)
    assert one(found, at(10))["observed_hours_7d"] == 0.0


def test_the_order_of_the_rows_does_not_matter(light_backend: Backend) -> None:
    rows = noisy(300, seed=8) + noisy(300, seed=9, server="b")
    shuffled = random.Random(1).sample(rows, len(rows))
    assert by_key(features(light_backend, rows), KEY) == by_key(features(light_backend, shuffled), KEY)


def test_calendar_columns_are_those_of_the_hour(backend: Backend) -> None:
    """A Sunday, the Monday of a holiday, and a leap day, on every backend."""
    rows = series(float, [0, 300])
    found = features(backend, rows)
    sunday, holiday = one(found, datetime(2016, 7, 3, 17)), one(found, datetime(2016, 7, 4, 8))
    assert (sunday["weekday"], sunday["is_us_holiday"], sunday["is_business_hour"]) == (7, 0, 1)
    assert (holiday["weekday"], holiday["is_us_holiday"], holiday["is_morning"]) == (1, 1, 1)
    assert sunday["trend_days"] == pytest.approx((date(2016, 7, 3) - date(1970, 1, 1)).days + 17 / 24)
