"""Servers that a training left to a naive forecast, or to none."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.feature_tables import feature_table
from tests.features.helpers import noisy
from tests.serving.conftest import SHARES
from tests.serving.histories import HOUR, class_of, frame
from tests.serving.test_compiled import set_fact
from tests.strategies import START
from workload_forecast.schemas import CLASSES
from workload_forecast.serving.forecaster import Forecaster
from workload_forecast.serving.pyfunc import CompiledModel

SOURCES = {"fleet": "model", "servers": {"b": "class_week_ago", "c": "none"}, "shares": {"class_week_ago": SHARES}}
BEGIN = START + 400 * HOUR


def gated(lag_model: Path, folder: Path, **sources: Any) -> Forecaster:
    copy = Path(shutil.copytree(lag_model, folder / "gated"))
    set_fact(copy, sources={**SOURCES, **sources})
    return Forecaster.load(copy)


@pytest.fixture
def loads() -> dict[tuple[str, datetime], float]:
    rows = [row for seed, server in enumerate("abc") for row in noisy(400, seed=seed, server=server)]
    return {(row["server"], row["hour"]): row["total_load"] for row in rows}


def history() -> Any:
    return frame([row for seed, server in enumerate("abc") for row in noisy(400, seed=seed, server=server)])


def test_each_server_is_answered_by_its_source(
    lag_model: Path, tmp_path: Path, loads: dict[tuple[str, datetime], float]
) -> None:
    forecaster, plain = gated(lag_model, tmp_path), Forecaster.load(lag_model)
    found = forecaster.forecast(history(), ["a", "b", "c", "new"], BEGIN).to_pylist()
    asked_of_the_model = plain.forecast(history(), ["a", "b"], BEGIN).to_pylist()
    assert found[:48] == asked_of_the_model[:48]
    unknown = 0
    for row, model in zip(found[48:96], asked_of_the_model[48:], strict=True):
        load = loads.get(("b", row["hour"] - 168 * HOUR))
        if load is None:
            unknown += 1
            assert row == model, "what the naive forecast does not know, the model answers"
        else:
            assert (row["prediction"], row["source"]) == (class_of(load), "baseline")
            assert tuple(row[f"probability_{name}"] for name in CLASSES) == SHARES[CLASSES.index(row["prediction"])]
    assert 0 < unknown < 48
    for row in found[96:]:
        assert (row["prediction"], row["confidence"], row["source"]) == (None, None, "none")


def test_what_was_scored_ahead_says_the_same(lag_model: Path, tmp_path: Path) -> None:
    forecaster = gated(lag_model, tmp_path)
    prepared = forecaster.prepare(history(), BEGIN, 60)
    scored = forecaster.score_prepared(prepared)
    for later in (0, 7):
        asked = (prepared, ["c", "b", "a"], BEGIN + later * HOUR, 48)
        fresh, looked_up = forecaster.decide_prepared(*asked), forecaster.decide_prepared(*asked, scored)
        assert np.array_equal(fresh.sources, looked_up.sources)
        named = fresh.sources < 2
        assert np.array_equal(fresh.labels[named], looked_up.labels[named])
        assert np.array_equal(fresh.probabilities, looked_up.probabilities, equal_nan=True)


def test_a_naive_forecast_for_the_fleet_answers_for_new_servers_too(lag_model: Path, tmp_path: Path) -> None:
    forecaster = gated(lag_model, tmp_path, fleet="class_week_ago", servers={"a": "model"})
    found = forecaster.forecast(history(), ["a", "b"], BEGIN).to_pylist()
    assert {row["source"] for row in found[:48]} == {"model"}
    assert [row["source"] for row in found[48:]].count("baseline") > 40


def test_feature_rows_are_answered_by_their_server_where_they_name_one(lag_model: Path, tmp_path: Path) -> None:
    model = CompiledModel(gated(lag_model, tmp_path))
    rows = feature_table(servers=1, days=12).tail(48).assign(server="b")
    rows["total_load_lag_168h"] = 50.0
    named, unnamed = model.predict(rows), model.predict(rows.drop(columns="server"))
    assert named["source"].tolist() == ["baseline"] * 48
    assert named["prediction"].tolist() == ["low"] * 48
    assert set(unnamed["source"]) == {"model"}
    assert set(model.predict(rows.assign(server="c"))["source"]) == {"none"}
