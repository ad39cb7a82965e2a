"""From judged rows to :class:`~workload_forecast.sources.Sources`: who is to answer for the fleet and for each server.

After Poppe et al., *Seagull* (VLDB 2021): some servers are forecast well by a model, some as well or better by a naive
forecast, some by nothing. Ten days choose noise, so the model keeps its place unless another forecast is better by a
lasting margin: the days are compared in pairs, and the difference must be several of its standard errors. For the fleet
the macro-F1 of all rows counts, and its error is that of leaving out one day after the other (jackknife); for a server
it is the number of hours that are named rightly. A server of which nobody names enough hours gets no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame

from workload_forecast.config import DEFAULT_FOLD_TRAINING_HOURS, ClassWeights, Thresholds
from workload_forecast.errors import DataError, ModelError
from workload_forecast.features.lags import DAY
from workload_forecast.model.baselines import BASELINES, MAJORITY
from workload_forecast.model.fold_rows import FoldData
from workload_forecast.model.folds import FoldPlan, folds_before_test
from workload_forecast.model.judged_rows import judged_rows, positions_of
from workload_forecast.model.metrics import Matrix, confusion_scores
from workload_forecast.model.parameters import Parameters
from workload_forecast.model.split import TimeSplit
from workload_forecast.progress import Progress
from workload_forecast.schemas import HORIZON_HOURS
from workload_forecast.source_limits import SourceLimits
from workload_forecast.sources import MODEL, NAIVE_FORECASTS, NONE, Shares, Sources

Doubles = npt.NDArray[np.float64]

#: Who may answer; the model comes first, so that equal ones leave it its place.
CANDIDATES = (MODEL, *NAIVE_FORECASTS)


@dataclass(frozen=True)
class Asked:
    """What is fitted, in a training and in the comparison before it."""

    algorithm: str
    parameters: Parameters
    thresholds: Thresholds
    weighting: ClassWeights | None


def judge_sources(
    rows: DataFrame, split: TimeSplit, asked: Asked, limits: SourceLimits, progress: Progress
) -> tuple[Sources, pd.DataFrame | None]:
    """Fit to what comes before the last days of a training, and choose by what is said on these days.

    Args:
        rows: labelled and in order (:func:`~workload_forecast.model.rows.labelled_rows`).
        split: of the training.
        asked: what is fitted.
        limits: of the choice.
        progress: is told, also why nothing could be compared.

    Returns:
        As :func:`choose_sources`; the model everywhere, and no table, where there is nothing to compare on.
    """
    fold = choice_fold(split, limits)
    if fold is None:
        return Sources(), None
    with progress.stage("train: compare with the naive forecasts") as stage:
        stage.detail = f"(from {fold.test_from} to {fold.to})"
        try:
            with closing(FoldData(rows, fold, asked.thresholds, 1, asked.weighting)) as data:
                return choose_sources(data.judge(asked.algorithm, asked.parameters), limits)
        except (DataError, ModelError) as problem:
            progress.say(f"train: nothing to compare with the naive forecasts on, the model answers for all: {problem}")
            return Sources(), None


def choose_sources(rows: pd.DataFrame, limits: SourceLimits) -> tuple[Sources, pd.DataFrame]:
    """Choose who answers for the fleet and for each server.

    Args:
        rows: judged rows, as :meth:`~workload_forecast.model.fold_rows.FoldData.judge` returns them.
        limits: of the choice.

    Returns:
        The sources, and a table of the servers: ``server``, ``source``, ``days``, ``rows``, the accuracy of each of
        :data:`CANDIDATES`, and ``margin`` (of the most accurate other forecast over the fleet's, in standard errors;
        NaN where the days are too few). With too few days, the model everywhere.

    Raises:
        SchemaError, SettingsError, DataError: as :func:`~workload_forecast.model.judged_rows.judged_rows` does.
    """
    judged = judged_rows(rows, MODEL, BASELINES, MAJORITY)
    servers, names = positions_of(judged.keys["server"])
    days, dates = positions_of(judged.keys["hour"].dt.floor("D"))
    groups = servers * len(dates) + days
    chosen = [judged.predictors.index(name) for name in CANDIDATES]
    counts: Matrix = judged.counts(groups, len(names) * len(dates))[:, chosen]
    counts = counts.reshape(len(names), len(dates), *counts.shape[1:])
    fleet = _fleet_source(counts.sum(axis=0), limits)
    table = _server_table(counts, [str(name) for name in names], fleet, limits)
    others = table[table["source"] != fleet]
    sources = dict(zip(others["server"], others["source"], strict=True))
    answering = {fleet, *sources.values()} & set(NAIVE_FORECASTS)
    whole = dict(zip(CANDIDATES, counts.sum(axis=(0, 1)), strict=True))
    return Sources(fleet, sources, {name: _shares(whole[name]) for name in CANDIDATES if name in answering}), table


def choice_fold(split: TimeSplit, limits: SourceLimits) -> TimeSplit | None:
    """The last days before the end of a training, as a fold that is trained on what comes before; None: too short.

    What is fitted needs :data:`~workload_forecast.config.DEFAULT_FOLD_TRAINING_HOURS`, and so do forecasts that go by
    the errors of the last two weeks.
    """
    length = (split.training_to - split.training_from) // timedelta(hours=1)
    room = (length - DEFAULT_FOLD_TRAINING_HOURS - HORIZON_HOURS) // DAY
    days = min(limits.days, room)
    if not limits.days or days < limits.minimum_days:
        return None
    return folds_before_test(split, FoldPlan(1, days * DAY))[0]


def describe_sources(table: pd.DataFrame) -> str:
    """Say in a line how many servers are answered by whom."""
    counts = table["source"].value_counts()
    parts = [f"{counts[name]} by {name}" for name in (*CANDIDATES, NONE) if name in counts]
    return f"of {len(table)} servers {', '.join(parts)}"


def _fleet_source(by_day: Matrix, limits: SourceLimits) -> str:
    """The best naive forecast where its macro-F1 is above the model's by the margin; else the model."""
    days = len(by_day)
    if days < limits.minimum_days:
        return MODEL
    whole = by_day.sum(axis=0)
    scores = _macro_f1(whole)
    best = 1 + int(np.argmax(scores[1:]))
    without = np.array([_macro_f1(whole - day) for day in by_day])
    gains = without[:, best] - without[:, 0]
    error = np.sqrt((days - 1) / days * ((gains - gains.mean()) ** 2).sum())
    gain = scores[best] - scores[0]
    return CANDIDATES[best] if gain > 0 and gain >= limits.fleet_margin * error else MODEL


