"""Who answers for which server, against a restatement with scikit-learn and the standard library."""

from __future__ import annotations

import math
import statistics
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from workload_forecast.model.baselines import BASELINES
from workload_forecast.model.source_choice import CANDIDATES, choice_fold, choose_sources, describe_sources
from workload_forecast.model.split import TimeSplit
from workload_forecast.source_limits import SourceLimits
from workload_forecast.sources import MODEL, NAIVE_FORECASTS, NONE, Sources

FIRST = pd.Timestamp("2020-03-02")


def said(right: float, label: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Answers of which a share is right; the others are wrong for certain."""
    wrong = (label + random.integers(1, 3, len(label))) % 3
    return np.where(random.random(len(label)) < right, label, wrong)


def judged(shares: dict[str, dict[str, float]], days: int = 10, seed: int = 1) -> pd.DataFrame:
    """Rows of some servers; ``shares`` name how often a predictor is right there, 0.6 where it is not named."""
    random = np.random.default_rng(seed)
    frames = []
    for server, right in shares.items():
        label = random.integers(0, 3, days * 24)
        frame = pd.DataFrame({"fold": 1, "server": server, "label": label})
        frame["hour"] = FIRST + pd.to_timedelta(np.arange(days * 24), unit="h")
        for name in (MODEL, *BASELINES):
            frame[name] = said(right.get(name, 0.6), label, random)
        frames.append(frame.assign(majority=1))
    return pd.concat(frames, ignore_index=True)


def expected_margin(rows: pd.DataFrame, other: str, incumbent: str) -> float:
    """Sum of the days' differences of hours that are right, by its standard error."""
    gains = [
        float((day[other] == day["label"]).sum() - (day[incumbent] == day["label"]).sum())
        for _, day in rows.groupby(rows["hour"].dt.date)
    ]
    return sum(gains) / (statistics.stdev(gains) * math.sqrt(len(gains)))


def expected_fleet_margin(rows: pd.DataFrame, other: str) -> float:
    def gain(part: pd.DataFrame) -> float:
        scores = [oracle.f1_score(part["label"], part[name], average="macro") for name in (other, MODEL)]
        return float(scores[0] - scores[1])

    dates = sorted(set(rows["hour"].dt.date))
    without = [gain(rows[rows["hour"].dt.date != date]) for date in dates]
    mean = statistics.fmean(without)
    spread = sum((value - mean) ** 2 for value in without)
    return gain(rows) / math.sqrt((len(dates) - 1) / len(dates) * spread)


def accuracy(rows: pd.DataFrame, name: str) -> float:
    return float((rows[name] == rows["label"]).mean())


@pytest.mark.parametrize("seed", range(4))
def test_margins_and_choices_are_those_of_the_definition(seed: int) -> None:
    shares: dict[str, dict[str, float]] = {name: {} for name in "abcdefgh"}
    shares |= {"x": {"class_week_ago": 0.75}, "y": dict.fromkeys(CANDIDATES, 0.3)}
    rows = judged(shares, seed=seed).sample(frac=1, random_state=seed, ignore_index=True)
    limits = SourceLimits(server_margin=1.5)
    sources, table = choose_sources(rows, limits)
    best = max(NAIVE_FORECASTS, key=lambda name: oracle.f1_score(rows["label"], rows[name], average="macro"))
    assert sources.fleet == (best if expected_fleet_margin(rows, best) >= 2 else MODEL)
    for row in table.to_dict("records"):
        mine = rows[rows["server"] == row["server"]]
        accuracies = {name: accuracy(mine, name) for name in CANDIDATES}
        assert {name: row[name] for name in CANDIDATES} == pytest.approx(accuracies)
        others = [name for name in CANDIDATES if name != sources.fleet]
        other = max(others, key=lambda name: accuracies[name])
        margin = expected_margin(mine, other, sources.fleet)
        assert row["margin"] == pytest.approx(margin)
        taken = other if margin >= 1.5 and margin > 0 else sources.fleet
        assert row["source"] == (taken if accuracies[taken] >= 0.4 else NONE)
        assert sources.of(str(row["server"])) == row["source"]
    assert sources.of("y") == NONE
    assert sources.of("new") == sources.fleet
    assert sources.problems == []


def test_shares_are_the_true_classes_of_what_was_named() -> None:
    rows = judged({"a": {MODEL: 0.9}, "b": {"last_same_hour": 0.95}, "c": {MODEL: 0.9}})
    sources, _ = choose_sources(rows, SourceLimits())
    assert sources.servers == {"b": "last_same_hour"}
    assert list(sources.shares) == ["last_same_hour"]
    for named, shares in enumerate(sources.shares["last_same_hour"]):
        labels = rows.loc[rows["last_same_hour"] == named, "label"]
        assert shares == pytest.approx([((labels == true).sum() + 1) / (len(labels) + 3) for true in range(3)])


def test_a_fleet_that_the_model_forecasts_badly_is_answered_by_the_best_naive_forecast() -> None:
    shares = {name: {MODEL: 0.45, "same_hour_mean_7d": 0.8} for name in "abc"}
    shares["d"] = {MODEL: 0.9, "same_hour_mean_7d": 0.6}
    sources, table = choose_sources(judged(shares), SourceLimits())
    assert (sources.fleet, dict(sources.servers)) == ("same_hour_mean_7d", {"d": MODEL})
    assert describe_sources(table) == "of 4 servers 1 by model, 3 by same_hour_mean_7d"


def test_the_model_keeps_its_place_where_others_are_as_good() -> None:
    rows = judged({"a": {}, "b": {}})
    for name in NAIVE_FORECASTS:
        rows[name] = rows[MODEL]
    sources, table = choose_sources(rows, SourceLimits(fleet_margin=0, server_margin=0))
    assert sources == Sources()
    assert table["margin"].tolist() == [0, 0]


def test_an_advantage_that_every_day_has_is_certain() -> None:
    rows = judged({"a": {}})
    right = {name: rows["hour"].dt.hour < (16 if name == "class_week_ago" else 12) for name in CANDIDATES}
    for name in CANDIDATES:
        rows[name] = np.where(right[name], rows["label"], (rows["label"] + 1) % 3)
    _, table = choose_sources(rows, SourceLimits(fleet_margin=1e9))
    assert table["margin"].tolist() == [math.inf]
    assert table["source"].tolist() == ["class_week_ago"]


def test_too_few_days_decide_nothing() -> None:
    rows = judged({"a": {MODEL: 0.0, "class_week_ago": 1.0}}, days=3)
    sources, table = choose_sources(rows, SourceLimits())
    assert sources == Sources()
    assert math.isnan(table["margin"][0])
    assert choose_sources(rows, SourceLimits(minimum_days=3))[0].of("a") == "class_week_ago"


def test_the_fold_is_the_end_of_the_training() -> None:
    first, test = datetime(2016, 6, 1), datetime(2016, 7, 20)
    split = TimeSplit(first, test, test + timedelta(days=3))
    fold = choice_fold(split, SourceLimits())
    assert fold is not None
    assert fold.to == split.training_to - timedelta(hours=1)
    assert fold.test_from == split.training_to - timedelta(days=14)
    assert fold.training_to == fold.test_from - timedelta(hours=48)
    short = TimeSplit(first, first + timedelta(days=14 + 2 + 2 + 5, hours=3), test)
    found = choice_fold(short, SourceLimits())
    assert found is not None
    assert found.test_from == short.training_to - timedelta(days=5), "two weeks and the gap are left to learn from"
    assert choice_fold(TimeSplit(first, first + timedelta(days=14 + 2 + 2 + 3), test), SourceLimits()) is None
    assert choice_fold(split, SourceLimits(days=0)) is None
