from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest

from tests.feature_tables import feature_table
from tests.features.helpers import noisy, series
from tests.serving.histories import HOUR, frame
from tests.strategies import START
from workload_forecast.schemas import CLASSES, EXPECTED_FEATURES, FEATURE_NAMES, LOAD_NUMBERS, LOAD_QUANTILES
from workload_forecast.serving.fleet_rows import forecast_rows
from workload_forecast.serving.forecaster import Forecaster
from workload_forecast.serving.pyfunc import CompiledModel, _load_pyfunc

ANSWER = ["prediction", *(f"probability_{name}" for name in CLASSES), "confidence", "source"]


@pytest.fixture(scope="module")
def model(lag_model: Path) -> CompiledModel:
    return _load_pyfunc(str(lag_model))


def test_feature_rows_get_one_answer_each(model: CompiledModel, lag_model: Path) -> None:
    rows = feature_table(servers=2, days=12)[list(FEATURE_NAMES)][100:280]
    found = model.predict(rows)
    scores = Forecaster.load(lag_model).scorer.score(rows)
    assert list(found.columns) == ANSWER
    assert found["prediction"].tolist() == [CLASSES[label] for label in scores.labels]
    assert np.array_equal(found[ANSWER[1:4]].to_numpy(), scores.probabilities)
    assert set(found["source"]) == {"model"}


def test_feature_rows_of_which_nothing_is_known_are_answered_with_none(model: CompiledModel) -> None:
    rows = feature_table(servers=1, days=10)[list(FEATURE_NAMES)].iloc[[-1, 0]]
    found = model.predict(rows)
    assert found["source"].tolist() == ["model", "none"]
    assert found.iloc[1].drop("source").tolist() == [None] * 5
    json.dumps(found.to_dict(orient="records"), allow_nan=False)


@pytest.mark.parametrize(
    "start", ["2016-07-06T12:00:00", "2016-07-06 12:00", "2016-07-06T12:00Z", "2016-07-06T14:00+02:00"]
)
def test_history_and_start_give_the_forecast(model: CompiledModel, lag_model: Path, start: str) -> None:
    history = frame(noisy(300, seed=2) + series(50.0, range(295, 300), "b"))
    found = model.predict(history, {"start": start, "hours": 3, "servers": ["b", "x", "a"]})
    expected = Forecaster.load(lag_model).forecast(history, ["b", "x", "a"], datetime(2016, 7, 6, 12), 3).to_pandas()
    assert list(found.columns) == ["server", "hour", *ANSWER]
    numbers = expected.select_dtypes("float64").columns
    pd.testing.assert_frame_equal(found.astype(dict.fromkeys(numbers, "float64")), expected)
    assert found["hour"].tolist()[:3] == [START + (300 + k) * HOUR for k in range(3)]


def test_without_names_all_servers_of_the_history_are_answered(model: CompiledModel) -> None:
    history = frame(series(1.0, range(100), "b") + series(1.0, range(100), "a"))
    found = model.predict(history, {"start": "2016-06-28T04:00:00", "hours": 1, "servers": []})
    assert found["server"].tolist() == ["a", "b"]


def test_the_load_in_numbers_follows_if_it_is_asked_for(model: CompiledModel) -> None:
    rows = feature_table(servers=2, days=12)[list(FEATURE_NAMES)][:280]
    rows.loc[rows.index[-1], "expected_load"] = np.nan
    found = model.predict(rows, {"load": True})
    pd.testing.assert_frame_equal(found[ANSWER], model.predict(rows))
    assert list(found.columns) == [*ANSWER, *LOAD_NUMBERS]
    quantiles = model.forecaster.scorer.facts.load_quantiles
    for (_, row), (_, given) in zip(found.iterrows(), rows.iterrows(), strict=True):
        assert [row[name] for name in EXPECTED_FEATURES] == [
            None if np.isnan(given[name]) else given[name] for name in EXPECTED_FEATURES
        ]
        load, error = given["expected_load"], given["expected_error"]
        for name, factor in zip(LOAD_QUANTILES, quantiles.factors, strict=True):
            reckoned = load + factor * (error + quantiles.least_error)
            assert row[name] == (None if np.isnan(reckoned) else pytest.approx(max(reckoned, 0.0), rel=1e-14))
    known = found["load_p90"].notna()
    assert known.any()
    assert not known.all()


def test_a_forecast_from_a_history_has_the_load_in_numbers_too(model: CompiledModel) -> None:
    history = frame(noisy(300, seed=2))
    asked = {"start": "2016-07-06T12:00:00", "hours": 3, "servers": ["a", "x"]}
    found = model.predict(history, {**asked, "load": True})
    pd.testing.assert_frame_equal(found.drop(columns=list(LOAD_NUMBERS)), model.predict(history, asked))
    table = forecast_rows(model.forecaster, pl.from_pandas(history), datetime(2016, 7, 6, 12), START + 299 * HOUR, "1")
    for name in LOAD_NUMBERS:
        assert found[name].tolist() == [*table[name].to_list()[:3], None, None, None]


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (feature_table(1, 1).drop(columns="month"), {}, r"lack the column\(s\) month"),
    (frame(series(1.0, [1])), {}, r"the feature rows lack the column\(s\) hour_of_day, "),
    (feature_table(1, 1)[list(FEATURE_NAMES)], {"start": "2016-07-01"}, r"the history lacks the column\(s\) server, "),
    (frame(series(1.0, [1])), {"start": "soon"}, "start='soon' is no time like 2016-07-01T00:00:00"),
    (frame(series(1.0, [1])), {"start": "2016-07-01T00:20:00"}, "is not a whole hour"),
    (frame(series(1.0, [1])), {"start": "2016-07-01", "hours": 49}, "hours must be 1 to 48"),
]


@pytest.mark.parametrize(("rows", "params", "message"), BAD)
def test_what_cannot_be_used_is_an_error_of_mlflows_kind(
    model: CompiledModel, rows: pd.DataFrame, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(mlflow.MlflowException, match=message) as refused:
        model.predict(rows, params)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert "\n" not in refused.value.message
