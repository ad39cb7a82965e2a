"""Every kind of model against ten lines of plain Python, row by row."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.feature_tables import feature_table
from tests.serving.conftest import facts_of
from tests.serving.other_pipelines import Stage, correction, linear, mixture, ordered, save, xgboost
from tests.serving.saved_pipelines import Leaf, Node, Split
from workload_forecast.schemas import FEATURE_NAMES, KNOWN_FEATURES
from workload_forecast.serving.compiled import TREES, compile_trees, write_compiled
from workload_forecast.serving.saved_models import read_pipeline
from workload_forecast.serving.scorer import Scorer

LOW, HIGH = 200.0, 320.0
LAG, WEEKDAY = FEATURE_NAMES.index("total_load_lag_48h"), FEATURE_NAMES.index("weekday")
Row = Mapping[Hashable, float]


def scorer_of(stages: Sequence[Stage], folder: Path) -> Scorer:
    """By way of the compiled model's files."""
    pipeline = read_pipeline(save(stages, folder / "sparkml"))
    write_compiled(folder / "compiled", compile_trees(pipeline), facts_of(pipeline))
    return Scorer.load(folder / "compiled")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    table = feature_table(servers=3, days=12)[list(FEATURE_NAMES)].astype("float64")
    table.loc[5, "expected_load"] = table.loc[6, "expected_load"] = 250.0
    table.loc[5, "expected_error"] = math.nan
    table.loc[6, "total_load_mean_7d"] = math.nan
    table.loc[7, "expected_load"] = LOW
    return table


def laplace(x: float) -> float:
    return 0.5 * math.exp(x) if x < 0 else 1 - 0.5 * math.exp(-x)


def or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def expected(row: Row) -> tuple[float, float]:
    if math.isnan(row["expected_load"]):
        return (LOW + HIGH) / 2, HIGH - LOW
    return row["expected_load"], or_zero(row["expected_error"]) + 1e-9


def around(peak: float, spread: float) -> list[float]:
    low, high = laplace((LOW - peak) / spread), 1 - laplace((HIGH - peak) / spread)
    return [low, 1 - low - high, high]


def check(scorer: Scorer, rows: pd.DataFrame, wanted: list[list[float]], weights: Sequence[float] = (1, 1, 1)) -> None:
    found = scorer.score(rows)
    assert np.abs(found.probabilities - np.array(wanted)).max() < 1e-12
    best = [max(range(3), key=lambda k: (round(weights[k] * p[k], 9), -k)) for p in wanted]
    assert found.labels.tolist() == best
    assert len(set(best)) == 3
    single = np.concatenate([scorer.predict_proba(rows[i : i + 1]) for i in range(0, len(rows), 7)])
    assert np.array_equal(found.probabilities[::7], single), "rows beside a row change nothing"


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 0.5, 4.0)])
def test_a_mixture_is_laplace_s_distribution_around_the_expected_load(
    rows: pd.DataFrame, weights: tuple[float, ...], tmp_path: Path
) -> None:
    scorer = scorer_of(mixture(LOW, HIGH, weights), tmp_path)
    check(scorer, rows, [around(*expected(row)) for row in rows.to_dict("records")], weights)
    assert not (tmp_path / "compiled" / TREES).exists()


def test_a_load_at_the_border_is_of_the_lower_class(rows: pd.DataFrame, tmp_path: Path) -> None:
    at = rows[:2].assign(expected_load=[LOW, HIGH], expected_error=0.0, total_load_mean_7d=0.0)
    assert scorer_of(mixture(LOW, HIGH), tmp_path).score(at).labels.tolist() == [0, 1]


def test_a_correction_moves_the_expected_load_by_spreads(rows: pd.DataFrame, tmp_path: Path) -> None:
    first = Split(WEEKDAY, 4.0, Leaf((-2.0,)), Leaf((1.5,)))
    second = Split(LAG, 0.25, Leaf((3.0,)), Leaf((-4.0,)))
    scorer = scorer_of(correction(LOW, HIGH, [first, second]), tmp_path)

    def answer(row: Row) -> list[float]:
        peak, spread = expected(row)
        lag = row["total_load_lag_48h"]
        relative = 0.0 if math.isnan(lag) else (lag - peak) / spread
        moved = (-2.0 if row["weekday"] <= 4 else 1.5) + 0.1 * (3.0 if relative <= 0.25 else -4.0)
        return around(peak + spread * moved, spread)

    check(scorer, rows, [answer(row) for row in rows.to_dict("records")])


