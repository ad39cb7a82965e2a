from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.features.helpers import HOLIDAYS, lead_rows, noisy, series
from tests.frames import BACKENDS, Backend, Row
from tests.serving.histories import HOUR, frame
from tests.strategies import START, hourly_tables
from workload_forecast.errors import DataError, SchemaError, SettingsError
from workload_forecast.features.build import LOOK_BACK_HOURS, build_features
from workload_forecast.features.calendar import calendar_table
from workload_forecast.schemas import CALENDAR, FEATURE_NAMES, HOURLY_LOAD
from workload_forecast.serving.history import Prepared, prepare


def at(hours: int) -> datetime:
    return START + hours * HOUR


def rows_of(prepared: Prepared) -> dict[tuple[str, datetime], dict[str, float | None]]:
    """Every prepared row by server and hour, unknown values as None."""
    return {
        (server, prepared.start + k * HOUR): {
            name: None if math.isnan(value) else value
            for name, value in zip(FEATURE_NAMES, prepared.features[position, k].tolist(), strict=True)
        }
        for server, position in prepared.servers.items()
        for k in range(prepared.hours)
    }


def training_rows(rows: list[Row], missing_hours: str) -> dict[tuple[str, datetime], Mapping[str, Any]]:
    """The rows of the feature table that the ETL makes (on DuckDB) of the whole history, by server and hour."""
    calendar = calendar_table(min(row["hour"] for row in rows), max(row["hour"] for row in rows)).to_pylist()
    table = Backend("duckdb").run(
        build_features, (HOURLY_LOAD, rows), (CALENDAR, calendar), missing_hours=missing_hours
    )
    return {(row["server"], row["hour"]): row for row in table}


def assert_same(found: Mapping[str, float | None], expected: Mapping[str, Any], where: object) -> None:
    for name in FEATURE_NAMES:
        wanted = expected[name]
        assert found[name] == (None if wanted is None else float(wanted)), (name, where)


@pytest.mark.parametrize("missing_hours", ["unknown", "zero"])
def test_features_are_the_bits_of_the_training_table(missing_hours: str) -> None:
    """Servers with few and many gaps; starts in the middle of the history, so that training knows what comes."""
    seen = {"a": 0.97, "b": 0.5, "c": 0.05}
    # one server is seen in every hour, so that it is known up to when there was something to see
    rows = [row for s, share in seen.items() for row in noisy(1100, seed=ord(s), observed=share, server=s)]
    rows += series(5.0, range(1100), "always")
    table = training_rows(rows, missing_hours)
    for start in (at(200), at(740), at(900), at(1052)):
        found = rows_of(prepare(frame(rows), start, 48, missing_hours=missing_hours))  # type: ignore[arg-type]
        assert len(found) == 4 * 48
        for key, row in found.items():
            assert_same(row, table[key], key)


@pytest.mark.parametrize("missing_hours", ["unknown", "zero"])
def test_rows_from_the_newest_hour_are_the_bits_of_a_backtests(missing_hours: str) -> None:
    """Those that start later have longer leads; a row does not depend on the start that is asked for."""
    rows = [row for s in "abc" for row in noisy(1000, seed=ord(s), observed=0.8, server=s)] + series(
        5.0, [*range(1000)], "d"
    )
    newest = at(900)
    table = lead_rows(Backend("duckdb"), rows, nw.col("hour") == newest, missing_hours)
    wanted = {(row["server"], row["hour"]): row for row in table}
    past = frame([row for row in rows if row["hour"] <= newest])
    for start, hours in ((at(901), 48), (at(911), 38)):
        prepared = prepare(past, start, hours, missing_hours=missing_hours, from_newest=True)  # type: ignore[arg-type]
        found = rows_of(prepared)
        assert len(found) == 4 * hours
        for key, row in found.items():
            assert_same(row, wanted[key], key)


@settings(max_examples=5, deadline=None)
@given(rows=hourly_tables(max_rows_each=3), offset=st.integers(0, 70), hours=st.integers(1, 48))
def test_features_agree_with_the_oracle_and_every_hour_is_there(rows: list[Row], offset: int, hours: int) -> None:
    start = max(row["hour"] for row in rows) + (1 + offset) * HOUR
    found = rows_of(prepare(frame(rows), start, hours, missing_hours="unknown"))
    expected: dict[tuple[str, datetime], Row] = {}
    for server in {row["server"] for row in rows}:
        own = [row for row in rows if row["server"] == server]
        beyond = (start - max(row["hour"] for row in own)) // HOUR + hours
        expected |= {(row["server"], row["hour"]): row for row in oracle.features(own, "unknown", beyond, HOLIDAYS)}
    servers = {row["server"] for row in rows if row["hour"] >= start - LOOK_BACK_HOURS * HOUR}
    assert list(found) == [(server, start + k * HOUR) for server in sorted(servers) for k in range(hours)]
    for key, row in found.items():
        for name in FEATURE_NAMES:
            value, wanted = row[name], expected[key][name]
            assert (value is None) == (wanted is None), (name, key)
            assert value is None or value == pytest.approx(wanted, rel=1e-9, abs=1e-9), (name, key)


