"""The composition of this room: feature table in, fitted and evaluated model out.

Metrics of a training run (all of the test rows are later than all of the training rows by at least the horizon):

================================================ ==========================================================
name                                             meaning
================================================ ==========================================================
``train_rows``, ``test_rows``                    labelled rows that were trained on, tested on
``train_unlabelled_rows``, ``test_…``            rows of the period that were left out: their load is unknown
``train_<metric>``, ``test_<metric>``            the model; ``<metric>`` is any of
                                                 :data:`~workload_forecast.model.metrics.METRICS`
``forecast_test_<metric>``                       what is said in operation: the model, or what was chosen in its place
                                                 (:mod:`~workload_forecast.model.source_choice`)
``baseline_<name>_test_<metric>``                each of :data:`~workload_forecast.model.baselines.BASELINES`
``best_baseline_test_macro_f1``                  the greatest macro-F1 of a baseline
``test_macro_f1_gain``                           the model's macro-F1 less that one: above 0, the model is worth it
``train_brier``, ``test_brier``                  Brier score of the class probabilities, 0 (perfect) to 2
``train_calibration_error``, ``test_…``          mean distance of predicted and observed shares, 0 to 1
``test_servers``                                 servers with test rows
``test_server_accuracy_p10`` (25, 50, 75, 90)    quantiles of the servers' accuracies
``test_servers_at_least_best_baseline_share``    share of servers where the model is at least as accurate as the
                                                 best baseline
``test_load_below_p10`` (50, 90, 95, 99)         share of the test rows whose load is not above that quantile
================================================ ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from workload_forecast.config import ClassWeights, Thresholds
from workload_forecast.load_quantiles import LoadQuantiles
from workload_forecast.model import plots
from workload_forecast.model.baselines import BASELINES, majority_class
from workload_forecast.model.decision import DAYS, decide
from workload_forecast.model.evaluation import (
    FORECAST,
    Evaluation,
    brier_score,
    calibration_error,
    count_calibration,
    count_outcomes,
    evaluate,
    score_rows,
)
from workload_forecast.model.importance import feature_importances
from workload_forecast.model.measured_quantiles import measure_load_quantiles, shares_below
from workload_forecast.model.metrics import confusion_scores
from workload_forecast.model.pipeline import Parameter, Parameters, fit_model, make_pipeline, resolve_parameters
from workload_forecast.model.rows import (
    SplitRows,
    check_labels,
    count_labels,
    kept,
    order_rows,
)
from workload_forecast.model.source_choice import Asked, judge_sources
from workload_forecast.model.split import SPLIT, SPLITS, TEST, TRAIN, TimeSplit, newest
from workload_forecast.model.weights import EQUAL, Weights, class_weights
from workload_forecast.progress import Progress
from workload_forecast.schemas import CLASSES, FEATURE_NAMES, FEATURES
from workload_forecast.source_limits import SourceLimits
from workload_forecast.sources import MODEL, Sources

SERVER_QUANTILES = (10, 25, 50, 75, 90)
EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class TrainingResult:
    """A fitted model and everything that is worth logging about it."""

    model: PipelineModel
    algorithm: str
    parameters: Mapping[str, Parameter]  #: resolved, defaults included
    split: TimeSplit
    thresholds: Thresholds  #: resolved
    thresholds_auto: bool
    weights: Weights  #: of the classes
    rows: Mapping[str, SplitRows]  #: of each split
    best_baseline: str  #: the one with the greatest macro-F1 on the test rows
    metrics: Mapping[str, float]  #: see the module's table; finite numbers only
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure]
    example: pd.DataFrame  #: the first test rows' features, unknown ones as NaN
    sources: Sources  #: who answers for which server
    load_quantiles: LoadQuantiles  #: how far loads lay from the expected one on the last days of the training


def train(
    features: DataFrame,
    split: TimeSplit,
    thresholds: Thresholds | Literal["auto"],
    algorithm: str = "random_forest",
    parameters: Parameters | None = None,
    progress: Progress | None = None,
    weighting: ClassWeights | None = None,
    choice: SourceLimits | None = None,
) -> TrainingResult:
    """Fit ``algorithm`` to the training rows of the feature table and evaluate it, and the baselines, on both splits.

    Everything that is learnt (model, majority class, thresholds where they are ``auto``) is learnt from training rows
    only. The same data, seed and parameters give the same model whatever the order or partitioning of the rows.
    By the limits ``choice``, who answers in operation is chosen on the last days of the training, before the model
    itself is fitted (:mod:`~workload_forecast.model.source_choice`); None: the model.

    Raises:
        DataError: a split has no labelled rows.
        ModelError: the training rows hold a single class, or the algorithm or a parameter's value does not exist.
        SettingsError: the algorithm has no such parameter.
    """
    resolved = resolve_parameters(algorithm, parameters)
    make_pipeline(algorithm, resolved, Thresholds(0, 1))  # an impossible parameter is an error before any work is done
    progress = progress or Progress()
    with progress.stage("train: count and order the rows"):
        counts, cuts, ordered = order_rows(features, split, thresholds)
    with kept(ordered) as rows:
        with progress.stage("train: label the rows"):
            labels = count_labels(rows)
            check_labels(labels[TRAIN], cuts)
            weights = class_weights(weighting, labels[TRAIN]) if weighting else EQUAL
        asked = Asked(algorithm, resolved, cuts, weighting)
        sources, servers = judge_sources(rows, split, asked, choice, progress) if choice else (Sources(), None)
        trained_on = f"{counts[TRAIN].labelled:,} rows × {len(FEATURE_NAMES)} features"
        with progress.stage("train: fit") as stage:
            stage.detail = f"({algorithm}, {trained_on})"
            training = rows.filter(F.col(SPLIT) == TRAIN)
            model = fit_model(training, algorithm, resolved, cuts, weights)
            model, weights = decide(model, training, split, weights, weighting)
            quantiles = measure_load_quantiles(newest(training, split, DAYS), cuts)
        scored_count = sum(count.labelled for count in counts.values())
        with progress.stage("train: evaluate") as stage:
            stage.detail = f"({scored_count:,} rows)"
            with kept(score_rows(model, rows, cuts, majority_class(labels[TRAIN]), sources)) as scored:
                evaluation = evaluate(count_outcomes(scored))
                calibration = count_calibration(scored)
            loads_below = shares_below(rows.filter(F.col(SPLIT) == TEST), quantiles)
            example = _example(rows)
            importances = feature_importances(model, training)
    best = best_baseline(evaluation)
    with progress.stage("train: draw the figures"):
        figures = _draw(evaluation, calibration, importances, best)
    return TrainingResult(
        model=model,
        algorithm=algorithm,
        parameters=resolved,
        split=split,
        thresholds=cuts,
        thresholds_auto=isinstance(thresholds, str),
        weights=weights,
        rows=counts,
        best_baseline=best,
        metrics={
            **summarise(evaluation, calibration, best),
            **{f"{name}_unlabelled_rows": float(counts[name].unlabelled) for name in SPLITS},
            **{f"{TEST}_{name}": share for name, share in loads_below.items()},
        },
        tables={
            "scores": evaluation.scores,
            "confusion": _confusion_table(evaluation),
            "calibration": calibration,
            "accuracy_by_server": evaluation.by_server,
            "accuracy_by_hour_of_day": evaluation.by_hour_of_day,
            "feature_importance": importances,
            **({} if servers is None else {"sources": servers}),
        },
        figures=figures,
        example=example,
        sources=sources,
        load_quantiles=quantiles,
    )


def best_baseline(evaluation: Evaluation) -> str:
    """The baseline with the greatest macro-F1 on the test rows; of several, the first of :data:`BASELINES`."""
    return max(BASELINES, key=lambda name: confusion_scores(evaluation.matrices[TEST, name])["macro_f1"])


def summarise(evaluation: Evaluation, calibration: pd.DataFrame, best: str) -> dict[str, float]:
    """The metrics of the table above that follow from the evaluation; those that are unknown (0/0) are left out."""
    metrics: dict[str, float] = {}
    for name in SPLITS:
        matrix = evaluation.matrices[name, MODEL]
        metrics[f"{name}_rows"] = float(matrix.sum())
        metrics |= {f"{name}_{metric}": value for metric, value in confusion_scores(matrix).items()}
        metrics[f"{name}_brier"] = brier_score(calibration, name)
        metrics[f"{name}_calibration_error"] = calibration_error(calibration, name)
    for prefix, predictor in ((FORECAST, FORECAST), *((f"baseline_{name}", name) for name in BASELINES)):
        scores = confusion_scores(evaluation.matrices[TEST, predictor])
        metrics |= {f"{prefix}_{TEST}_{metric}": value for metric, value in scores.items()}
    metrics["best_baseline_test_macro_f1"] = metrics[f"baseline_{best}_test_macro_f1"]
    metrics["test_macro_f1_gain"] = metrics["test_macro_f1"] - metrics["best_baseline_test_macro_f1"]
    servers = evaluation.by_server
    metrics["test_servers"] = float(len(servers))
    for percent in SERVER_QUANTILES:
        metrics[f"test_server_accuracy_p{percent}"] = float(servers[MODEL].quantile(percent / 100))
    metrics["test_servers_at_least_best_baseline_share"] = float((servers[MODEL] >= servers[best]).mean())
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _example(rows: DataFrame) -> pd.DataFrame:
    first = rows.filter(F.col(SPLIT) == TEST).orderBy("hour", "server").limit(EXAMPLE_ROWS)
    types = {name: "float64" if FEATURES.columns[name].is_float() else "int64" for name in FEATURE_NAMES}
    values = [tuple(row) for row in first.select(*FEATURE_NAMES).collect()]
    return pd.DataFrame(values, columns=list(FEATURE_NAMES)).astype(types)


def _confusion_table(evaluation: Evaluation) -> pd.DataFrame:
    records = [
        {"split": split, "predictor": predictor, "true": true, **dict(zip(CLASSES, row, strict=True))}
        for (split, predictor), matrix in evaluation.matrices.items()
        for true, row in zip(CLASSES, matrix.tolist(), strict=True)
    ]
    return pd.DataFrame(records)


def _draw(evaluation: Evaluation, calibration: pd.DataFrame, importances: pd.DataFrame, best: str) -> dict[str, Figure]:
    figures = {
        f"confusion_matrix_{name}": plots.confusion_matrix(
            evaluation.matrices[name, MODEL], f"Model on the {name} rows"
        )
        for name in SPLITS
    }
    test_scores = evaluation.scores[evaluation.scores[SPLIT] == TEST]
    return figures | {
        "model_against_baselines": plots.model_against_baselines(test_scores, "Model and baselines on the test rows"),
        **({"feature_importance": plots.feature_importance(importances)} if len(importances) else {}),
        "calibration": plots.calibration(calibration[calibration[SPLIT] == TEST], "Calibration on the test rows"),
        "accuracy_by_server": plots.server_accuracies(evaluation.by_server, best),
        "accuracy_by_hour_of_day": plots.accuracy_by_hour(evaluation.by_hour_of_day, best),
    }
