"""The complete grid: one row per server and hour, so that counting rows is counting hours."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, get_args

import narwhals as nw

from workload_forecast.errors import SettingsError
from workload_forecast.schemas import MEASURES, Frame

#: What an hour without a row means between a server's first and last observed one: not seen, or seen to be idle.
MissingHours = Literal["unknown", "zero"]


def complete_grid(hourly: Frame, calendar: Frame, *, missing_hours: MissingHours, extend_hours: int = 0) -> Frame:
    """Return one row per server and hour, from the server's first observed hour to its last one.

    Args:
        hourly: :data:`~workload_forecast.schemas.HOURLY_LOAD`.
        calendar: :data:`~workload_forecast.schemas.CALENDAR`. Hours that it does not hold are left out.
        missing_hours: measures of the hours in between that were not observed: null (``unknown``) or 0 (``zero``:
            in session data, an hour without a session is an idle hour).
        extend_hours: hours to add after each server's last observed one, to be forecast. Always null.

    Returns:
        Columns ``server``, ``hour`` and the measures.

    Raises:
        SettingsError: ``missing_hours`` is not one of its two words, or ``extend_hours`` is negative.
    """
    if missing_hours not in get_args(MissingHours):
        choices = " or ".join(f"'{word}'" for word in get_args(MissingHours))
        raise SettingsError(f"missing_hours must be {choices}, not {missing_hours!r}.")
    if extend_hours < 0:
        raise SettingsError(f"extend_hours must be 0 or more, not {extend_hours}.")
    spans = hourly.group_by("server").agg(first=nw.col("hour").min(), last=nw.col("hour").max())
    end = nw.col("last") + timedelta(hours=extend_hours)
    hours = spans.join(calendar.select("hour"), how="cross").filter(
        nw.col("hour") >= nw.col("first"), nw.col("hour") <= end
    )
    grid = hours.join(hourly.select("server", "hour", *MEASURES), on=["server", "hour"], how="left")
    measures = [nw.col(name) for name in MEASURES]
    if missing_hours == "zero":
        past = nw.col("hour") <= nw.col("last")
        measures = [nw.when(past).then(value.fill_null(0.0)).otherwise(value) for value in measures]
    return grid.select("server", "hour", **dict(zip(MEASURES, measures, strict=True)))