@pytest.mark.parametrize("missing_hours", ["unknown", "zero"])
def test_nothing_at_or_after_the_start_is_used(missing_hours: str) -> None:
    rows, start = noisy(500, seed=3), at(400)
    known = [row for row in rows if row["hour"] < start]
    later = [row | {"total_load": 1e6} for row in rows if row["hour"] >= start]
    before, after = (
        prepare(frame(part), start, 48, missing_hours=missing_hours)  # type: ignore[arg-type]
        for part in (known, known + later)
    )
    assert np.array_equal(before.features, after.features, equal_nan=True)
    assert np.array_equal(before.same_hour, after.same_hour, equal_nan=True)


def test_no_feature_is_newer_than_the_horizon() -> None:
    """Of the 48 hours to come, the one at k sees nothing of the last 48 − k hours before the start."""
    rows, start = noisy(400, seed=4), at(400)
    draw = random.Random(1)
    for k in (0, 1, 20, 47):
        newest = start + (k - 48) * HOUR
        changed = [row | {"total_load": draw.uniform(1e3, 2e3)} if row["hour"] > newest else row for row in rows]
        seen = [row | {"total_load": draw.uniform(1e3, 2e3)} if row["hour"] == newest else row for row in rows]
        before, after, other = (
            prepare(frame(part), start, 48, missing_hours="unknown").features[0, k] for part in (rows, changed, seen)
        )
        assert np.array_equal(before, after, equal_nan=True)
        assert not np.array_equal(before, other, equal_nan=True) or newest not in {row["hour"] for row in rows}


def test_a_longer_history_changes_nothing_that_features_reach() -> None:
    rows, start = noisy(2000, seed=5), at(2000)
    near = [row for row in rows if row["hour"] >= start - LOOK_BACK_HOURS * HOUR]
    long, short = (prepare(frame(part), start, 48, missing_hours="unknown") for part in (rows, near))
    assert np.array_equal(long.features, short.features, equal_nan=True)


def test_idle_hours_before_the_reached_ones_make_the_first_ones_known_to_be_idle() -> None:
    """With `zero`, a server that was there before was idle; one that had not come yet is unknown."""
    start = at(1000)
    old = series(5.0, [100], "old") + series(5.0, range(900, 1000), "old")
    new = series(5.0, range(900, 1000), "new")
    found = rows_of(prepare(frame(old + new), start, 1, missing_hours="zero"))
    assert found["old", start]["total_load_lag_168h"] == 0.0
    assert found["old", start]["total_load_lag_730h"] == 0.0
    assert found["new", start]["total_load_lag_168h"] is None


@pytest.mark.parametrize(("known_until", "expected"), [(None, 0.0), (at(290), None)])
def test_a_server_that_fell_silent_was_idle_as_long_as_anything_was_seen(
    known_until: datetime | None, expected: float | None
) -> None:
    start = at(344)
    rows = series(5.0, range(280), "silent") + series(5.0, range(300), "other")
    prepared = prepare(frame(rows), start, 1, missing_hours="zero", known_until=known_until)
    found = rows_of(prepared)["silent", start]
    assert found["total_load_lag_48h"] == expected  # the hour 296
    assert found["total_load_lag_55h"] == 0.0  # the hour 289
    unknown = rows_of(prepare(frame(rows), start, 1, missing_hours="unknown"))["silent", start]
    assert unknown["total_load_lag_55h"] is None


def test_the_newest_hour_is_that_of_all_servers_even_if_one_is_wanted() -> None:
    rows = series(5.0, range(250), "silent") + series(5.0, range(300), "other")
    both = prepare(frame(rows), at(300), 48, missing_hours="zero")
    one = prepare(frame(rows), at(300), 48, missing_hours="zero", servers=["silent", "unseen"])
    assert list(one.servers) == ["silent"]
    assert np.array_equal(one.features[0], both.features[both.servers["silent"]], equal_nan=True)


