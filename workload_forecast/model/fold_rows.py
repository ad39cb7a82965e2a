"""From a fold of the feature table to the rows that a backtest judges.

A fold is prepared once (:class:`FoldData`: its rows counted, labelled, ordered and kept, the naive forecasts fetched)
and judged as often as there are models to try. Each is fitted as :func:`~workload_forecast.model.training.train` fits:
the same rows in the same order, so the same model.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from workload_forecast.config import ClassWeights, Thresholds
from workload_forecast.errors import ModelError
from workload_forecast.model.baselines import MAJORITY, history_classes, majority_class
from workload_forecast.model.decision import decide
from workload_forecast.model.evaluation import answer_columns
from workload_forecast.model.judged_rows import FOLD, LEAD
from workload_forecast.model.labels import LABEL
from workload_forecast.model.pipeline import PROBABILITY, Parameters, fit_model
from workload_forecast.model.rows import check_labels, count_labels, kept, order_rows
from workload_forecast.model.split import SPLIT, TEST, TRAIN, TimeSplit
from workload_forecast.model.weights import EQUAL, class_weights
from workload_forecast.schemas import CLASSES
from workload_forecast.sources import MODEL, NAIVE_FORECASTS

PROBABILITIES = tuple(f"probability_{name}" for name in CLASSES)

#: Number of a row among the fold's ordered ones, by which a model's answers find their row again.
ROW = "row_number"
#: Column of the feature table, where it has one, that becomes :data:`~workload_forecast.model.judged_rows.LEAD`.
_LEAD_HOURS = "lead_hours"

#: Gives the same rows, :data:`ROW` included, with other features: for asking what a feature is worth.
Change = Callable[[DataFrame], DataFrame]


def unchanged(rows: DataFrame) -> DataFrame:
    """Return the rows as they are."""
    return rows


class FoldData:
    """One fold's rows, kept by Spark until :meth:`close`, which ``with contextlib.closing(…) as data`` calls.

    Attributes:
        fold: its number.
        split: its periods.
        thresholds: resolved; ``auto`` is learnt from this fold's training rows alone.
        weights: of the classes, those that a training with the same settings fits with.
        majority: the most frequent label of its training rows.
    """

    def __init__(
        self,
        rows: DataFrame,
        split: TimeSplit,
        thresholds: Thresholds,
        fold: int,
        weighting: ClassWeights | None = None,
    ) -> None:
        """Prepare a fold of labelled rows in order (:func:`~workload_forecast.model.rows.labelled_rows`).

        Raises:
            ModelError: the training rows hold a single class.
        """
        self.fold, self.split, self.thresholds, self._weighting = fold, split, thresholds, weighting
        ordered = rows.withColumn(SPLIT, split.column()).filter(F.col(SPLIT).isNotNull())
        with ExitStack() as stack:
            self._rows = stack.enter_context(kept(ordered.withColumn(ROW, F.monotonically_increasing_id())))
            training = count_labels(self._rows)[TRAIN]
            check_labels(training, self.thresholds)
            self.weights = class_weights(weighting, training) if weighting else EQUAL
            self.majority = int(majority_class(training))
            self._test = self._rows.filter(F.col(SPLIT) == TEST)
            self._numbers, self._known = self._fetch_known()
            self._stack = stack.pop_all()

    @classmethod
    def of_features(
        cls,
        features: DataFrame,
        split: TimeSplit,
        thresholds: Thresholds | Literal["auto"],
        fold: int,
        weighting: ClassWeights | None = None,
    ) -> FoldData:
        """Prepare a fold of the feature table.

        Raises:
            DataError: its training or test period has no labelled rows.
            ModelError: the training rows hold a single class, or make no three where the thresholds are ``auto``.
        """
        _, cuts, ordered = order_rows(features, split, thresholds)
        return cls(ordered, split, cuts, fold, weighting)

    def close(self) -> None:
        """Let the rows go."""
        self._stack.close()

    def judge(self, algorithm: str, parameters: Parameters | None = None, change: Change = unchanged) -> pd.DataFrame:
        """Fit to the fold's training rows and answer for its test rows: :meth:`fit`, then :meth:`answer`.

        Raises:
            ModelError, SettingsError: as they do.
        """
        return self.answer(self.fit(algorithm, parameters, change), change)

    def fit(self, algorithm: str, parameters: Parameters | None = None, change: Change = unchanged) -> PipelineModel:
        """Fit to the fold's training rows.

        Args:
            algorithm: one of :data:`~workload_forecast.model.pipeline.ALGORITHMS`.
            parameters: those that are not the algorithm's defaults.
            change: what is done to the features first.

        Raises:
            ModelError: the algorithm or a parameter's value does not exist.
            SettingsError: the algorithm has no such parameter.
        """
        training = change(self._rows.filter(F.col(SPLIT) == TRAIN))
        model = fit_model(training, algorithm, parameters, self.thresholds, self.weights)
        return decide(model, training, self.split, self.weights, self._weighting)[0]

    def answer(self, model: PipelineModel, change: Change = unchanged) -> pd.DataFrame:
        """Let a model answer for the fold's test rows.

        Args:
            model: fitted to this fold.
            change: what is done to the features that the model sees. The naive forecasts see the true ones.

        Returns:
            One row for each test row, as :func:`~workload_forecast.model.backtest.backtest` takes them: ``fold``,
            ``server``, ``hour``, ``lead`` (where the feature table has ``lead_hours``), ``label``, one column for each
            of :data:`~workload_forecast.model.evaluation.PREDICTORS` (null where a naive forecast's history is
            unknown) and :data:`PROBABILITIES`. The order is the same at each call. 21 bytes a row come to the driver
            (and, once a fold, the key and 5 bytes); the frame takes some 40 bytes a row.

        Raises:
            ModelError: the model, or the change, drops or repeats a row.
        """
        said = model.transform(change(self._test)).select(ROW, *answer_columns())
        shares = [F.col(PROBABILITY)[index].cast("float").alias(name) for index, name in enumerate(PROBABILITIES)]
        found = _collect(said.select(ROW, F.col(MODEL).cast("byte"), *shares)).sort_by(ROW)
        if not np.array_equal(found[ROW].to_numpy(), self._numbers):
            raise ModelError(
                f"{len(found):,} rows of fold {self.fold} are answered, and it has {len(self._numbers):,}: "
                "a pipeline must neither drop nor repeat a row."
            )
        table = self._known.assign(**{name: found[name].to_numpy() for name in PROBABILITIES})
        table.insert(list(table.columns).index(LABEL) + 1, MODEL, found[MODEL].to_numpy())
        return table

    def _fetch_known(self) -> tuple[npt.NDArray[np.int64], pd.DataFrame]:
        """The test rows' numbers, ascending, and all that is known of them before a model is asked."""
        naive = [said.cast("byte").alias(name) for name, said in history_classes(self.thresholds).items()]
        leads = [F.col(_LEAD_HOURS).cast("short").alias(LEAD)] if _LEAD_HOURS in self._test.columns else []
        keys = [F.col(ROW), F.col("server"), F.col("hour"), *leads, F.col(LABEL).cast("byte")]
        found = _collect(self._test.select(*keys, *naive)).sort_by(ROW)
        columns: dict[str, object] = {FOLD: np.full(len(found), self.fold, dtype=np.int16)}
        columns["server"] = found["server"].dictionary_encode().to_pandas()
        columns |= {name: found[name].to_numpy() for name in ("hour", *([LEAD] if leads else []), LABEL)}
        columns[MAJORITY] = np.full(len(found), self.majority, dtype=np.int8)
        columns |= {
            name: found[name].to_pandas(types_mapper={pa.int8(): pd.Int8Dtype()}.get) for name in NAIVE_FORECASTS
        }
        return found[ROW].to_numpy(), pd.DataFrame(columns)


def _collect(frame: DataFrame) -> pa.Table:
    """Fetch the rows as Arrow's columns: as rows of Python each would take hundreds of bytes."""
    return nw.from_native(frame).collect("pyarrow").to_native()