def test_ordered_shares_are_cut_to_0_and_1_and_made_monotone(rows: pd.DataFrame, tmp_path: Path) -> None:
    lower: list[Node] = [Split(LAG, 200.0, Leaf((-0.3,)), Leaf((0.7,))), Leaf((2.0,))]
    upper: list[Node] = [
        Split(LAG, 350.0, Leaf((0.5,)), Leaf((1.5,))),
        Split(WEEKDAY, 2.0, Leaf((-9.0,)), Leaf((0.0,))),
    ]
    scorer = scorer_of(ordered(lower, upper), tmp_path)

    def answer(row: Row) -> list[float]:
        lag = -1.0 if math.isnan(row["total_load_lag_48h"]) else row["total_load_lag_48h"]
        above_low = (-0.3 if lag <= 200 else 0.7) + 0.1 * 2.0
        above_high = (0.5 if lag <= 350 else 1.5) + 0.1 * (-9.0 if row["weekday"] <= 2 else 0.0)
        low, high = 1 - min(max(above_low, 0), 1), min(max(min(above_low, above_high), 0), 1)
        return [low, 1 - low - high, high]

    check(scorer, rows, [answer(row) for row in rows.to_dict("records")])


def test_xgboost_s_numbers_have_32_bits_and_a_threshold_is_of_the_right_side(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    cut = float(np.float32(0.1))
    by_weekday = Split(WEEKDAY, 4.0, Leaf((0.7,)), Leaf((-0.2,)))
    by_lag = Split(LAG, cut, Leaf((1.5,)), Leaf((0.1,)))
    trees: list[list[Node]] = [[by_weekday, Leaf((0.3,))], [by_lag, by_lag], [Leaf((0.25,)), Leaf((0.5,))]]
    scorer = scorer_of(xgboost(trees, [0.5, -0.25, 0.125]), tmp_path)
    rows = rows.copy()
    rows.loc[:3, "total_load_lag_48h"] = [0.1, cut, math.nextafter(cut, 0), 0.0]
    f = np.float32

    def answer(row: Row) -> list[float]:
        lag = f(-1.0 if math.isnan(row["total_load_lag_48h"]) else row["total_load_lag_48h"])
        first = f(0.5) + (f(0.7) if row["weekday"] < 4 else f(-0.2)) + f(0.3)
        step = f(1.5) if lag < f(cut) else f(0.1)
        margins = np.array([first, f(-0.25) + step + step, f(0.125) + f(0.25) + f(0.5)], dtype=np.float32)
        odds = np.exp(margins - margins.max())
        return [float(share) for share in odds / odds.sum()]

    found, wanted = scorer.score(rows), [answer(row) for row in rows.to_dict("records")]
    assert np.abs(found.probabilities - np.array(wanted)).max() < 1e-7
    assert found.labels.tolist() == np.array(wanted).argmax(axis=1).tolist()
    assert len(set(found.labels.tolist())) > 1
    assert len(set(found.labels[:3].tolist())) == 1, "32 bits cannot tell these three apart"
    assert found.labels[3] == 1


@pytest.mark.parametrize("sparse", [False, True])
def test_a_regression_takes_the_weekly_mean_for_unknown_loads(rows: pd.DataFrame, sparse: bool, tmp_path: Path) -> None:
    by_class = [
        {"total_load_lag_168h": -0.02, "weekday": 0.3},
        {"sub_service_1_load_mean_1d": 0.001},
        {"total_load_lag_168h": 0.01, "weekday": -0.2, "expected_error": -0.01},
    ]
    intercepts = [3.0, 0.0, -2.0]
    scorer = scorer_of(linear(by_class, intercepts, sparse=sparse), tmp_path)

    def value(row: Row, name: str) -> float:
        if name in KNOWN_FEATURES or not math.isnan(row[name]):
            return row[name]
        return or_zero(row["total_load_mean_7d"]) if name == "total_load_lag_168h" else 0.0

    def answer(row: Row) -> list[float]:
        given = zip(by_class, intercepts, strict=True)
        odds = [math.exp(sum(c * value(row, name) for name, c in each.items()) + b) for each, b in given]
        return [each / sum(odds) for each in odds]

    assert rows["total_load_lag_168h"].isna().any()
    check(scorer, rows, [answer(row) for row in rows.to_dict("records")])
