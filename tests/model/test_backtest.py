from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from workload_forecast.errors import DataError, SchemaError, SettingsError
from workload_forecast.model.backtest import Backtest, backtest
from workload_forecast.model.bootstrap import interval, resampled_macro_f1
from workload_forecast.model.differences import Resampling, cautious_differences
from workload_forecast.model.metrics import METRICS

BASELINES = ("majority", "yesterday", "last_week")
PREDICTORS = ("model", *BASELINES)
QUICK = Resampling(resamples=50)


def judge(rows: pd.DataFrame, resampling: Resampling = QUICK) -> Backtest:
    return backtest(rows, model="model", baselines=BASELINES, default="majority", resampling=resampling)


def made_rows(count: int, seed: int, leads: bool = False) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    keys = pd.DataFrame(
        {
            "server": random.choice(["b", "a", "c"], count),
            "hour": pd.Timestamp("2020-02-03") + pd.to_timedelta(random.integers(0, 24 * 14, count), unit="h"),
        }
    )
    keys["fold"] = 1 + (keys["hour"] >= pd.Timestamp("2020-02-10"))
    if leads:
        keys["lead"] = random.choice([1, 24, 48], count)
    keys = keys.drop_duplicates([name for name in keys.columns if name != "fold"], ignore_index=True)
    count = len(keys)
    keys["label"] = random.integers(0, 3, count)
    for name in PREDICTORS:
        right = random.random(count) < 0.5
        keys[name] = np.where(right, keys["label"], random.integers(0, 3, count)).astype(float)
    keys["majority"] = np.where(keys["fold"] == 1, 2.0, 0.0)
    for name in ("model", "last_week"):
        keys.loc[random.random(count) < 0.1, name] = np.nan
    return keys


def expected_scores(rows: pd.DataFrame, predictor: str) -> dict[str, float]:
    """From the rows themselves, by scikit-learn; an unknown answer is the row's majority class."""
    true = rows["label"].tolist()
    said = [m if math.isnan(p) else p for p, m in zip(rows[predictor], rows["majority"], strict=True)]
    recalls = oracle.recall_score(true, said, labels=[0, 1, 2], average=None, zero_division=np.nan)
    of_high = [p for t, p in zip(true, said, strict=True) if t == 2]
    return {
        "rows": len(true),
        "unknown": sum(map(math.isnan, rows[predictor])),
        "accuracy": oracle.accuracy_score(true, said),
        "macro_f1": oracle.f1_score(true, said, average="macro", zero_division=0),
        **dict(zip(("recall_low", "recall_medium", "recall_high"), recalls, strict=True)),
        "high_called_low": of_high.count(0) / len(of_high) if of_high else math.nan,
    }


def assert_scores(table: pd.DataFrame, rows: pd.DataFrame) -> None:
    assert table["predictor"].tolist() == list(PREDICTORS)
    for found in table.to_dict("records"):
        expected = expected_scores(rows, str(found["predictor"]))
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(st.integers(1, 80), st.integers(0, 10**6), st.booleans())
@settings(max_examples=8, deadline=None)
def test_every_table_agrees_with_scikit_learn(count: int, seed: int, leads: bool) -> None:
    rows = made_rows(count, seed, leads)
    found = judge(rows)
    assert_scores(found.scores, rows)
    groups: list[tuple[pd.DataFrame, str, pd.Series]] = [
        (found.by_fold, "fold", rows["fold"]),
        (found.by_weekday, "weekday", rows["hour"].map(lambda hour: hour.isoweekday())),
    ]
    if found.by_lead is not None:
        groups.append((found.by_lead, "lead", rows["lead"]))
    assert (found.by_lead is not None) == leads
    for table, name, by in groups:
        assert table[name].drop_duplicates().tolist() == sorted(set(by))
        for value, part in table.groupby(name):
            assert_scores(part, rows[by == value])
    for fold in found.by_fold.to_dict("records"):
        hours = rows.loc[rows["fold"] == fold["fold"], "hour"]
        assert (fold["first_hour"], fold["last_hour"]) == (hours.min(), hours.max())
    best = {name: expected_scores(rows, name)["macro_f1"] for name in BASELINES}
    assert best[found.best_baseline] == pytest.approx(max(best.values()))
    assert all(math.isfinite(value) for value in found.metrics.values())


