"""Whether the probabilities of a backtest's judged rows can be believed.

What :mod:`workload_forecast.model.evaluation` counts on Spark for a training, counted here over rows that are on the
driver already; the tables have the same columns, so the same functions read and draw them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from workload_forecast.model.evaluation import CALIBRATION_BINS, brier_score, calibration_error
from workload_forecast.model.fold_rows import PROBABILITIES
from workload_forecast.model.judged_rows import FOLD, LABEL
from workload_forecast.model.split import SPLIT
from workload_forecast.schemas import CLASSES

#: Value of ``split`` for the rows of all folds together; those of one fold are ``fold 1`` and so on.
ALL = "all"


def calibration_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Reliability of the model's probabilities over all folds and in each.

    Args:
        rows: of :class:`~workload_forecast.model.fold_rows.FoldData`.

    Returns:
        ``split`` (:data:`ALL`, or ``fold`` and its number), ``class``, ``bin`` (0 for probabilities below 1/10, … 9),
        ``rows``, ``mean_probability``, ``observed_share`` and ``squared_error`` (the bin's sum), as
        :func:`~workload_forecast.model.evaluation.count_calibration` has it.
    """
    folds = {f"fold {fold}": part for fold, part in rows.groupby(FOLD, sort=True)}
    return pd.concat([_of(part, name) for name, part in {ALL: rows, **folds}.items()], ignore_index=True)


def probability_scores(calibration: pd.DataFrame) -> pd.DataFrame:
    """``split``, ``rows``, ``brier`` (0 is perfect, 2 the worst) and ``calibration_error`` of a calibration table."""
    records = [
        {
            SPLIT: name,
            "rows": int(part["rows"].sum()) // len(CLASSES),
            "brier": brier_score(part, str(name)),
            "calibration_error": calibration_error(part, str(name)),
        }
        for name, part in calibration.groupby(SPLIT, sort=False)
    ]
    return pd.DataFrame(records)


def _of(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    labels = rows[LABEL].to_numpy()
    tables = []
    for index, (label, column) in enumerate(zip(CLASSES, PROBABILITIES, strict=True)):
        share = rows[column].to_numpy(dtype=np.float64)
        hit = (labels == index).astype(np.float64)
        each = pd.DataFrame(
            {
                "bin": np.minimum(np.floor(share * CALIBRATION_BINS), CALIBRATION_BINS - 1).astype(np.int64),
                "p": share,
                "hit": hit,
                "error": (share - hit) ** 2,
            }
        )
        found = each.groupby("bin", sort=True).agg(
            rows=("p", "size"),
            mean_probability=("p", "mean"),
            observed_share=("hit", "mean"),
            squared_error=("error", "sum"),
        )
        table = found.reset_index()
        table.insert(0, "class", label)
        table.insert(0, SPLIT, name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