def _server_table(counts: Matrix, names: Sequence[str], fleet: str, limits: SourceLimits) -> pd.DataFrame:
    """One row for each server; ``counts`` are servers × days × candidates × 3 × 3."""
    hits = np.trace(counts, axis1=3, axis2=4).astype(np.float64)
    rows = counts[:, :, 0].sum(axis=(2, 3))
    days = (rows > 0).sum(axis=1)
    accuracies = hits.sum(axis=1) / rows.sum(axis=1, keepdims=True)
    place = CANDIDATES.index(fleet)
    others = np.where(np.arange(len(CANDIDATES)) == place, -1.0, accuracies)
    best = others.argmax(axis=1)
    gains = np.take_along_axis(hits, best[:, None, None], axis=2)[:, :, 0] - hits[:, :, place]
    margins = np.array([_margin(gain[seen > 0]) for gain, seen in zip(gains, rows, strict=True)])
    margins[days < limits.minimum_days] = np.nan
    taken = np.where((margins > 0) & (margins >= limits.server_margin), best, place)
    sources = np.array(CANDIDATES, dtype=object)[taken]
    reached = np.take_along_axis(accuracies, taken[:, None], axis=1)[:, 0] >= limits.least_accuracy
    sources[~reached & (days >= limits.minimum_days)] = NONE
    return pd.DataFrame(
        {
            "server": names,
            "source": sources,
            "days": days,
            "rows": rows.sum(axis=1),
            **{name: accuracies[:, index] for index, name in enumerate(CANDIDATES)},
            "margin": margins,
        }
    )


def _margin(gains: Doubles) -> float:
    """The sum of daily gains in units of its standard error; infinite where every day has the same gain."""
    days = len(gains)
    if days < 2:
        return float("nan")
    error = np.sqrt(days / (days - 1) * ((gains - gains.mean()) ** 2).sum())
    total = gains.sum()
    return float(total / error) if error > 0 else float(np.sign(total) * np.inf) if total else 0.0


def _macro_f1(matrices: Matrix) -> Doubles:
    return np.array([confusion_scores(matrix)["macro_f1"] for matrix in matrices])


def _shares(matrix: Matrix) -> Shares:
    """For each class that was named, the share of each true class; one row of each is added, so nothing is certain."""
    counts = matrix.T + 1
    return tuple(tuple(row) for row in (counts / counts.sum(axis=1, keepdims=True)).tolist())