def test_the_numbers_depend_neither_on_the_order_of_rows_nor_on_how_servers_are_stored() -> None:
    rows = made_rows(400, 3)
    found = judge(rows)
    shuffled = rows.sample(frac=1, random_state=1)
    shuffled["server"] = pd.Categorical(shuffled["server"], categories=["c", "a", "b"], ordered=True)
    shuffled["model"] = shuffled["model"].astype("Int8")
    again = judge(shuffled)
    for name in ("scores", "by_fold", "by_weekday", "by_server", "differences"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(again, name), check_exact=True)
    assert found.metrics == again.metrics


def test_the_intervals_are_those_of_blocks_of_a_server_and_a_day_and_of_whole_days() -> None:
    rows = made_rows(600, 8, leads=True)
    found = judge(rows, Resampling(resamples=300, seed=5, confidence=0.8))
    day = rows["hour"].dt.date
    expected = []
    for blocks_of, by, suffix in (("server days", ["server", day], ""), ("days", [day], "_days")):
        blocks = []
        for _, block in rows.groupby(by):
            filled = [block[name].fillna(block["majority"]) for name in PREDICTORS]
            blocks.append([oracle.confusion_matrix(block["label"], said, labels=[0, 1, 2]) for said in filled])
        drawn = resampled_macro_f1(np.array(blocks), 300, 5)
        for index, baseline in enumerate(BASELINES, start=1):
            gains = drawn[:, 0] - drawn[:, index]
            low, high = interval(gains, 0.8)
            ours, theirs = (expected_scores(rows, name)["macro_f1"] for name in ("model", baseline))
            expected.append(
                {
                    "baseline": baseline,
                    "difference": pytest.approx(ours - theirs),
                    "low": pytest.approx(low, abs=1e-12),
                    "high": pytest.approx(high, abs=1e-12),
                    "share_above": pytest.approx((gains > 0).mean()),
                    "confidence": 0.8,
                    "blocks_of": blocks_of,
                    "blocks": len(blocks),
                }
            )
            if baseline == found.best_baseline:
                assert found.metrics["backtest_macro_f1_gain"] == pytest.approx(ours - theirs)
                assert found.metrics[f"backtest_macro_f1_gain_low{suffix}"] == pytest.approx(low, abs=1e-12)
                assert found.metrics[f"backtest_macro_f1_gain_high{suffix}"] == pytest.approx(high, abs=1e-12)
                above = found.metrics[f"backtest_macro_f1_gain_share_above{suffix}"]
                assert above == pytest.approx((gains > 0).mean())
    assert found.differences.to_dict("records") == expected
    assert set(found.differences["blocks"]) == {14, 42}


def test_servers_that_move_together_make_the_interval_by_server_days_too_narrow() -> None:
    """Ten servers that are copies of one: the truth is the interval of the one, and only that of days knows it."""
    random = np.random.default_rng(3)
    one = server_rows("a", dict.fromkeys(PREDICTORS, 0), 24 * 14).assign(label=random.integers(0, 3, 24 * 14))
    odd = (one["hour"].dt.day % 3 == 0) & (random.random(len(one)) < 0.8)
    one["model"] = np.where(odd, 1.0, one["label"])
    together = pd.concat([one.assign(server=f"s{number}") for number in range(10)])

    alone, many = (judge(rows, Resampling(resamples=500)).metrics for rows in (one, together))

    def width(metrics: Mapping[str, float], suffix: str) -> float:
        return metrics[f"backtest_macro_f1_gain_high{suffix}"] - metrics[f"backtest_macro_f1_gain_low{suffix}"]

    assert width(many, "_days") == pytest.approx(width(alone, "_days"), abs=1e-12)
    assert width(many, "") < 0.5 * width(many, "_days")


