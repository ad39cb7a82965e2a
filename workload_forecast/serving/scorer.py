"""Class probabilities of feature rows, those of the Spark pipeline, in about a millisecond."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import treelite

from workload_forecast.errors import DataError, SchemaError
from workload_forecast.serving.compiled import read_compiled
from workload_forecast.serving.facts import Facts
from workload_forecast.serving.kinds import Scores, make_kind
from workload_forecast.serving.saved_trees import Doubles


class Scorer:
    """A compiled model. It is never changed after it was made, so threads may share it."""

    def __init__(self, trees: treelite.Model | None, facts: Facts) -> None:
        self.facts = facts
        self._model = make_kind(facts, trees)
        self._names = [feature.name for feature in facts.features]
        self._unknown = np.array([np.nan if f.unknown is None else f.unknown for f in facts.features])
        self._needed = np.isnan(self._unknown)

    @classmethod
    def load(cls, folder: str | Path) -> Scorer:
        """Load a model that was logged or downloaded from its folder, or from the ``compiled`` folder in it.

        Raises:
            ModelError: a file is missing, was changed, or is of a format that is not known.
        """
        return cls(*read_compiled(Path(folder)))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.facts.classes

    def predict_proba(self, rows: Any) -> Doubles:
        """Return rows × classes; see :meth:`score`."""
        return self.score(rows).probabilities

    def score(self, rows: Any) -> Scores:
        """Score feature rows.

        Args:
            rows: a pandas, pyarrow or polars frame, a structured numpy array, or a mapping of names to arrays. Columns
                that are no features are left aside; the order does not matter. Null and NaN mean unknown.

        Raises:
            SchemaError: a feature's column is missing, or does not hold numbers.
            DataError: a feature that is always known, such as the hour of the day, is unknown.
        """
        return self.score_matrix(self.matrix(rows))

    def score_matrix(self, matrix: Doubles) -> Scores:
        """Score rows that are numbers already: rows × features in the model's order, unknown ones as NaN.

        Raises:
            DataError: see :meth:`score`.
        """
        if matrix.ndim != 2 or matrix.shape[1] != len(self._names):
            raise SchemaError(f"the model takes {len(self._names)} features a row, not an array of {matrix.shape}.")
        unknown = np.isnan(matrix)
        if unknown[:, self._needed].any():
            column = int(np.flatnonzero(unknown.any(axis=0) & self._needed)[0])
            row = int(np.flatnonzero(unknown[:, column])[0])
            raise DataError(
                f"'{self._names[column]}' is unknown in row {row}: the calendar of an hour is always known."
            )
        if not len(matrix):
            return Scores(np.zeros((0, len(self.classes))), np.zeros(0, dtype=np.int64))
        return self._model.score(np.where(unknown, self._unknown, matrix))

    def matrix(self, rows: Any) -> Doubles:
        """Return rows × features in the model's order, unknown ones as NaN.

        Raises:
            SchemaError: see :meth:`score`.
        """
        if isinstance(rows, np.ndarray) and rows.dtype.names:
            rows = {name: rows[name] for name in rows.dtype.names}
        if isinstance(rows, Mapping):
            self._check(list(rows))
            columns = [_doubles(np.asarray(rows[name]), [name]) for name in self._names]
            if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
                raise SchemaError("the features' arrays must all have one dimension and the same length.")
            return np.stack(columns, axis=1)
        try:
            frame = nw.from_native(rows, eager_only=True)
        except TypeError:
            kinds = "a pandas, pyarrow or polars frame, a structured array, or a mapping of names to arrays"
            raise SchemaError(f"feature rows must be {kinds}, not {type(rows).__name__}.") from None
        self._check(frame.columns)
        return _doubles(frame.select(self._names).to_numpy(), self._names)

    def _check(self, found: list[str]) -> None:
        missing = [name for name in self._names if name not in found]
        if missing:
            raise SchemaError(f"the feature rows lack the column(s) {', '.join(missing)}; found: {', '.join(found)}.")


def _doubles(values: Any, names: list[str]) -> Doubles:
    try:
        doubles: Doubles = values.astype(np.float64)
    except (TypeError, ValueError) as problem:
        columns = values.T if values.ndim == 2 else [values]
        bad = [name for name, column in zip(names, columns, strict=True) if not _is_numeric(column)]
        raise SchemaError(f"feature(s) {', '.join(bad)} must hold numbers: {problem}.") from None
    return doubles


def _is_numeric(column: Any) -> bool:
    try:
        column.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True
