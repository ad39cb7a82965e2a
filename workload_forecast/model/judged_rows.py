"""The rows of a backtest, checked and counted: what was true, and what each predictor said of the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workload_forecast.errors import DataError, SchemaError, SettingsError
from workload_forecast.model.metrics import Matrix
from workload_forecast.schemas import CLASSES

Positions = npt.NDArray[np.int64]

FOLD, LEAD, LABEL = "fold", "lead", "label"


@dataclass(frozen=True)
class JudgedRows:
    """Labels and answers of the same rows. Build it with :func:`judged_rows`."""

    keys: pd.DataFrame  #: ``fold``, ``server``, ``hour`` and, if it was given, ``lead`` (hours)
    predictors: tuple[str, ...]  #: the model first
    labels: npt.NDArray[np.int8]  #: a row
    said: npt.NDArray[np.int8]  #: shape (predictors, rows), complete
    unknown: npt.NDArray[np.bool_]  #: the same shape: where the default answered in a predictor's place

    def counts(self, groups: Positions, size: int) -> Matrix:
        """Confusion matrices of every group and predictor, shape (size, predictors, 3, 3); groups are 0 … size - 1."""
        classes = len(CLASSES)
        true = groups * classes**2 + self.labels * classes
        stack = [np.bincount(true + said, minlength=size * classes**2) for said in self.said]
        matrices: Matrix = np.stack(stack, axis=1).reshape(size, classes, classes, -1).transpose(0, 3, 1, 2)
        return matrices

    def unknowns(self, groups: Positions, size: int) -> Positions:
        """Rows without an answer of every group and predictor, shape (size, predictors)."""
        return np.stack([np.bincount(groups[missing], minlength=size) for missing in self.unknown], axis=1)


def judged_rows(rows: pd.DataFrame, model: str, baselines: Sequence[str], default: str) -> JudgedRows:
    """Check the rows of a backtest and fill in what a predictor does not know.

    Args:
        rows: one row for each forecast that is judged. ``fold`` (a number), ``server``, ``hour`` (the predicted one,
            UTC without a zone), optionally ``lead`` (hours from the forecast's origin to it, 1 or more), ``label`` (the
            true class as its position in :data:`CLASSES`) and one column of the same kind for each predictor, null
            where it has no answer.
        model: column of the model.
        baselines: columns of the naive forecasts.
        default: the one of them that always has an answer, the majority class of its fold's training rows. It answers
            wherever another one, or the model, has none, as in training: all are scored on all rows.

    Returns:
        Some 8 bytes a row for the keys and 2 for each predictor, beside ``rows`` itself.

    Raises:
        SchemaError: a column is missing.
        SettingsError: the predictors' names are no model, baselines and default of theirs.
        DataError: there is no row; a forecast is there twice (then folds overlap); a key, a label or an answer is none.
    """
    if default not in baselines or model in baselines or len(set(baselines)) != len(baselines):
        raise SettingsError(
            f"a backtest needs different names for the model ({model}) and the baselines ({', '.join(baselines)}), "
            f"and a default ({default}) that is one of the baselines."
        )
    predictors = (model, *baselines)
    keys = _keys(rows, predictors)
    labels = _classes(rows[LABEL], LABEL)
    said = np.stack([_classes(rows[name], name) for name in predictors])
    unknown = said < 0
    for name, missing in ((LABEL, labels < 0), (default, unknown[predictors.index(default)])):
        if missing.any():
            remedy = "Leave out the hours whose load is unknown" if name == LABEL else "It must answer everywhere"
            raise DataError(
                f"{int(missing.sum()):,} of {len(rows):,} backtest rows have no '{name}', "
                f"first {_where(keys, missing)}. {remedy}."
            )
    return JudgedRows(keys, predictors, labels, np.where(unknown, said[predictors.index(default)], said), unknown)


def positions_of(values: pd.Series) -> tuple[Positions, npt.NDArray[Any]]:
    """Position of each row's value among the distinct ones, and those, ascending."""
    positions, distinct = pd.factorize(values, sort=True)
    return positions.astype(np.int64), np.asarray(distinct)


def _keys(rows: pd.DataFrame, predictors: Sequence[str]) -> pd.DataFrame:
    missing = [name for name in (FOLD, "server", "hour", LABEL, *predictors) if name not in rows.columns]
    if missing:
        raise SchemaError(
            f"the backtest rows lack the column(s) {', '.join(missing)}; found: {', '.join(map(str, rows.columns))}."
        )
    if rows.empty:
        raise DataError("the backtest has no row to judge: its folds hold no hour with a known load. Check its dates.")
    key = ["server", "hour", *([LEAD] if LEAD in rows.columns else [])]
    keys = rows[[FOLD, *key]].reset_index(drop=True)
    if isinstance(keys["server"].dtype, pd.CategoricalDtype):
        keys["server"] = keys["server"].astype(object)  # categories may stand in any order, and order is part of a seed
    if keys.isna().to_numpy().any():
        name = next(name for name in keys.columns if keys[name].isna().any())
        raise DataError(f"{int(keys[name].isna().sum()):,} backtest rows have no '{name}': every row needs its key.")
    if not pd.api.types.is_datetime64_dtype(keys["hour"]):
        raise DataError(f"'hour' of the backtest rows is {keys['hour'].dtype}: give UTC times without a zone.")
    for name in (FOLD, LEAD):
        if name in keys.columns and not pd.api.types.is_integer_dtype(keys[name]):
            raise DataError(f"'{name}' of the backtest rows is {keys[name].dtype}: give whole numbers.")
    if LEAD in keys.columns and (keys[LEAD] < 1).any():
        raise DataError(f"'{LEAD}' of the backtest rows goes down to {keys[LEAD].min()}: a lead is 1 hour or more.")
    twice = keys.duplicated(key).to_numpy()
    if twice.any():
        raise DataError(
            f"{int(twice.sum()):,} backtest rows are there twice, first {_where(keys, twice)}: "
            "folds must not overlap, and a forecast is judged once."
        )
    return keys


def _classes(values: pd.Series, name: str) -> npt.NDArray[np.int8]:
    """Positions of classes, -1 where there is none."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~np.isin(numbers, range(len(CLASSES))) & values.notna().to_numpy()
    if wrong.any():
        found = values[wrong].iloc[0]
        raise DataError(
            f"'{name}' of the backtest rows holds '{found}': a class is 0 to {len(CLASSES) - 1}, null if unknown."
        )
    positions: npt.NDArray[np.int8] = np.where(np.isnan(numbers), -1, numbers).astype(np.int8)
    return positions


def _where(keys: pd.DataFrame, chosen: npt.NDArray[np.bool_]) -> str:
    first = keys.iloc[int(np.argmax(chosen))]
    return ", ".join(f"{name} {first[name]}" for name in keys.columns)
