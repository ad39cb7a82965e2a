"""The rows that a version is judged on: the labelled rows of the test period, from the feature table."""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workload_forecast.config import Thresholds
from workload_forecast.model.baselines import MAJORITY
from workload_forecast.model.split import TimeSplit
from workload_forecast.registry.gate import Positions, Rows
from workload_forecast.schemas import FEATURE_NAMES, PRIMARY_MEASURE, Frame
from workload_forecast.sources import NAIVE_FORECASTS

#: So many of them are given to the Spark pipeline too.
SAMPLE_ROWS = 2_000

#: With more rows than this machine should hold, some servers stand for all. A share of so many rows is known to 0.1 %.
MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class RecentRows:
    """Rows with a known load, ordered by server and hour, and the classes of the training rows before them."""

    table: pa.Table  #: ``server``, ``total_load`` and the features
    training_classes: tuple[int, ...]  #: labelled training rows of each class, lowest class first
    thresholds: Thresholds

    def judged(self) -> Rows:
        """Return labels and naive forecasts: those of training, which Spark makes there (a test compares them)."""
        majority = int(np.argmax(self.training_classes))
        naive = {MAJORITY: np.full(len(self.table), majority, dtype=np.int64)}
        for name, feature in NAIVE_FORECASTS.items():
            loads = _doubles(self.table, feature)
            naive[name] = np.where(np.isnan(loads), majority, class_positions(loads, self.thresholds))
        labels = class_positions(_doubles(self.table, PRIMARY_MEASURE), self.thresholds)
        return Rows(labels, self.table["server"].combine_chunks().dictionary_encode().indices.to_numpy(), naive)

    def sample(self) -> pa.Table:
        """Return up to :data:`SAMPLE_ROWS` rows, evenly spread over servers and hours."""
        size = len(self.table)
        positions = np.unique(np.linspace(0, size - 1, min(size, SAMPLE_ROWS)).round().astype(np.int64))
        return self.table.take(pa.array(positions)) if size else self.table


def class_positions(loads: npt.NDArray[np.float64], thresholds: Thresholds) -> Positions:
    """Return the class of each load: low ≤ ``low`` < medium ≤ ``high`` < high. An unknown one (NaN) has no class."""
    positions: Positions = (loads > thresholds.low).astype(np.int64) + (loads > thresholds.high)
    return positions


def read_recent_rows(features: Frame, split: TimeSplit, thresholds: Thresholds) -> RecentRows:
    """Read the test rows of a feature table, on whatever engine.

    Of more than :data:`MOST_ROWS`, every second (third, …) server's are read, in the order of their names.
    """
    hour, load = nw.col("hour"), nw.col(PRIMARY_MEASURE)
    labelled = features.filter(~load.is_null()).filter(~load.is_nan())
    training = labelled.filter(hour >= split.training_from, hour < split.training_to)
    counts = training.select(
        rows=nw.len(),
        medium=(load > thresholds.low).cast(nw.Int64()).sum(),
        high=(load > thresholds.high).cast(nw.Int64()).sum(),
    ).collect("pyarrow")
    rows, above_low, above_high = (int(counts[name].to_list()[0] or 0) for name in ("rows", "medium", "high"))
    test = _few_enough(labelled.filter(hour >= split.test_from, hour <= split.to)).sort("server", "hour")
    table: pa.Table = test.select("server", PRIMARY_MEASURE, *FEATURE_NAMES).collect("pyarrow").to_native()
    return RecentRows(table, (rows - above_low, above_low - above_high, above_high), thresholds)


def _few_enough(rows: Frame) -> Frame:
    found = rows.select(rows=nw.len()).collect("pyarrow")
    share = -(-int(found["rows"].to_list()[0]) // MOST_ROWS)
    if share <= 1:
        return rows
    servers = rows.select("server").unique().sort("server").collect("pyarrow")["server"].to_list()
    return rows.filter(nw.col("server").is_in(servers[::share]))


def _doubles(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = table[name].cast(pa.float64()).to_numpy()
    return values
