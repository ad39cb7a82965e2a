"""What a trial of the search is worth: the macro-F1 of its parameters over the rows of all folds together.

Metrics of a trial (:attr:`~workload_forecast.model.search.Outcome.metrics`), besides its ``macro_f1``:

=========================== ===========================================================================================
name                        meaning
=========================== ===========================================================================================
``<metric>``                the others of :data:`~workload_forecast.model.metrics.METRICS`, over all folds' rows
``fold_<n>_macro_f1``       of each fold, from 1
``best_baseline_macro_f1``  the greatest macro-F1 of a naive forecast on the same rows; the same for every trial
=========================== ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Literal

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from workload_forecast.config import ClassWeights, Thresholds
from workload_forecast.model.baselines import BASELINES, MAJORITY
from workload_forecast.model.fold_rows import FoldData
from workload_forecast.model.judged_rows import FOLD, judged_rows
from workload_forecast.model.metrics import confusion_scores
from workload_forecast.model.search import Objective, Outcome
from workload_forecast.model.split import TimeSplit
from workload_forecast.sources import MODEL


@contextmanager
def fold_objective(
    algorithm: str,
    features: DataFrame,
    folds: Sequence[TimeSplit],
    thresholds: Thresholds | Literal["auto"],
    weighting: ClassWeights | None = None,
) -> Iterator[Objective]:
    """Prepare the folds' rows once and yield what fits and judges on each; the folds are numbered from 1.

    Raises:
        DataError, ModelError: as :class:`~workload_forecast.model.fold_rows.FoldData`.
    """
    with ExitStack() as stack:
        prepared = [
            stack.enter_context(closing(FoldData.of_features(features, split, thresholds, number, weighting)))
            for number, split in enumerate(folds, start=1)
        ]
        yield lambda parameters: outcome(pd.concat([fold.judge(algorithm, parameters) for fold in prepared]))


def outcome(rows: pd.DataFrame) -> Outcome:
    """Score the judged rows of all folds, as :meth:`~workload_forecast.model.fold_rows.FoldData.judge` returns them."""
    judged = judged_rows(rows, MODEL, BASELINES, MAJORITY)
    positions, folds = pd.factorize(judged.keys[FOLD], sort=True)
    counts = judged.counts(positions.astype(np.int64), len(folds))
    model, *naive = counts.sum(axis=0)
    scores = confusion_scores(model)
    macro_f1 = scores.pop("macro_f1")
    metrics = {
        **scores,
        **{
            f"fold_{fold}_macro_f1": confusion_scores(fold_counts[0])["macro_f1"]
            for fold, fold_counts in zip(folds, counts, strict=True)
        },
        "best_baseline_macro_f1": max(confusion_scores(matrix)["macro_f1"] for matrix in naive),
    }
    return Outcome(macro_f1, {name: value for name, value in metrics.items() if np.isfinite(value)})