@pytest.mark.parametrize(("days", "told"), [(14, "days"), (10, "days"), (9, "server days")])
def test_days_are_told_where_they_are_not_too_few(days: int, told: str) -> None:
    rows = made_rows(2000, 2)
    rows = rows[rows["hour"] < pd.Timestamp("2020-02-03") + pd.Timedelta(days=days)]
    found = judge(rows)
    cautious = cautious_differences(found.differences)
    assert cautious["baseline"].tolist() == list(BASELINES)
    assert set(cautious["blocks_of"]) == {told}
    assert cautious["low"].notna().all()
    assert ("backtest_macro_f1_gain_low_days" in found.metrics) == (told == "days")
    assert "backtest_macro_f1_gain_low" in found.metrics


def test_too_few_blocks_have_no_interval() -> None:
    rows = made_rows(300, 2)
    rows = rows[rows["hour"] < pd.Timestamp("2020-02-06")]
    found = judge(rows)
    assert found.differences["blocks"].tolist() == [9, 9, 9, 3, 3, 3]
    assert found.differences[["low", "high", "share_above"]].isna().all(axis=None)
    assert set(cautious_differences(found.differences)["blocks_of"]) == {"server days"}
    assert "backtest_macro_f1_gain" in found.metrics
    assert not [name for name in found.metrics if name.startswith("backtest_macro_f1_gain_")]


def server_rows(server: str, hits: dict[str, int], rows: int) -> pd.DataFrame:
    hours = pd.date_range("2020-02-03", periods=rows, freq="h")
    said = {name: [1.0 if i < hits[name] else 0.0 for i in range(rows)] for name in PREDICTORS}
    return pd.DataFrame({"fold": 1, "server": server, "hour": hours, "label": 1, **said})


def test_servers_are_compared_with_the_best_baseline_of_all_and_with_their_own() -> None:
    table = [
        server_rows("even", {"model": 20, "majority": 20, "yesterday": 20, "last_week": 1}, 40),
        server_rows("lost", {"model": 29, "majority": 5, "yesterday": 30, "last_week": 2}, 40),
        server_rows("odd", {"model": 25, "majority": 5, "yesterday": 20, "last_week": 30}, 40),
        server_rows("tiny", {"model": 0, "majority": 0, "yesterday": 23, "last_week": 0}, 23),
        server_rows("won", {"model": 24, "majority": 5, "yesterday": 4, "last_week": 3}, 24),
    ]
    found = judge(pd.concat(table, ignore_index=True))
    assert found.best_baseline == "yesterday"
    expected: list[dict[str, Any]] = [
        {"server": "even", "own_best_baseline": "majority", "own": 0.5, "own_ok": True, "ok": True, "counted": True},
        {
            "server": "lost",
            "own_best_baseline": "yesterday",
            "own": 0.75,
            "own_ok": False,
            "ok": False,
            "counted": True,
        },
        {"server": "odd", "own_best_baseline": "last_week", "own": 0.75, "own_ok": False, "ok": True, "counted": True},
        {"server": "tiny", "own_best_baseline": "yesterday", "own": 1, "own_ok": False, "ok": False, "counted": False},
        {"server": "won", "own_best_baseline": "majority", "own": 5 / 24, "own_ok": True, "ok": True, "counted": True},
    ]
    names = {"own_best_accuracy": "own", "at_least_own_best": "own_ok", "at_least_best": "ok"}
    assert found.by_server.rename(columns=names)[list(expected[0])].to_dict("records") == expected
    assert found.by_server["rows"].tolist() == [40, 40, 40, 23, 24]
    assert found.by_server["model"].tolist() == [20 / 40, 29 / 40, 25 / 40, 0, 1]
    metrics = found.metrics
    assert (metrics["backtest_servers"], metrics["backtest_servers_counted"]) == (5, 4)
    assert metrics["backtest_servers_at_least_best_baseline_share"] == 0.75
    assert metrics["backtest_servers_at_least_own_best_share"] == 0.5
    assert metrics["backtest_server_accuracy_p50"] == pytest.approx((25 / 40 + 29 / 40) / 2)


