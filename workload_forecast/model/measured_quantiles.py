"""Count how far loads lay from the expected one, and whether the quantiles that follow hold what they say."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import sinh

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from workload_forecast.config import Thresholds
from workload_forecast.load_quantiles import BELOW, LoadQuantiles
from workload_forecast.model.rows import is_known
from workload_forecast.schemas import EXPECTED_ERROR, EXPECTED_LOAD, LOAD_LEVELS, PRIMARY_MEASURE

#: Share of the middle class's width that is added to every usual error.
LEAST_ERROR = 0.01
#: Cells for a distance of one error; a distance of many errors is known to one part in so many. Whole numbers of rows
#: are added up, so that no order of the rows changes the sum, and a fleet of any size has some thousand cells.
CELLS = 64
#: Errors that are told from no greater number of them.
FARTHEST = 1e9


def measure_load_quantiles(rows: DataFrame, cuts: Thresholds) -> LoadQuantiles:
    """Return the factors that hold the levels' shares of some rows, to one part in :data:`CELLS` of an error.

    Args:
        rows: features with a known load; those without an expected load and its error are left aside.
        cuts: where the classes meet.
    """
    least = LEAST_ERROR * (cuts.high - cuts.low)
    distance = (F.col(PRIMARY_MEASURE) - F.col(EXPECTED_LOAD)) / (F.col(EXPECTED_ERROR) + F.lit(least))
    # of the magnitude: Spark 3.5 takes the asinh of a large negative number for minus infinity
    magnitude = F.asinh(F.least(F.abs(distance), F.lit(FARTHEST)))
    cell = F.ceil(F.signum(distance) * magnitude * CELLS).alias("cell")
    counted = sorted(tuple(row) for row in _known(rows).groupBy(cell).count().collect())
    if not counted:
        return LoadQuantiles()
    up_to = list(accumulate(count for _, count in counted))
    at = [bisect_left(up_to, up_to[-1] * level / 100) for level in LOAD_LEVELS]
    return LoadQuantiles(least, tuple(sinh(counted[position][0] / CELLS) for position in at))


def shares_below(rows: DataFrame, quantiles: LoadQuantiles) -> dict[str, float]:
    """Return which share of some rows is not above each quantile, by name (``BELOW``); nothing where none is known.

    Args:
        rows: features with a known load, which the quantiles were not counted in.
        quantiles: of a training.
    """
    load, unit = F.col(PRIMARY_MEASURE), F.col(EXPECTED_ERROR) + F.lit(quantiles.least_error)
    found = [F.greatest(F.col(EXPECTED_LOAD) + F.lit(factor) * unit, F.lit(0.0)) for factor in quantiles.factors]
    below = [F.avg((load <= quantile).cast("int")) for quantile in found]
    shares = _known(rows).agg(*below).first() if below else None
    if shares is None or shares[0] is None:
        return {}
    return dict(zip(BELOW, shares, strict=True))


def _known(rows: DataFrame) -> DataFrame:
    return rows.filter(is_known(EXPECTED_LOAD) & is_known(EXPECTED_ERROR))
