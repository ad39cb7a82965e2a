"""Hourly peaks: of each server's hour, the five-minute slot with the greatest total load."""

from __future__ import annotations

import narwhals as nw

from workload_forecast.schemas import HOURLY_LOAD, PRIMARY_MEASURE, SECONDARY_MEASURES, Frame

#: Loads and megabytes are kept to this many decimals.
DECIMALS = 6

_SCALE = 10.0**DECIMALS
#: From here on a double's neighbours are further apart than the last decimal: there is nothing to round.
_NO_FRACTION = 2.0**52 / _SCALE


def hourly_peaks(five_minute: Frame) -> Frame:
    """Return each hour's busiest five-minute slot with that slot's numbers (requirements: *feature engineering*).

    Args:
        five_minute: :data:`~workload_forecast.schemas.FIVE_MINUTE_LOAD`.

    Returns:
        :data:`~workload_forecast.schemas.HOURLY_LOAD`: one row per server and hour that was observed. Of slots
        with equal total load, the earliest. Measures are rounded to :data:`DECIMALS` decimals.
    """
    # An engine adds up a slot's sessions in whatever order it meets them, so the same sum can differ in its last
    # bits from run to run. It is rounded before it is compared: neither a tie nor, later, the border of a class
    # may depend on the order of addition.
    rounded = five_minute.with_columns(_rounded(PRIMARY_MEASURE))
    # Two windows over one partition: faster than aggregating and joining back, which reads the slots three times.
    tied = rounded.filter(nw.col(PRIMARY_MEASURE) == nw.col(PRIMARY_MEASURE).max().over("server", "hour"))
    peaks = tied.filter(nw.col("slot") == nw.col("slot").min().over("server", "hour"))
    measures = [nw.col(PRIMARY_MEASURE), *(_rounded(name) for name in SECONDARY_MEASURES)]
    return HOURLY_LOAD.select(peaks.select("server", "hour", "sessions", *measures, peak_slot=nw.col("slot")))


def _rounded(name: str) -> nw.Expr:
    # The engines' own round() differ at halves, and Spark's goes through decimal arithmetic (four times slower in
    # all). This is the same floating-point arithmetic everywhere.
    value = nw.col(name)
    nearest = (value * _SCALE + 0.5).floor().cast(nw.Float64()) / _SCALE
    return nw.when(value.abs() < _NO_FRACTION).then(nearest).otherwise(value).alias(name)
