"""Each question with its limits, and drift beside plain Python."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from workload_forecast.config import Thresholds
from workload_forecast.model.load_summary import summarise_loads
from workload_forecast.model.split import TimeSplit
from workload_forecast.monitoring.drift import Drift, find_drift
from workload_forecast.monitoring.findings import Findings, Promise, beside_promise, find
from workload_forecast.monitoring.plots import scores_by_origin
from workload_forecast.monitoring_limits import Levels, MonitoringLimits

START, HOUR = datetime(2016, 6, 1), timedelta(hours=1)
LIMITS = MonitoringLimits()
FINE: Mapping[str, float] = {"rows": 1000, "answered": 1000, "macro_f1": 0.7, "recall_high": 0.8, "gain": 0.02}
PROMISE = Promise(0.7, 0.8, {"a": 0.9, "b": 0.9})
NO_DRIFT = Drift(pl.DataFrame(), pl.DataFrame(), {"class_drift": 0.0, "level_drift": 0.0}, 1000)


def servers(**accuracies: float) -> pl.DataFrame:
    rows = [{"server": name, "answered": 500, "accuracy": accuracy} for name, accuracy in accuracies.items()]
    return pl.DataFrame(rows)


def found(limits: MonitoringLimits = LIMITS, **other: Any) -> Findings:
    given: dict[str, Any] = {
        "overall": FINE,
        "far": FINE,
        "servers": servers(a=0.9, b=0.9),
        "promise": PROMISE,
        "drift": NO_DRIFT,
    }
    given |= {"since_forecast": 1.0, **other}
    given["servers"] = beside_promise(given["servers"], given["promise"])
    return find(**given, limits=limits)


def levels(findings: Findings) -> dict[str, str]:
    """What is not ok."""
    return {one.name: one.level for one in findings.items if one.level != "ok"}


def test_what_is_as_promised_is_ok() -> None:
    findings = found()
    assert (levels(findings), findings.level) == ({}, "ok")
    assert findings.table["name"].to_list() == [one.name for one in findings.items]


@pytest.mark.parametrize(
    ("changed", "wanted", "said"),
    [
        ({"far": {**FINE, "macro_f1": 0.66}}, {"macro_f1_loss": "warning"}, "promised 0.700 (-0.040); limit 0.03"),
        ({"far": {**FINE, "macro_f1": 0.61}}, {"macro_f1_loss": "alarm"}, "0.610, promised 0.700 (-0.090); limit"),
        ({"far": {**FINE, "recall_high": 0.65}}, {"high_recall_loss": "alarm"}, "recall of high of hours 25 to 48"),
        ({"overall": {**FINE, "gain": -0.01}}, {"behind_naive": "warning"}, "macro-F1 -0.010 from a naive"),
        ({"overall": {**FINE, "gain": -0.04}}, {"behind_naive": "alarm"}, "limit 0.03"),
        ({"overall": {**FINE, "rows": 4000}}, {"unanswered": "alarm"}, "nothing was said of 75.0%"),
        ({"servers": servers(a=0.9, b=0.6)}, {"fallen_servers": "warning"}, "1 of 2 servers is more than 0.2 below"),
        ({"drift": Drift(pl.DataFrame(), pl.DataFrame(), {"class_drift": 0.4, "level_drift": 0.3}, 1000)},
         {"class_drift": "alarm", "level_drift": "warning"}, "40.0% of the hours would have to change class"),
        ({"since_forecast": 100.0}, {"hours_since_forecast": "warning"}, "began 100 hours before the end"),
    ],
)  # fmt: skip
def test_what_is_not_as_promised(changed: dict[str, Any], wanted: dict[str, str], said: str) -> None:
    findings = found(**changed)
    assert levels(findings) == wanted
    assert findings.level == ("alarm" if "alarm" in wanted.values() else "warning")
    assert any(said in one.reason for one in findings.of_level("alarm", "warning"))


def test_the_limit_itself_is_no_loss_too_many() -> None:
    at = LIMITS.model_copy(update={"behind_naive": Levels(warn=0.25, alarm=0.5)})
    assert levels(found(at, overall={**FINE, "gain": -0.25})) == {}
    assert levels(found(at, overall={**FINE, "gain": -0.5})) == {"behind_naive": "warning"}


def test_few_hours_decide_nothing() -> None:
    few = {**FINE, "rows": 499, "answered": 499, "macro_f1": 0.1, "recall_high": 0.1, "gain": -0.5}
    findings = found(overall=few, far=few, servers=servers(a=0.1).with_columns(answered=pl.lit(23)))
    scores = {"macro_f1_loss", "high_recall_loss", "behind_naive", "unanswered", "fallen_servers"}
    assert levels(findings) == dict.fromkeys(scores, "unknown")
    assert findings.level == "unknown"
    assert "499 server-hours are too few to decide by" in findings.items[0].reason


def test_what_is_not_known_is_said_to_be() -> None:
    unknown = {**FINE, "macro_f1": math.nan, "recall_high": math.nan}
    nothing = Drift(pl.DataFrame(), pl.DataFrame(), {}, 1000)
    reasons = {one.name: one.reason for one in found(far=unknown, drift=nothing).items if one.level == "unknown"}
    assert reasons["macro_f1_loss"] == "macro-F1 of hours 25 to 48 ahead is not known yet"
    assert "holds no hour of the version's training" in reasons["class_drift"]
    untold = found(promise=Promise())
    assert levels(untold) == dict.fromkeys(("macro_f1_loss", "high_recall_loss", "fallen_servers"), "unknown")
    assert untold.level == "ok", "the rest is known"
    assert "has left no promise" in untold.items[0].reason


def test_a_server_is_held_against_its_own_promise() -> None:
    table = beside_promise(servers(a=0.5, new=0.5), PROMISE)
    assert table.select("server", "promised_accuracy", "loss").rows() == [("a", 0.9, 0.4), ("new", None, None)]


def test_drift_is_that_of_plain_python() -> None:
    loads: dict[str, Sequence[float | None]] = {
        "a": [5.0] * 60 + [15.0] * 108 + [25.0] * 24,
        "b": [*[None] * 168, *[5.0] * 24],
    }
    rows = [
        {"server": name, "hour": START + n * HOUR, "total_load": load, "trend_days": n / 24}
        for name, series in loads.items()
        for n, load in enumerate(series)
    ]
    split = TimeSplit(START, START + 168 * HOUR, START + 191 * HOUR)  # 120 hours, 48 between, 24
    frame = nw.from_native(pl.DataFrame(rows, schema_overrides={"total_load": pl.Float64}).lazy())
    drift = find_drift(
        summarise_loads(frame, split, Thresholds(10.0, 20.0)), np.array([[4, 0, 0], [0, 0, 0], [4, 0, 0]])
    )
    assert drift.classes.rows() == [
        ("low", 0.5, 0.5, 0.5, 1.0),
        ("medium", 0.5, 0.0, 0.0, 0.0),
        ("high", 0.0, 0.5, 0.5, 0.0),
    ]
    assert (drift.number("class_drift"), drift.number("class_bias")) == (0.5, 0.5)
    assert (drift.number("unseen_servers"), drift.rows) == (0.5, 48)
    assert drift.number("fleet_shift") == pytest.approx(15 / (5 * 1.4826)), "from 10 to 25, in spreads"
    assert drift.levels["training"].sum() == drift.levels["window"].sum() == pytest.approx(1)
    assert drift.levels.row(-2, named=True)["window"] == 1.0, "2.02 spreads above the usual"
    assert math.isnan(drift.number("anything else"))


def test_a_training_that_the_data_holds_no_more_leaves_drift_unknown() -> None:
    rows = {"server": ["a"], "hour": [START + 168 * HOUR], "total_load": [5.0], "trend_days": [7.0]}
    split = TimeSplit(START, START + 168 * HOUR, START + 191 * HOUR)
    loads = summarise_loads(nw.from_native(pl.DataFrame(rows).lazy()), split, Thresholds(10.0, 20.0))
    drift = find_drift(loads, np.diag([1, 0, 0]))
    assert set(drift.numbers) == {"class_bias", "unseen_servers"}
    assert drift.classes["training"].null_count() == 3


def test_the_figure_says_what_was_promised() -> None:
    origins = pl.DataFrame({"origin": ["2016-06-01T23"], "macro_f1": [0.5], "naive_macro_f1": [None]})

    def legend(promised: float) -> list[str]:
        found = scores_by_origin(origins, promised).axes[0].get_legend()
        return [text.get_text() for text in found.get_texts()] if found else []

    assert legend(0.75) == ["what was said", "last same hour", "promised 48 hours ahead: 0.750"]
    assert legend(math.nan) == ["what was said", "last same hour"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"warn": 0.2, "alarm": 0.1}, "must not be above alarm=0.1"),
        ({"warn": 0.1}, "alarm"),
        ({"warn": -1, "alarm": 0}, "warn"),
    ],
)
def test_limits_that_cannot_be(given: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MonitoringLimits.model_validate({"classDrift": given})
