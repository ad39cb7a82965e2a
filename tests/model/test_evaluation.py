from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from workload_forecast.model.evaluation import (
    PREDICTORS,
    brier_score,
    calibration_error,
    count_calibration,
    count_outcomes,
    evaluate,
    with_forecast,
)
from workload_forecast.sources import NAIVE_FORECASTS, NONE, Sources

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

COLUMNS = ["server", "hour_of_day", "split", "label", *PREDICTORS, "probability"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    random = np.random.default_rng(3)
    n = 400
    data: dict[str, object] = {
        "server": random.choice(["a", "b", "c"], n),
        "hour_of_day": random.integers(0, 24, n),
        "split": random.choice(["train", "test"], n),
        "label": random.integers(0, 3, n).astype(float),
        **{name: random.integers(0, 3, n).astype(float) for name in PREDICTORS},
    }
    table = pd.DataFrame(data)
    probabilities = random.dirichlet([0.5, 0.5, 0.5], n)
    probabilities[:3] = np.eye(3)  # certainty belongs to the last bin
    table["probability"] = list(probabilities)
    return table


@pytest.fixture(scope="module")
def scored(spark: SparkSession, rows: pd.DataFrame) -> object:
    types = "server string, hour_of_day long, split string, label double, "
    types += ", ".join(f"{name} double" for name in PREDICTORS) + ", probability array<double>"
    records = [
        (str(r[0]), int(r[1]), str(r[2]), *map(float, r[3:-1]), list(map(float, r[-1])))
        for r in rows[COLUMNS].itertuples(index=False, name=None)
    ]
    return spark.createDataFrame(records, types)


def test_counts_matrices_and_accuracies_agree_with_pandas(scored, rows: pd.DataFrame) -> None:  # type: ignore[no-untyped-def]
    outcomes = count_outcomes(scored)
    assert outcomes.groupby("facet")["rows"].sum().to_dict() == {
        "server": len(rows) * len(PREDICTORS),
        "hour_of_day": len(rows) * len(PREDICTORS),
    }
    found = evaluate(outcomes)
    for (split, predictor), matrix in found.matrices.items():
        chosen = rows[rows["split"] == split]
        expected = pd.crosstab(chosen["label"], chosen[predictor]).to_numpy()
        np.testing.assert_array_equal(matrix, expected)
    test = rows[rows["split"] == "test"]
    for facet, table in (("server", found.by_server), ("hour_of_day", found.by_hour_of_day)):
        hits = pd.DataFrame({name: test[name] == test["label"] for name in PREDICTORS}).astype(float)
        oracle = hits.groupby(test[facet]).mean()
        pd.testing.assert_frame_equal(table.set_index(facet)[list(PREDICTORS)], oracle, check_dtype=False)
        assert table.set_index(facet)["rows"].to_dict() == test.groupby(facet).size().to_dict()


def test_calibration_agrees_with_numpy(scored, rows: pd.DataFrame) -> None:  # type: ignore[no-untyped-def]
    table = count_calibration(scored)
    chosen = rows[rows["split"] == "test"]
    p, hit = np.stack(chosen["probability"].to_list()), np.eye(3)[chosen["label"].astype(int)]
    assert brier_score(table, "test") == pytest.approx(((p - hit) ** 2).sum(axis=1).mean())
    bins = np.minimum((p * 10).astype(int), 9)
    distance = 0.0
    for index, name in enumerate(("low", "medium", "high")):
        for number in range(10):
            inside = bins[:, index] == number
            found = table.query(f"split == 'test' and `class` == '{name}' and bin == {number}")
            assert found["rows"].sum() == inside.sum()
            if inside.any():
                expected = p[inside, index].mean(), hit[inside, index].mean()
                assert (found["mean_probability"].item(), found["observed_share"].item()) == pytest.approx(expected)
                distance += abs(expected[0] - expected[1]) * inside.sum()
    assert calibration_error(table, "test") == pytest.approx(distance / p.size)


def test_what_is_said_in_operation_follows_the_sources(spark: SparkSession) -> None:
    naive = list(NAIVE_FORECASTS)
    sources = Sources("class_week_ago", {"a": "model", "b": "last_same_hour", "c": NONE})
    random = np.random.default_rng(5)
    records = [
        (
            str(random.choice(["a", "b", "c", "new"])),
            float(random.integers(0, 3)),
            *map(float, random.integers(0, 3, 4)),
        )
        for _ in range(200)
    ]
    records = [(r[0], r[1], *(None if random.random() < 0.2 else value for value in r[2:])) for r in records]
    types = "server string, model double, " + ", ".join(f"by_{name} double" for name in naive)
    found = with_forecast(spark.createDataFrame(records, types), sources).collect()
    assert len(found) == len(records)
    for row in found:
        source = {"a": "model", "b": "last_same_hour", "c": "model"}.get(row["server"], "class_week_ago")
        said = None if source == "model" else row[f"by_{source}"]
        assert row["forecast"] == (row["model"] if said is None else said)
    unnamed = with_forecast(spark.createDataFrame(records, types), Sources()).collect()
    assert all(row["forecast"] == row["model"] for row in unnamed)
