"""Feature rows of ``/score`` as a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workload_forecast.schemas import FEATURE_NAMES
from workload_forecast.service.bodies import read_json
from workload_forecast.service.problems import invalid
from workload_forecast.serving.saved_trees import Doubles

_FEATURES = frozenset(FEATURE_NAMES)

#: Exactly these types: a bool is an int to Python, and numpy reads numbers in texts.
_NUMBERS = frozenset({float, int, type(None)})


def read_score(body: bytes, max_rows: int) -> Doubles:
    """Return rows × features, unknown ones as NaN.

    Raises:
        Refused: 400, it is not JSON; 422, it says something else than it should.
    """
    content = read_json(body)
    if not isinstance(content, dict) or list(content) != ["rows"] or not isinstance(content["rows"], list):
        raise invalid("the body must be an object with the one field 'rows', a list of objects.")
    rows = content["rows"]
    check_size(len(rows), max_rows)
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise invalid("a row must be an object: the features by their names.", f"rows.{number}")
        if row.keys() != _FEATURES:
            raise invalid(_difference(row), f"rows.{number}")
    return matrix([[row[name] for name in FEATURE_NAMES] for row in rows], FEATURE_NAMES, "rows")


def check_size(found: int, most: int) -> None:
    """Refuse more rows than are taken.

    Raises:
        Refused: 422.
    """
    if found > most:
        raise invalid(f"{found} rows at once are too many: send up to {most} at once.", "rows")


def matrix(rows: Sequence[Sequence[Any]], names: Sequence[str], where: str) -> Doubles:
    """Return rows of numbers and nulls as an array.

    Raises:
        Refused: 422, something is neither a number nor null.
    """
    for number, row in enumerate(rows):
        if not _NUMBERS.issuperset(map(type, row)):
            name = next(name for name, value in zip(names, row, strict=True) if type(value) not in _NUMBERS)
            raise invalid("must be a number or null.", f"{where}.{number}.{name}")
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))


def _difference(row: Mapping[str, Any]) -> str:
    missing = [name for name in FEATURE_NAMES if name not in row]
    unknown = [repr(name[:60]) for name in row if name not in _FEATURES]
    parts = [f"lacks {', '.join(missing)}"] if missing else []
    parts += [f"has {', '.join(unknown[:5])}, which is no feature"] if unknown else []
    return f"the row {' and '.join(parts)}."
