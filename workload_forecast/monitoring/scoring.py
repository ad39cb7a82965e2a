"""Past forecasts, held against the loads that came.

Forecasts are scored one after the other and added up as counts (:func:`tally`, :func:`merge`), so that memory holds one
forecast and a few numbers a server, however often a fleet is forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from workload_forecast.config import Thresholds
from workload_forecast.load_quantiles import BELOW
from workload_forecast.model.metrics import Matrix, confusion_scores
from workload_forecast.schemas import (
    CLASSES,
    EXPECTED_ERROR,
    EXPECTED_LOAD,
    LAST_SAME_HOUR,
    LEAD,
    LOAD_QUANTILES,
    PRIMARY_MEASURE,
)

#: What rows are added up by. ``leads`` are blocks of 12, like ``1-12``.
SERVER, ORIGIN, LEADS, SOURCE = "server", "origin", "leads", "source"
FACETS: Final = (SERVER, ORIGIN, LEADS, SOURCE)

#: The blocks in which the newest known load at the same hour of the day is 48 hours old, as in a training's test.
FAR: Final = ("25-36", "37-48")

#: Of :data:`~workload_forecast.model.metrics.METRICS`, those that are told.
SHOWN: Final = ("macro_f1", "accuracy", *(f"recall_{name}" for name in CLASSES), "high_called_low")

_KEY = ("facet", "value", "label", "said", "naive")
_SUMS = ("rows", "squared_error", "expected", "absolute_error", "within", "quantiles", *BELOW)


def score(forecast: pl.DataFrame, actual: pl.DataFrame, cuts: Thresholds) -> pl.DataFrame:
    """Return the rows of a forecast whose load is known by now.

    Args:
        forecast: :data:`~workload_forecast.schemas.FORECAST`.
        actual: columns ``server``, ``hour``, ``total_load``; a load may be null, and is unknown then.
        cuts: where the classes meet.

    Returns:
        A row a server and hour: the :data:`FACETS`; the classes ``label`` (that came), ``said`` and ``naive`` (of the
        newest load known at the same hour of the day) as positions, null where nothing was said; ``squared_error`` of
        the probabilities; ``absolute_error`` of the expected load and whether it is ``within`` the expected error;
        for each quantile of the load, whether the load was not above it (``BELOW``), null where there is none.
    """
    load, expected = pl.col(PRIMARY_MEASURE), pl.col(EXPECTED_LOAD)
    first = (pl.col(LEAD) - 1) // 12 * 12 + 1
    said = pl.col("prediction").replace_strict({name: at for at, name in enumerate(CLASSES)}, return_dtype=pl.Int64)
    came = actual.select("server", "hour", PRIMARY_MEASURE)
    # in order, so that the same sums are added up in the same order each time
    rows = forecast.join(came, on=["server", "hour"], how="inner", maintain_order="left")
    known = rows.filter(load.is_not_null() & load.is_not_nan()).with_columns(label=_class_of(load, cuts))
    squares = [(pl.col(f"probability_{name}") - (pl.col("label") == at)) ** 2 for at, name in enumerate(CLASSES)]
    return known.select(
        SERVER,
        ORIGIN,
        pl.format("{}-{}", first, first + 11).alias(LEADS),
        SOURCE,
        "label",
        said=said,
        naive=_class_of(pl.col(LAST_SAME_HOUR), cuts),
        squared_error=pl.sum_horizontal(squares, ignore_nulls=False),
        absolute_error=(load - expected).abs(),
        within=(load - expected).abs() <= pl.col(EXPECTED_ERROR),
        **{name: load <= pl.col(quantile) for name, quantile in zip(BELOW, LOAD_QUANTILES, strict=True)},
    )


def tally(rows: pl.DataFrame) -> pl.DataFrame:
    """Add up scored rows: ``facet`` (each counts every row once), ``value``, the three classes, and the sums."""
    sums = {
        "rows": pl.len().cast(pl.Int64),
        "squared_error": pl.col("squared_error").sum(),
        "expected": pl.col("absolute_error").count().cast(pl.Int64),
        "absolute_error": pl.col("absolute_error").sum(),
        "within": pl.col("within").sum().cast(pl.Int64),
        "quantiles": pl.col(BELOW[0]).count().cast(pl.Int64),
        **{name: pl.col(name).sum().cast(pl.Int64) for name in BELOW},
    }
    keys = [[pl.col(facet).alias("value"), *map(pl.col, _KEY[2:])] for facet in FACETS]
    counted = [rows.group_by(key, maintain_order=True).agg(**sums) for key in keys]
    named = [counts.with_columns(facet=pl.lit(name)) for name, counts in zip(FACETS, counted, strict=True)]
    return pl.concat(named).select(*_KEY, *_SUMS).sort(_KEY)


def merge(tallies: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Add several tallies (one at least) to one."""
    return pl.concat(tallies).group_by(_KEY, maintain_order=True).agg(pl.col(_SUMS).sum()).sort(_KEY)