def test_the_last_known_same_hour_is_any_before_the_start() -> None:
    rows = [row for row in series(float, range(100)) if row["hour"] != at(90)]
    prepared = prepare(frame(rows), at(100), 30, missing_hours="unknown")
    expected = [float(100 + k - 24 * (1 + k // 24)) for k in range(30)]
    assert expected[14] == 90
    expected[14] = 66.0
    assert prepared.same_hour[0].tolist() == expected
    short = prepare(frame(series(1.0, [10])), at(30), 24, missing_hours="unknown").same_hour[0]
    assert np.flatnonzero(~np.isnan(short)).tolist() == [4]


KINDS = {
    "pandas": lambda data: data,
    "nanoseconds": lambda data: data.astype({"hour": "datetime64[ns]"}),
    "arrow": pa.Table.from_pandas,
    "polars": pl.from_pandas,
    "lazy": lambda data: pl.from_pandas(data).lazy(),
    "without unused": lambda data: data.drop(columns=["peak_slot", "sessions"]),
    "more columns": lambda data: data.assign(note="x"),
    "shuffled": lambda data: data.sample(frac=1, random_state=1),
    "unknown loads": lambda data: pd.concat([data, data[:1].assign(hour=at(299), total_load=math.nan)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame_is_a_history(kind: str) -> None:
    data = frame(noisy(290, seed=6) + noisy(100, seed=7, server="b"))
    expected = prepare(data, at(300), 48, missing_hours="unknown")
    found = prepare(KINDS[kind](data), at(300), 48, missing_hours="unknown")
    assert found.servers == expected.servers
    assert np.array_equal(found.features, expected.features, equal_nan=True)


def test_a_broken_secondary_measure_counts_as_0() -> None:
    data = frame(noisy(290, seed=6))
    broken, zero = (data.assign(sub_service_1_load=value) for value in (math.nan, 0.0))
    found, expected = (prepare(part, at(290), 2, missing_hours="unknown") for part in (broken, zero))
    assert np.array_equal(found.features, expected.features, equal_nan=True)


@pytest.mark.parametrize("data", [frame([]), pd.DataFrame(columns=list(HOURLY_LOAD.columns)), frame(series(1.0, [5]))])
def test_without_any_known_hour_there_is_no_server(data: pd.DataFrame) -> None:
    prepared = prepare(data, START, 3, missing_hours="zero")
    assert (dict(prepared.servers), prepared.features.shape, prepared.same_hour.shape) == (
        {},
        (0, 3, len(FEATURE_NAMES)),
        (0, 3),
    )


def test_a_server_that_left_long_ago_has_no_history() -> None:
    rows = series(1.0, range(5), "gone") + series(1.0, range(1000), "here")
    assert list(prepare(frame(rows), at(1000), 1, missing_hours="zero").servers) == ["here"]


GOOD = frame(series(1.0, range(50)))
ZONED = GOOD.assign(hour=GOOD["hour"].dt.tz_localize("UTC"))
HALF = pd.concat([GOOD, GOOD[:1].assign(hour=START + timedelta(minutes=30))])
BAD: list[tuple[Any, type[Exception], str]] = [
    (GOOD.drop(columns=["total_load"]), SchemaError, r"the history lacks the column\(s\) total_load; found: server, "),
    (GOOD.astype({"hour": str}), SchemaError, "'hour' must hold times in UTC without a zone, not "),
    (ZONED, SchemaError, "'hour' must hold times in UTC without a zone, not "),
    (GOOD.assign(total_load="much"), SchemaError, "do not have the types of 'hourly_load'"),
    (pd.concat([GOOD, GOOD[3:4]]), DataError, "server a at 2016-06-24 03:00:00 more than once"),
    (HALF, DataError, "2016-06-24 00:30:00, which is no whole hour"),
    (GOOD.assign(server=None), DataError, "a row without a server or an hour"),
    ([1], SchemaError, "a history must be a pandas, pyarrow or polars frame, not list"),
]


@pytest.mark.parametrize(("data", "kind", "message"), BAD)
def test_a_history_that_cannot_be_used_is_explained(data: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as refused:
        prepare(data, at(50), 2, missing_hours="unknown")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (datetime(2016, 7, 1, tzinfo=timezone.utc), "carries a time zone"),
        (datetime(2016, 7, 1, 0, 30), "is not a whole hour"),
        (datetime(1, 1, 1), "must lie between the years 1971 and 2199"),
        (datetime(9999, 12, 31), "must lie between the years"),
    ],
)
def test_a_start_that_cannot_be_is_explained(start: datetime, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        prepare(GOOD, start, 2, missing_hours="unknown")


def test_backends_of_the_tests_hold_the_one_that_serves() -> None:
    """The forecaster runs on polars; that it gives what the other engines give is tested with the features."""
    assert "polars" in BACKENDS
