from __future__ import annotations

import math
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.frames import Backend
from workload_forecast.config import Thresholds
from workload_forecast.model.load_summary import LEVEL_EDGES, LoadSummary, population_stability, summarise_loads
from workload_forecast.model.split import TimeSplit
from workload_forecast.schemas import DOUBLE, TEXT, TIMESTAMP, Table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: The columns that are read.
LOADS = Table("loads", {"server": TEXT, "hour": TIMESTAMP, "total_load": DOUBLE, "trend_days": DOUBLE})
START = datetime(2016, 6, 1)
HOUR = timedelta(hours=1)
SPLIT = TimeSplit(START, START + HOUR * 78, START + HOUR * 99)  # 30 hours of training, 48 of gap, 22 of test
THRESHOLDS = Thresholds(10, 20)
Series = dict[str, dict[int, float | None]]  # of each server: hour → load


def rows_of(series: Series) -> list[dict[str, Any]]:
    return [
        {
            "server": server,
            "hour": START + HOUR * hour,
            "total_load": load,
            "trend_days": (START - datetime(1970, 1, 1)) / timedelta(days=1) + hour / 24,
        }
        for server, loads in series.items()
        for hour, load in loads.items()
    ]


def summarise(backend: Backend, series: Series) -> LoadSummary:
    return summarise_loads(backend.frame(LOADS, rows_of(series)), SPLIT, THRESHOLDS)


def known_only(loads: dict[int, float | None]) -> dict[int, float]:
    return {hour: load for hour, load in loads.items() if load is not None and not math.isnan(load)}


def expected_server(server: str, loads: dict[int, float | None]) -> dict[str, Any]:
    """Of one server, in plain Python."""
    found: dict[str, Any] = {"server": server}
    for period, (first, last) in {"train": (0, 29), "test": (78, 99)}.items():
        inside = {hour: load for hour, load in loads.items() if first <= hour <= last}
        known = list(known_only(inside).values())
        found |= {f"{period}_hours": len(inside), f"{period}_known": len(known)}
        found[f"{period}_median"] = median(known) if known else math.nan
        found[f"{period}_low"] = sum(load <= 10 for load in known)
        found[f"{period}_medium"] = sum(10 < load <= 20 for load in known)
        found[f"{period}_high"] = sum(load > 20 for load in known)
    distances = [abs(v - found["train_median"]) for h, v in known_only(loads).items() if h < 30]
    middle = median(distances) if distances else math.nan
    found["spread"] = middle * 1.4826 if middle else sum(distances) / len(distances) * 1.2533
    hours = sorted(hour for hour in known_only(loads) if hour < 100)
    found["longest_gap"] = max((b - a - 1 for a, b in pairwise(hours)), default=0)
    return found


def expected_levels(series: Series) -> dict[str, list[int]]:
    counts = {"train": [0] * 9, "test": [0] * 9}
    for server, loads in series.items():
        facts = expected_server(server, loads)
        if not (facts["train_known"] and facts["test_known"]):
            continue
        for hour, load in known_only(loads).items():
            distance, spread = load - facts["train_median"], facts["spread"]
            if spread:
                bin_ = sum(distance > e * spread if e > 0 else distance >= e * spread for e in LEVEL_EDGES)
            else:
                bin_ = 4 if distance == 0 else 0 if distance < 0 else 8
            if hour < 30:
                counts["train"][bin_] += 1
            elif 78 <= hour < 100:
                counts["test"][bin_] += 1
    return counts


LOADS_OF_A_SERVER = st.dictionaries(
    st.integers(0, 105),
    st.one_of(st.none(), st.just(math.nan), st.integers(0, 30).map(float), st.sampled_from([3.0, 12.0])),
    min_size=1,
    max_size=60,
)


@given(series=st.dictionaries(st.sampled_from("abcd"), LOADS_OF_A_SERVER, min_size=1, max_size=4))
@settings(max_examples=4, deadline=None)
def test_summary_agrees_with_plain_python(light_backend: Backend, series: Series) -> None:
    check_summary(summarise(light_backend, series), series)


