"""Candidate features against plain Python, the promise that none of them leaks, and the benchmark on a small table."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from functools import cache
from math import sqrt
from statistics import fmean, median, pstdev
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from sklearn.metrics import f1_score

from benchmarks.candidate_answers import ADDED, ALL, AVERAGED, PRESENT, Question, single
from benchmarks.candidate_columns import (
    BURSTS,
    CLASS_HISTORY,
    FLEET,
    GROUPS,
    HOLIDAYS,
    LEVEL_SHIFT,
    OWN_LEVEL,
    SAME_HOURS,
    with_candidates,
    with_classes,
)
from benchmarks.feature_ablation import LEFT_OUT, MIXTURE, PERMUTED
from benchmarks.feature_candidates import macro_f1, markdown, measure, worth_table
from tests.feature_tables import feature_table, write_parquet
from workload_forecast.config import Thresholds
from workload_forecast.model.split import TimeSplit
from workload_forecast.schemas import HORIZON_HOURS

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

START = datetime(2016, 6, 20)
CUTS = Thresholds(150, 350)
Loads = list[float | None]


def noisy(hours: int, seed: int) -> Loads:
    draw = random.Random(seed)
    spiky = [draw.uniform(0, 500) if draw.random() < 0.9 else draw.uniform(2000, 3000) for _ in range(hours)]
    return [None if draw.random() < 0.05 else round(load, 2) for load in spiky]


SERVERS = {"a": noisy(430, 1), "b": noisy(430, 2), "c": noisy(430, 3)}


def grid(servers: dict[str, Loads]) -> pl.DataFrame:
    hours = {name: [START + timedelta(hours=h) for h in range(len(loads))] for name, loads in servers.items()}
    frames = [
        pl.DataFrame({"server": name, "hour": hours[name], "total_load": pl.Series(loads, dtype=pl.Float64)})
        for name, loads in servers.items()
    ]
    return pl.concat(frames)


def rows_of(servers: dict[str, Loads]) -> dict[tuple[str, int], dict[str, Any]]:
    found = with_classes(with_candidates(grid(servers)), CUTS).to_dicts()
    return {(row["server"], int((row["hour"] - START) / timedelta(hours=1))): row for row in found}


def known(loads: Loads, newest: int, hours: int) -> list[float]:
    """The known ones of so many hours that end with ``newest``."""
    return [load for load in loads[max(newest - hours + 1, 0) : max(newest + 1, 0)] if load is not None]


@cache
def usual(server: str, newest: int) -> tuple[float, float] | None:
    """Level and spread of the fourteen days."""
    seen = known(SERVERS[server], newest, 336)
    if len(seen) < 24:
        return None
    level = fmean(seen)
    return level, max(sqrt(fmean((load - level) ** 2 for load in seen)), abs(level) * 1e-3 + 1e-9)


@cache
def excess(server: str, hour: int) -> float | None:
    before = usual(server, hour - 1)
    load = SERVERS[server][hour] if hour >= 0 else None
    return None if before is None or load is None else (load - before[0]) / before[1]


@cache
def shift(server: str, hour: int, days: int) -> float | None:
    before, newest = usual(server, hour - 24 * days), known(SERVERS[server], hour, 24 * days)
    return None if before is None or len(newest) < 6 * days else (fmean(newest) - before[0]) / before[1]


def mean(values: list[float | None]) -> float | None:
    seen = [value for value in values if value is not None]
    return fmean(seen) if seen else None


def oracle(server: str, hour: int) -> dict[str, Any]:
    """Every candidate of a row, read off its definition."""
    loads, newest = SERVERS[server], hour - HORIZON_HOURS

    def at(back: int) -> float | None:
        return loads[hour - back] if hour >= back else None

    base, days = usual(server, newest), [at(48 + 24 * day) for day in range(14)]
    week, seen = [day for day in days[:7] if day is not None], [day for day in days if day is not None]
    row: dict[str, Any] = {}
    for name, load in {**{f"lag_{h}h": at(h) for h in (48, 72, 96, 168)}, "same_hour_mean": mean(days[:7])}.items():
        row[f"relative_{name}"] = None if base is None or load is None else (load - base[0]) / base[1]
    row["relative_spread"] = base and base[1] / max(abs(base[0]), 1e-9)
    row |= {f"shift_{count}d": shift(server, newest, count) for count in (1, 3)}
    row["shift_size"] = None if row["shift_1d"] is None else abs(row["shift_1d"])
    exceeding = [excess(server, h) for h in range(newest + 1)]
    for count in (1, 7):
        told = [e > 2 for e in exceeding[-24 * count :] if e is not None]
        row[f"burst_share_{count}d"] = fmean(told) if len(told) >= 6 * count else None
    bursts = [h for h, e in enumerate(exceeding) if e is not None and e > 2]
    row["hours_since_burst"] = min(newest - bursts[-1], 336) if bursts else None
    told_today = [e for e in exceeding[-24:] if e is not None]
    row["greatest_excess_1d"] = max(told_today) if len(told_today) >= 6 else None
    row["same_hour_std_7d"] = pstdev(week) if week else None
    row |= {"same_hour_min_14d": min(seen, default=None), "same_hour_max_14d": max(seen, default=None)}
    row["same_hour_median_14d"] = median(seen) if seen else None
    row["same_hour_mean_2w"] = mean([at(168), at(336)])
    row["fleet_shift"] = mean([shift(other, newest, 1) for other in SERVERS]) if newest >= 0 else None
    for name, back in {"fleet_excess": 48, "fleet_excess_week_ago": 168}.items():
        row[name] = mean([excess(other, hour - back) for other in SERVERS]) if hour >= back else None
    unmoved = row["shift_1d"] is None or row["fleet_shift"] is None
    row["shift_beyond_fleet"] = None if unmoved else row["shift_1d"] - row["fleet_shift"]
    today, fourth = (START + timedelta(hours=hour)).date(), date(2016, 7, 4)
    after = min(abs((today - date(2016, 5, 30)).days), 14), min((fourth - today).days, 14)
    late = (today - fourth).days, 14  # the next one is in September
    row["days_since_holiday"], row["days_until_holiday"] = late if today > fourth else after
    if today == fourth:
        row["days_since_holiday"] = 0
    classes = [None if load is None else (load > 150) + (load > 350) for load in days[:7]]
    row |= {f"class_{48 + 24 * day}h_ago": label for day, label in enumerate(classes)}
    told_classes = [label for label in classes if label is not None]
    for name, label in {"low": 0, "high": 2}.items():
        row[f"share_{name}_7d"] = told_classes.count(label) / len(told_classes) if told_classes else None
    return row


def test_candidates_agree_with_plain_python() -> None:
    found = rows_of(SERVERS)
    draw = random.Random(4)
    hours = [0, 47, 48, 71, 72, 96, 120, 168, 340, 349, 360, 384, 429, *draw.sample(range(430), 12)]
    for server, hour in [(server, hour) for server in SERVERS for hour in hours]:
        expected = oracle(server, hour)
        assert sorted(expected) == sorted(name for names in GROUPS.values() for name in names)
        for name, value in expected.items():
            told = found[server, hour][name]
            assert told == (value if value is None else pytest.approx(value, rel=1e-7, abs=1e-7)), (name, server, hour)


@pytest.mark.parametrize("hour", [60, 150, 300, 429])
def test_nothing_newer_than_the_horizon_enters_a_candidate(hour: int) -> None:
    """Of any server: the fleet's movement is known as late as a server's own."""
    newest = hour - HORIZON_HOURS
    draw = random.Random(hour)
    others: dict[str, Loads] = {
        name: [load if h <= newest else draw.uniform(5000, 9000) for h, load in enumerate(loads)]
        for name, loads in SERVERS.items()
    }
    before, after = rows_of(SERVERS), rows_of(others)
    for name in (name for names in GROUPS.values() for name in names):
        for server in SERVERS:
            assert before[server, hour][name] == after[server, hour][name], (name, server)


def test_a_load_at_the_horizon_does_enter_each_group_but_holidays() -> None:
    """The counterpart: the property above would hold for candidates that see nothing at all."""
    hour = 400
    others = dict(SERVERS) | {"a": [*SERVERS["a"]]}
    others["a"][hour - HORIZON_HOURS] = 9000.0
    before, after = rows_of(SERVERS)["a", hour], rows_of(others)["a", hour]
    moved = {group for group, names in GROUPS.items() if any(before[name] != after[name] for name in names)}
    assert moved == set(GROUPS) - {HOLIDAYS}
    apart = rows_of(SERVERS)["b", hour], rows_of(others)["b", hour]
    assert {group for group, names in GROUPS.items() if any(apart[0][n] != apart[1][n] for n in names)} == {FLEET}


def test_arrangements_have_each_group_once_added_and_once_left_out() -> None:
    groups = {OWN_LEVEL, LEVEL_SHIFT, BURSTS, SAME_HOURS, HOLIDAYS, FLEET, CLASS_HISTORY}
    found = Question().arrangements()
    assert (found[PRESENT], set(found[ALL])) == ((), groups)
    for group in groups:
        assert found[f"{ADDED}: {group}"] == (group,)
        assert set(found[f"{LEFT_OUT}: {group}"]) == groups - {group}


@pytest.mark.spark
def test_worth_is_what_the_answers_differ_by(spark: SparkSession, tmp_path: Path) -> None:
    table = feature_table(servers=3, days=20)
    features = spark.read.parquet(str(write_parquet(table, tmp_path / "features")))
    fold = TimeSplit(datetime(2016, 6, 1), datetime(2016, 6, 15), datetime(2016, 6, 17, 23))
    later = table.assign(total_load=table["total_load"].where(table["hour"] <= fold.to, -1.0))
    changed = spark.read.parquet(str(write_parquet(later, tmp_path / "changed")))
    question = Question((BURSTS, OWN_LEVEL, CLASS_HISTORY), "xgboost", seeds=2)
    answers, others = (measure(frame, [fold], "auto", question) for frame in (features, changed))
    assert answers.equals(others)  # what comes after the folds plays no part

    known_rows = table[table["hour"].between(fold.test_from, fold.to) & table["total_load"].notna()]
    assert len(answers) == len(known_rows)

    def score(name: str) -> float:
        return float(f1_score(answers["label"], answers[name], average="macro"))

    worth = worth_table(answers, question)
    told = {(row["group"], row["way"]): row for row in worth.to_dict("records")}
    bursts = told[BURSTS, ADDED]
    added = f"{ADDED}: {BURSTS}"
    assert bursts["worth"] == pytest.approx(score(added) - score(PRESENT))
    assert bursts["averaged"] == pytest.approx(score(AVERAGED + added) - score(AVERAGED + PRESENT))
    gains = [score(single(added, seed)) - score(single(PRESENT, seed)) for seed in range(2)]
    assert bursts["noise"] == pytest.approx(abs(gains[0] - gains[1]) / 2)
    for way in (LEFT_OUT, PERMUTED):
        own = f"{way}: {OWN_LEVEL}"
        assert told[OWN_LEVEL, way]["worth"] == pytest.approx(score(ALL) - score(own))
    assert told[ALL, ADDED]["worth"] == pytest.approx(score(ALL) - score(PRESENT))
    assert any(answers[f"{PERMUTED}: {group}"].ne(answers[ALL]).any() for group in question.groups)
    assert macro_f1(answers, MIXTURE) == pytest.approx(score(MIXTURE))
    assert len(markdown(worth, {"mixture": 0.5}).splitlines()) == 4 + 1 + 3
