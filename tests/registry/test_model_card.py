"""The card of a training that was made up here, so that it can be good and bad without a JVM."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import pandas as pd
import pytest
from pyspark.ml import PipelineModel

from workload_forecast.config import Thresholds
from workload_forecast.load_quantiles import LoadQuantiles
from workload_forecast.model.baselines import BASELINES
from workload_forecast.model.metrics import METRICS
from workload_forecast.model.rows import SplitRows
from workload_forecast.model.split import TimeSplit
from workload_forecast.model.training import TrainingResult
from workload_forecast.model.weights import EQUAL
from workload_forecast.registry.log_model import RegisteredVersion, describe
from workload_forecast.registry.model_card import CardFacts, model_card
from workload_forecast.schemas import LOAD_LEVELS
from workload_forecast.sources import Sources

FACTS = CardFacts(
    version=RegisteredVersion("workload-forecast", "7", "runs:/abc/model"),
    data="configured",
    duration="CUSTOM",
    subset="",
    servers=41,
    sessions=606_102,
    digest="0123abcd",
    missing_hours="zero",
    data_checks="warn",
    libraries={"python": "3.11.2", "mlflow": "3.17.0"},
)


def metrics(model: float) -> dict[str, float]:
    """Every metric another number, so that no figure can stand for another one."""
    naive = {name: 0.60 + 0.0101 * at for at, name in enumerate(BASELINES)}
    found = {f"test_{name}": model - 0.0013 * at for at, name in enumerate(METRICS)}
    found |= {f"forecast_test_{name}": model + 0.0017 + 0.0019 * at for at, name in enumerate(METRICS)}
    for baseline, score in naive.items():
        found |= {f"baseline_{baseline}_test_{name}": score + 0.0007 * at for at, name in enumerate(METRICS)}
    best = max(found[f"baseline_{name}_test_macro_f1"] for name in BASELINES)
    found |= {"best_baseline_test_macro_f1": best, "test_macro_f1_gain": found["test_macro_f1"] - best}
    found |= {f"test_load_below_p{level}": level / 100 - 0.0123 for level in LOAD_LEVELS}
    return found | {"test_calibration_error": 0.0321, "test_server_accuracy_p10": 0.4567, "test_servers": 39.0}


def training(model: float = 0.8, **changed: Any) -> TrainingResult:
    good = TrainingResult(
        model=cast(PipelineModel, None),
        algorithm="random_forest",
        parameters={"num_trees": 50, "seed": 42},
        split=TimeSplit(datetime(2016, 6, 1), datetime(2016, 6, 18), datetime(2016, 6, 20, 23, 59, 59)),
        thresholds=Thresholds(123.5, 500),
        thresholds_auto=True,
        weights=EQUAL,
        rows={"train": SplitRows(14_000, 12), "test": SplitRows(2_345, 6)},
        best_baseline=BASELINES[-1],
        metrics=metrics(model),
        tables={"sources": pd.DataFrame({"server": ["a", "b", "c"], "source": ["model", "none", "class_week_ago"]})},
        figures={},
        example=pd.DataFrame(),
        sources=Sources("model", {"b": "none", "c": "class_week_ago"}),
        load_quantiles=LoadQuantiles(),
    )
    return replace(good, **changed)


def test_every_score_is_the_run_s_metric() -> None:
    result = training()
    card = model_card(result, FACTS)
    head, *lines = re.findall(r"^\| (.*) \|$", card.split("## How good it is")[1].split("## Who")[0], re.MULTILINE)
    assert [cell.strip() for cell in head.split("|")][1:] == [
        "model",
        "as answered in operation",
        f"`{BASELINES[-1]}`",
    ]
    names = {"macro-F1": "macro_f1", "accuracy": "accuracy", "high called low": "high_called_low"}
    names |= {f"recall of {name}": f"recall_{name}" for name in ("low", "medium", "high")}
    scores = {}
    for title, *cells in ([cell.strip() for cell in line.split("|")] for line in lines[1:]):
        for prefix, cell in zip(("test", "forecast_test", f"baseline_{BASELINES[-1]}_test"), cells, strict=True):
            scores[f"{prefix}_{names[title]}"] = cell
    for name, figure in re.findall(r"`(\w+)` (0\.\d{4})", re.findall(r"every naive forecast: (.*)", card)[0]):
        scores[f"baseline_{name}_test_macro_f1"] = figure
    scores["test_calibration_error"] = re.findall(r"Calibration error (\S+):", card)[0]
    scores["test_server_accuracy_p10"] = re.findall(r"in at least (\S+) of their test hours", card)[0]
    for name, figure in re.findall(r"`load_(p\d\d)` (0\.\d{4})", card):
        scores[f"test_load_below_{name}"] = figure
    assert len(scores) == 3 * 6 + len(BASELINES) - 1 + 2 + len(LOAD_LEVELS)
    assert scores == {name: f"{result.metrics[name]:.4f}" for name in scores}


def test_what_it_was_made_of_is_told() -> None:
    card = model_card(training(), FACTS)
    assert card.startswith("# workload-forecast version 7\n\n**This model is better than")
    for fact in (
        "606,102 used (CUSTOM)",
        "14,000 hours, 2016-06-01 00:00:00 to before 2016-06-16 00:00:00",
        "2,345 hours of 39 servers, 2016-06-18 00:00:00 to 2016-06-20 23:59:59",
        "12 and 6 hours of these periods, of which no load is known",
        "`0123abcd`",
        "idle: load 0",
        "`random_forest`: random forest",
        "`num_trees` = 50, `seed` = 42",
        "low: load ≤ 123.5; high: > 500; medium: between (terciles of the training loads)",
        "of 3 servers 1 by model, 1 by class_week_ago, 1 by none",
        "Servers that are new get their answers from the model",
        "1 servers get no answer",
        "one test period of 3.0 days, which may be all weekend or holiday",
        'mlflow.pyfunc.load_model("models:/workload-forecast/7")',
        "python 3.11.2, mlflow 3.17.0.",
    ):
        assert fact in card, fact
    assert "synthetic" not in card


@pytest.mark.parametrize(("score", "worse"), [(0.5, True), (0.8, False)])
def test_a_model_that_is_worse_than_naive_says_so_first_and_among_its_limits(score: float, worse: bool) -> None:
    result = training(score)
    card = model_card(result, FACTS)
    naive = result.metrics["best_baseline_test_macro_f1"]
    said = (
        f"**This model is NOT better than the best naive forecast** on the test hours: macro-F1 {score - 0.0052:.4f} "
    )
    assert card.split("\n\n")[1].startswith(f"{said}against {naive:.4f} (`{BASELINES[-1]}`)") is worse
    assert (f"It adds nothing to `{BASELINES[-1]}`" in card.split("## Known limits")[1]) is worse
    assert ("NOT better" in describe(result)) is worse, "the registry's page says it too"


def test_equal_is_not_better() -> None:
    even = metrics(0.8)
    even["test_macro_f1"] = even["best_baseline_test_macro_f1"]
    assert "NOT better" in model_card(training(metrics={**even, "test_macro_f1_gain": 0.0}), FACTS)


def test_synthetic_sessions_a_part_of_the_servers_and_unknown_figures_are_said() -> None:
    result = training(tables={}, sources=Sources(), weights=(1.0, 2.0, 4.0), thresholds_auto=False)
    few = {name: value for name, value in result.metrics.items() if not name.endswith(("recall_high", "called_low"))}
    card = model_card(replace(result, metrics=few), replace(FACTS, data="synthetic", subset="sample-0.1"))
    assert "It has seen no real server" in card
    assert "a part of the servers (sample-0.1), and cannot be promoted" in card
    assert card.count("| unknown: no such hours ") == 6
    assert "The model, for every server: nothing was compared" in card
    assert "low 1, medium 2, high 4" in card
    assert "(from the settings)" in card
    assert "nan" not in card