def test_metrics_name_model_baselines_and_folds() -> None:
    rows = made_rows(500, 4)
    found = judge(rows)
    for metric in METRICS:
        assert f"backtest_{metric}" in found.metrics
        assert f"backtest_baseline_yesterday_{metric}" in found.metrics
    macro_f1 = {
        (fold, name): expected_scores(rows[rows["fold"] == fold], name)["macro_f1"]
        for fold in (1, 2)
        for name in PREDICTORS
    }
    above = sum(macro_f1[fold, "model"] > macro_f1[fold, found.best_baseline] for fold in (1, 2))
    assert found.metrics["backtest_folds_above_best_baseline"] == above
    assert found.metrics["backtest_folds"] == 2
    assert found.metrics["backtest_rows"] == len(rows)


GOOD = pd.concat([server_rows("a", dict.fromkeys(PREDICTORS, 5), 30)]).assign(lead=3)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (GOOD.drop(columns=["fold", "yesterday"]), SchemaError, "lack the column.s. fold, yesterday; found: server,"),
        (GOOD.iloc[:0], DataError, "no row to judge"),
        (GOOD.assign(hour=GOOD["hour"].dt.tz_localize("UTC")), DataError, "'hour' .* without a zone"),
        (GOOD.assign(server=None), DataError, "30 backtest rows have no 'server'"),
        (GOOD.assign(fold=1.5), DataError, "'fold' .* whole numbers"),
        (GOOD.assign(lead=0), DataError, "goes down to 0"),
        (
            pd.concat([GOOD, GOOD.iloc[:2].assign(fold=2)]),
            DataError,
            "2 .* twice, first fold 2, server a, .*lead 3: folds",
        ),
        (GOOD.assign(label=np.nan), DataError, "30 of 30 .* no 'label', first fold 1.* Leave out"),
        (GOOD.assign(majority=np.nan), DataError, "no 'majority', .* must answer everywhere"),
        (GOOD.assign(model=3.0), DataError, "'model' .* holds '3.0': a class is 0 to 2"),
        (GOOD.assign(model=0.5), DataError, "'model' .* holds '0.5'"),
        (GOOD.assign(model="high"), DataError, "'model' .* holds 'high'"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(rows: pd.DataFrame, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        judge(rows)


def test_the_same_hour_may_be_forecast_at_several_leads() -> None:
    found = judge(pd.concat([GOOD, GOOD.assign(lead=48)]))
    assert found.by_lead is not None
    assert found.by_lead["lead"].unique().tolist() == [3, 48]


@pytest.mark.parametrize(
    ("model", "baselines", "default"),
    [("model", ("yesterday",), "majority"), ("majority", ("majority",), "majority"), ("model", ("x", "x"), "x")],
)
def test_names_that_contradict_each_other_are_refused(model: str, baselines: tuple[str, ...], default: str) -> None:
    with pytest.raises(SettingsError, match="different names"):
        backtest(GOOD, model=model, baselines=baselines, default=default)


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"seed": -1}, {"confidence": 1.0}])
def test_a_resampling_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        Resampling(**wrong)


def test_the_core_needs_no_engine() -> None:
    import subprocess
    import sys

    code = "import sys, workload_forecast.model.backtest, workload_forecast.model.folds as f; print([m for m in "
    code += "('pyspark', 'duckdb', 'mlflow', 'matplotlib') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