def scores_by(counts: pl.DataFrame, facet: str) -> pl.DataFrame:
    """Return a row of :func:`scores` for each value of a facet, ascending; unknown ones are null."""
    groups = counts.filter(pl.col("facet") == facet).partition_by("value", as_dict=True)
    records = [{facet: value, **scores(group)} for (value,), group in sorted(groups.items())]
    return pl.DataFrame(records, infer_schema_length=None).with_columns(pl.selectors.float().fill_nan(None))


def scores(counts: pl.DataFrame) -> dict[str, float]:
    """Return what some rows of a tally, of one facet, amount to; what is unknown is NaN.

    ``rows``, of which ``answered``; the metrics :data:`SHOWN` of those; ``naive_macro_f1`` and ``naive_accuracy`` of
    the naive forecast where both said something, and ``gain``, the macro-F1 by which it was surpassed there; the
    ``brier`` score; the mean absolute error of the expected load, and the share of hours in which that error was within
    the expected one; the shares of hours whose load was not above each of its quantiles.
    """
    both = counts.filter(pl.col("said").is_not_null() & pl.col("naive").is_not_null())
    total = counts.select(pl.col(_SUMS).sum()).row(0, named=True)
    matrix, naive = confusion(counts, "said"), _shown(confusion(both, "naive"))
    answered = int(matrix.sum())
    return {
        "rows": total["rows"],
        "answered": answered,
        **_shown(matrix),
        **{f"naive_{name}": naive[name] for name in ("macro_f1", "accuracy")},
        "gain": _shown(confusion(both, "said"))["macro_f1"] - naive["macro_f1"],
        "brier": _share(total["squared_error"], answered),
        "expected_load_error": _share(total["absolute_error"], total["expected"]),
        "expected_load_within": _share(total["within"], total["expected"]),
        **{name: _share(total[name], total["quantiles"]) for name in BELOW},
    }


def confusion(counts: pl.DataFrame, named: str) -> Matrix:
    """Count: classes that came as rows, those that ``said`` or ``naive`` named as columns."""
    matrix = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    known = counts.filter(pl.col(named).is_not_null())
    np.add.at(matrix, (known["label"].to_numpy(), known[named].to_numpy()), known["rows"].to_numpy())
    return matrix


def of_facet(counts: pl.DataFrame, facet: str, values: Sequence[str] | None = None) -> pl.DataFrame:
    """Choose the rows of one facet, by default of all its values: every scored row once."""
    chosen = counts.filter(pl.col("facet") == facet)
    return chosen if values is None else chosen.filter(pl.col("value").is_in(values))


def _class_of(load: pl.Expr, cuts: Thresholds) -> pl.Expr:
    return (load > cuts.low).cast(pl.Int64) + (load > cuts.high).cast(pl.Int64)


def _shown(matrix: Matrix) -> dict[str, float]:
    found = confusion_scores(matrix) if matrix.sum() else dict.fromkeys(SHOWN, np.nan)
    return {name: found[name] for name in SHOWN}


def _share(part: float, whole: int) -> float:
    return part / whole if whole else np.nan