def check_summary(found: LoadSummary, series: Series) -> None:
    inside = {server: {h: v for h, v in loads.items() if h < 100} for server, loads in series.items()}
    inside = {server: loads for server, loads in inside.items() if loads}
    records = found.servers.to_dict("records")
    assert len(records) == len(inside)
    for record, server in zip(records, sorted(inside), strict=True):
        expected = expected_server(server, inside[server])
        assert record.pop("server") == expected.pop("server")
        assert record == pytest.approx(expected, nan_ok=True)
    assert {name: found.levels[name].tolist() for name in ("train", "test")} == expected_levels(inside)
    assert found.hours == 100
    assert found.hours_with_data == len({hour for loads in inside.values() for hour in known_only(loads)})


def wave(hours: range, shift: float = 0.0) -> dict[int, float | None]:
    return {hour: float(hour * 7 % 11) + shift for hour in hours}


def test_duplicates_are_found_and_named(light_backend: Backend) -> None:
    original, other = wave(range(60)), wave(range(60))
    other[20], other[21] = other[21], other[20]  # the same statistics, another series
    gap = {**wave(range(60)), 30: None}
    series: Series = {
        "b": original,
        "a": dict(original),
        "c": dict(original),
        "swapped": other,
        "shifted": wave(range(60), 1),
        "longer": wave(range(61)),
        "gap 1": gap,
        "gap 2": {hour: load for hour, load in gap.items() if hour != 30},  # unknown, or not even a row
        "idle 1": dict.fromkeys(range(60), 0.0),
        "idle 2": dict.fromkeys(range(60), 0.0),
        "short 1": wave(range(23)),
        "short 2": wave(range(23)),
    }
    found = summarise(light_backend, series).duplicates.to_dict("records")
    assert found == [
        {"server": "b", "same_as": "a"},
        {"server": "c", "same_as": "a"},
        {"server": "gap 2", "same_as": "gap 1"},
    ]


@pytest.mark.spark
def test_spark_gives_the_same_summary(spark: SparkSession) -> None:
    gaps = {hour: None if hour % 5 == 0 else math.nan if hour % 7 == 0 else 9.0 + hour / 10 for hour in range(20, 106)}
    series: Series = {
        "b": wave(range(100)),
        "a": wave(range(100)),
        "gaps": gaps,
        "constant": dict.fromkeys(range(100), 12.0),
        "test only": wave(range(80, 100), 20),
        "unknown": dict.fromkeys(range(40), None),
        "outside": {200: 1.0},
    }

    found = summarise(Backend("spark", spark), series)

    check_summary(found, series)
    assert found.duplicates.to_dict("records") == [{"server": "b", "same_as": "a"}]
    empty = summarise(Backend("spark", spark), {"a": {200: 1.0}})
    assert (len(empty.servers), len(empty.duplicates), empty.hours_with_data) == (0, 0, 0)
    assert empty.levels.to_numpy().sum() == 0


def test_a_table_without_a_known_load_has_an_empty_summary(light_backend: Backend) -> None:
    found = summarise(light_backend, {"a": {3: None}})
    assert found.servers[["train_hours", "train_known", "longest_gap"]].to_numpy().tolist() == [[1, 0, 0]]
    assert found.levels.to_numpy().sum() == 0
    assert found.hours_with_data == 0
    assert len(found.duplicates) == 0


def test_a_table_without_rows_in_the_period_has_no_servers(light_backend: Backend) -> None:
    assert len(summarise(light_backend, {"a": {200: 1.0}}).servers) == 0


def test_population_stability_of_hand_made_counts() -> None:
    train, test = np.array([50, 30, 20]), np.array([20, 30, 50])
    p, q = [50.5, 30.5, 20.5], [20.5, 30.5, 50.5]
    expected = sum((b - a) / 101.5 * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert population_stability(train, test) == pytest.approx(expected)
    assert population_stability(train, train * 1) == 0
    assert math.isfinite(population_stability(np.array([9, 0]), np.array([0, 9])))
    assert math.isnan(population_stability(train, np.zeros(3, dtype=np.int64)))
