"""The rows that are trained on and scored: labelled, split, and in one canonical order.

Spark draws each tree's sample, and the candidate splits, partition by partition in row order. With the rows placed by a
hash of their key and sorted inside each partition, the fitted model depends on the data and the seed alone: not on
the files' layout, the order of the rows or the number of cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from workload_forecast.config import Thresholds
from workload_forecast.errors import DataError, ModelError
from workload_forecast.model.labels import LABEL, label_column, terciles
from workload_forecast.model.split import SPLIT, SPLITS, TRAIN, TimeSplit
from workload_forecast.schemas import CLASSES, FEATURE_NAMES, FEATURES, PRIMARY_MEASURE

KEY = FEATURES.key

#: Few enough rows that a laptop's cores share the work, enough that a cluster does not drown in small tasks.
ROWS_PER_PARTITION = 100_000
MIN_PARTITIONS = 4


@dataclass(frozen=True)
class SplitRows:
    """Rows of one split with a known load (``labelled``) and without one (``unlabelled``, left out)."""

    labelled: int
    unlabelled: int


def is_known(name: str) -> Column:
    """Whether a number is known: neither null nor NaN."""
    return F.col(name).isNotNull() & ~F.isnan(name)


def count_rows(features: DataFrame, split: TimeSplit) -> dict[str, SplitRows]:
    """Count the rows of each split (reads the columns ``hour`` and ``total_load`` only).

    Raises:
        DataError: a split has no labelled row; the message gives the counts and the hours that the table holds.
    """
    known = is_known(PRIMARY_MEASURE)
    found = features.groupBy(split.column()).agg(
        F.count_if(known).alias("labelled"),
        F.count_if(~known).alias("unlabelled"),
        F.min("hour").cast("string").alias("first"),
        F.max("hour").cast("string").alias("last"),
    )
    groups = {row[SPLIT]: row for row in found.collect()}
    counts = {
        name: SplitRows(groups[name]["labelled"], groups[name]["unlabelled"]) if name in groups else SplitRows(0, 0)
        for name in SPLITS
    }
    for name in SPLITS:
        if counts[name].labelled == 0:
            hours = sorted(hour for row in groups.values() for hour in (row["first"], row["last"]))
            held = f"the table's hours run from {hours[0]} to {hours[-1]}" if hours else "the table is empty"
            raise DataError(
                f"no labelled rows to {name} on: {_period(split, name)} holds {counts[name].unlabelled} rows, "
                f"all without a load; {held}. Correct the dates, or run the etl step over that period."
            )
    return counts


def _period(split: TimeSplit, name: str) -> str:
    if name == TRAIN:
        return f"training period {split.training_from} <= hour < {split.training_to}"
    return f"test period {split.test_from} <= hour <= {split.to}"


def training_period(features: DataFrame, split: TimeSplit) -> DataFrame:
    """The rows of the training period, from which alone anything may be learnt."""
    return features.filter(split.column() == TRAIN)


def labelled_rows(features: DataFrame, split: TimeSplit, thresholds: Thresholds, training_rows: int) -> DataFrame:
    """The labelled rows of both splits in canonical order.

    Columns: the key, ``split``, ``label``, ``total_load`` (which the label is made from) and the features.
    """
    partitions = max(MIN_PARTITIONS, -(-training_rows // ROWS_PER_PARTITION))
    names = (name for name in FEATURE_NAMES if name not in KEY)
    rows = features.select(*KEY, split.column(), label_column(thresholds), PRIMARY_MEASURE, *names)
    chosen = rows.filter(F.col(SPLIT).isNotNull() & F.col(LABEL).isNotNull())
    return chosen.repartition(partitions, *KEY).sortWithinPartitions(*KEY)


def count_labels(rows: DataFrame) -> dict[str, dict[float, int]]:
    """Rows of each label (0.0, 1.0, 2.0; absent ones as 0) in each split."""
    counts = {split: dict.fromkeys((float(index) for index in range(len(CLASSES))), 0) for split in SPLITS}
    for row in rows.groupBy(SPLIT, LABEL).count().collect():
        counts[row[SPLIT]][row[LABEL]] = row["count"]
    return counts


def check_labels(training: Mapping[float, int], thresholds: Thresholds) -> None:
    """Check that there is something to tell apart.

    Raises:
        ModelError: the training rows hold fewer than two classes.
    """
    if sum(count > 0 for count in training.values()) < 2:
        shares = ", ".join(f"{count} {CLASSES[int(label)]}" for label, count in sorted(training.items()))
        raise ModelError(
            f"the training rows hold a single load class ({shares}) with thresholds low={thresholds.low:g}, "
            f"high={thresholds.high:g}: set thresholds between the loads that occur, or use 'auto'."
        )


def order_rows(
    features: DataFrame, split: TimeSplit, thresholds: Thresholds | Literal["auto"]
) -> tuple[dict[str, SplitRows], Thresholds, DataFrame]:
    """Count the rows of a split, resolve the thresholds on its training rows, and label and order them, lazily.

    Raises:
        DataError: a split has no labelled rows.
        ModelError: thresholds ``auto`` find no three classes in the training rows.
    """
    counts = count_rows(features, split)
    cuts = resolve_thresholds(features, split, thresholds)
    return counts, cuts, labelled_rows(features, split, cuts, counts[TRAIN].labelled)


def resolve_thresholds(features: DataFrame, split: TimeSplit, thresholds: Thresholds | Literal["auto"]) -> Thresholds:
    """The thresholds themselves or, for ``auto``, the terciles of the training period.

    Raises:
        ModelError: thresholds ``auto`` find no three classes in the training rows.
    """
    return terciles(training_period(features, split)) if isinstance(thresholds, str) else thresholds


@contextmanager
def kept(frame: DataFrame) -> Iterator[DataFrame]:
    """Keep the rows of a frame that is read several times, and let them go afterwards."""
    persisted = frame.persist()
    try:
        yield persisted
    finally:
        persisted.unpersist()
