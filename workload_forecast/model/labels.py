"""The load classes: thresholds learnt from data, and the rule that turns a load into a label."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError
from workload_forecast.schemas import CLASSES, PRIMARY_MEASURE

LABEL = "label"

LOW, MEDIUM, HIGH = (float(index) for index in range(len(CLASSES)))

#: Tells Spark ML that there are three classes even where the training rows happen to hold only two of them;
#: without it a model of two classes would come out, with two probabilities instead of three.
LABEL_METADATA = {"ml_attr": {"type": "nominal", "name": LABEL, "vals": list(CLASSES)}}


def terciles(peaks: DataFrame, column: str = PRIMARY_MEASURE) -> Thresholds:
    """Return the thresholds that cut the known values of ``column`` into three classes, as equally large as may be.

    Of the numbers that cut the values as the quantiles 1/3 and 2/3 do, each threshold is the one halfway between the
    values on its two sides. Loads that are counted, or often 0, lie on a quantile in great numbers: any forecast that
    is not exactly theirs would be above it, 0.02 where 0 is meant. The cut does not depend on the order or
    partitioning of the rows. One task holds a counter for each distinct value (some 50 bytes each).
    Pass the rows of the training period only.

    Raises:
        ModelError: no value is known, or the two quantiles coincide (most loads are equal).
    """
    known = F.when(~F.isnan(column), F.col(column))
    row = peaks.agg(F.percentile(known, [1 / 3, 2 / 3]).alias("cuts"), F.count(known).alias("rows")).first()
    if row is None or row["rows"] == 0:
        raise ModelError(
            "thresholds 'auto' need known loads in the training period, found none: "
            "check the training dates against the data, or give two numbers."
        )
    sides = peaks.agg(*(side for cut in row["cuts"] for side in _sides(known, cut))).first() or ()
    low, high = _halfway(*sides[:2]), _halfway(*sides[2:])
    if not low < high:
        raise ModelError(
            f"thresholds 'auto': both terciles of the {row['rows']} training loads are {row['cuts'][0]}, "
            "so they make no three classes. Give two numbers."
        )
    return Thresholds(low, high)


def _sides(value: Column, cut: float) -> tuple[Column, Column]:
    """The greatest value that a cut leaves below it and the least one above: null where there is none."""
    return F.max(F.when(value <= cut, value)), F.min(F.when(value > cut, value))


def _halfway(below: float, above: float | None) -> float:
    """The middle; where nothing lies above, what is below is the greatest value of all."""
    return float(below if above is None else below + (above - below) / 2)


def class_of(load: Column, thresholds: Thresholds) -> Column:
    """The label (0.0 low, 1.0 medium, 2.0 high) of a load; null, never low, where the load is unknown."""
    return (
        F.when(load.isNull() | F.isnan(load), F.lit(None).cast("double"))
        .when(load <= thresholds.low, LOW)
        .when(load > thresholds.high, HIGH)
        .otherwise(MEDIUM)
    )


def label_column(thresholds: Thresholds) -> Column:
    """The column ``label`` of a feature table, carrying the names of the classes as Spark ML metadata."""
    return class_of(F.col(PRIMARY_MEASURE), thresholds).alias(LABEL, metadata=LABEL_METADATA)
