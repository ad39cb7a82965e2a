"""How far the loads of now are from those that a version was trained on, and what was said from what came."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from workload_forecast.model.checks import median_shifts
from workload_forecast.model.load_summary import LEVEL_EDGES, LoadSummary, population_stability
from workload_forecast.model.metrics import Matrix
from workload_forecast.model.split import TEST, TRAIN
from workload_forecast.schemas import CLASSES


@dataclass(frozen=True)
class Drift:
    """Drift as tables and numbers.

    Attributes:
        classes: a row a class with its shares in ``training`` and ``window`` (the loads of both periods), and of what
            ``came`` and was ``said`` in the answered rows; null where a period has no load.
        levels: the bins of :data:`~workload_forecast.model.load_summary.LEVEL_EDGES` (``from``, ``to``, in spreads
            around the server's usual load) with their shares in ``training`` and ``window``.
        numbers: finite ones of ``class_drift`` and ``class_bias`` (rows that must change class to make training and
            window, or what came and what was said, equal), ``level_drift`` (population stability index),
            ``fleet_shift`` (spreads by which the middle server's median has moved) and ``unseen_servers`` (share
            without a training load).
        rows: known server-hours of the window.
    """

    classes: pl.DataFrame
    levels: pl.DataFrame
    numbers: Mapping[str, float]
    rows: int

    def number(self, name: str) -> float:
        """One of :attr:`numbers`; NaN where it is unknown."""
        return self.numbers.get(name, math.nan)


def find_drift(loads: LoadSummary, answered: Matrix) -> Drift:
    """Compare.

    Args:
        loads: of the version's training, and of the window that is looked at (as its test period).
        answered: classes that came as rows, those that were said as columns.
    """
    periods = {"training": TRAIN, "window": TEST}
    servers = loads.servers
    mixes = {column: servers[[f"{period}_{name}" for name in CLASSES]].sum() for column, period in periods.items()}
    said = {"came": answered.sum(axis=1), "said": answered.sum(axis=0)}
    classes = {name: _shares(rows) for name, rows in {**mixes, **said}.items()}
    levels = {column: _shares(loads.levels[period]) for column, period in periods.items()}
    seen = servers[servers["test_known"] > 0]
    shifts = np.sort(median_shifts(servers))
    numbers = {
        "class_drift": _distance(classes["training"], classes["window"]),
        "class_bias": _distance(classes["came"], classes["said"]),
        "level_drift": population_stability(*(loads.levels[period].to_numpy(np.int64) for period in (TRAIN, TEST))),
        "fleet_shift": float(shifts[(len(shifts) - 1) // 2]) if len(shifts) else math.nan,
        "unseen_servers": float((seen["train_known"] == 0).mean()) if len(seen) else math.nan,
    }
    return Drift(
        classes=pl.DataFrame({"class": CLASSES, **classes}),
        levels=pl.DataFrame({"from": [None, *LEVEL_EDGES], "to": [*LEVEL_EDGES, None], **levels}),
        numbers={name: value for name, value in numbers.items() if math.isfinite(value)},
        rows=int(seen["test_known"].sum()),
    )


def _shares(rows: Any) -> pl.Series:
    counts = pl.Series(np.asarray(rows), dtype=pl.Float64)
    return counts / counts.sum() if counts.sum() else pl.Series([None] * len(counts), dtype=pl.Float64)


def _distance(one: pl.Series, other: pl.Series) -> float:
    known = one.null_count() == other.null_count() == 0
    return float((one - other).abs().sum()) / 2 if known else math.nan
