"""From the hourly load of the past to the feature rows of the hours to come, with the project's own features.

A forecast knows what happened before its start and nothing else. Of that, only the hours that a feature can reach are
used, so that the work does not grow with the length of the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from workload_forecast.errors import DataError, SchemaError, SettingsError
from workload_forecast.features.build import LOOK_BACK_HOURS, build_features, build_lead_features
from workload_forecast.features.calendar import calendar_columns
from workload_forecast.features.grid import MissingHours, complete_grid
from workload_forecast.features.leads import lead_columns
from workload_forecast.schemas import FEATURE_NAMES, HOURLY_LOAD, MEASURES, PRIMARY_MEASURE
from workload_forecast.serving.saved_trees import Doubles

#: Columns of the hourly load that no feature uses; a history may come without them.
UNUSED = ("peak_slot", "sessions")

#: Years that calendars, holidays and nanoseconds are good for.
YEARS = range(1971, 2200)

HOUR = timedelta(hours=1)

_TYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    "server": pl.String,
    "hour": pl.Datetime("us"),
    **dict.fromkeys(UNUSED, pl.Int64),
    **dict.fromkeys(MEASURES, pl.Float64),
}


@dataclass(frozen=True)
class Prepared:
    """Feature rows of some servers for ``hours`` hours from ``start`` on; to be answered from any number of times."""

    start: datetime  #: nothing of this hour, or later, is known
    hours: int
    servers: Mapping[str, int]  #: position of each server that has a history
    features: Doubles  #: servers × hours × features, in the order of ``FEATURE_NAMES``; unknown ones are NaN
    same_hour: Doubles  #: servers × hours: the load of the last known hour at the same time of the day, or NaN
    same_hour_age: Doubles  #: servers × hours: how many hours before ``start`` that load was, or NaN
    last_seen: Doubles  #: servers: how many hours before ``start`` the last row was


def prepare(
    history: Any,
    start: datetime,
    hours: int,
    *,
    missing_hours: MissingHours,
    servers: Iterable[str] | None = None,
    known_until: datetime | None = None,
    from_newest: bool = False,
) -> Prepared:
    """Make the feature rows of the servers that have a history.

    Args:
        history: :data:`~workload_forecast.schemas.HOURLY_LOAD` as a pandas, pyarrow or polars frame, of any number of
            servers. Rows of ``start`` or later are left aside; so are those that no feature reaches.
        start: first hour to be forecast, UTC without a zone.
        hours: how many hours from there on.
        missing_hours: as the features were trained (see :func:`~workload_forecast.features.grid.complete_grid`).
        servers: those that are wanted; all of the history if None.
        known_until: the newest hour that was observed at all; the history's newest if None. With ``zero``, a server
            without a row up to there was idle; what comes after is unknown.
        from_newest: whether the rows may use everything up to the newest hour; else each is that of 48 hours ahead.

    Raises:
        SettingsError: ``start`` is no whole hour, carries a zone or lies outside :data:`YEARS`; ``hours`` is below 1.
        SchemaError: a column is missing, or an hour is no time without a zone.
        DataError: two rows for a server and hour, or an hour that is not whole.
    """
    check_start(start)
    if hours < 1:
        raise SettingsError(f"hours must be 1 or more, not {hours}.")
    past = _past(history, start)
    newest = min(known_until or start, start - HOUR)
    if known_until is None and not past.is_empty():
        newest = past["hour"].max()  # type: ignore[assignment]  # polars cannot know that these are times
    if servers is not None:
        past = past.filter(pl.col("server").is_in(list(dict.fromkeys(servers))))
    _check_keys(past)
    reached = _reached(past, start - LOOK_BACK_HOURS * HOUR)
    seen = reached.group_by("server").agg(_age(pl.col("hour").max(), start).alias("age")).sort("server")
    if missing_hours == "zero":
        reached = _idle_until(reached, newest)
    if reached.is_empty():
        empty = np.zeros((0, hours, len(FEATURE_NAMES)))
        return Prepared(start, hours, {}, empty, empty[:, :, 0], empty[:, :, 0], empty[:, 0, 0])
    coming = _features(reached, start, hours, missing_hours, newest if from_newest else None)
    names = coming["server"].unique(maintain_order=True).to_list()
    matrix = coming.select(pl.col(FEATURE_NAMES).cast(pl.Float64)).to_numpy()
    same_hour = _same_hour(reached, coming, start, missing_hours)
    return Prepared(
        start,
        hours,
        {name: position for position, name in enumerate(names)},
        matrix.reshape(len(names), hours, len(FEATURE_NAMES)),
        same_hour["same_hour"].to_numpy().reshape(len(names), hours),
        same_hour["age"].to_numpy().reshape(len(names), hours),
        seen["age"].to_numpy(),  # in the order of the servers' names, as the table is
    )


def check_start(start: datetime) -> None:
    """Check that ``start`` is a whole hour in UTC without a zone, in a year that calendars are good for.

    Raises:
        SettingsError: it is not.
    """
    if start.tzinfo is not None:
        raise SettingsError(f"start={start} carries a time zone; give UTC without a zone.")
    if (start.minute, start.second, start.microsecond) != (0, 0, 0):
        raise SettingsError(f"start={start} is not a whole hour; the forecast is hourly.")
    if start.year not in YEARS:
        raise SettingsError(f"start={start} must lie between the years {YEARS.start} and {YEARS.stop - 1}.")


def _past(history: Any, start: datetime) -> pl.DataFrame:
    """The hourly load before ``start``, as far as it is known."""
    rows = _hourly_load(history)
    finite = {name: pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in MEASURES}
    # as in the tables: a broken secondary measure counts as 0; without a load the hour was not observed
    imputed = {name: value if name == PRIMARY_MEASURE else value.fill_null(0.0) for name, value in finite.items()}
    return rows.with_columns(**imputed).filter(pl.col(PRIMARY_MEASURE).is_not_null(), pl.col("hour") < start)


def _hourly_load(history: Any) -> pl.DataFrame:
    try:
        rows: pl.DataFrame = nw.from_native(history).lazy().collect().to_polars()
    except TypeError:
        kind = type(history).__name__
        raise SchemaError(f"a history must be a pandas, pyarrow or polars frame, not {kind}.") from None
    missing = [name for name in HOURLY_LOAD.columns if name not in (*rows.columns, *UNUSED)]
    if missing:
        raise SchemaError(f"the history lacks the column(s) {', '.join(missing)}; found: {', '.join(rows.columns)}.")
    if rows.is_empty():  # an empty frame has no types worth checking
        return pl.DataFrame(schema=_TYPES)
    hour = rows.schema["hour"]
    if not isinstance(hour, pl.Datetime) or hour.time_zone is not None:
        raise SchemaError(f"the history's column 'hour' must hold times in UTC without a zone, not {hour}.")
    if rows["server"].null_count() + rows["hour"].null_count():
        raise DataError("the history holds a row without a server or an hour. Take it out.")
    whole = rows.with_columns(pl.lit(0).alias(name) for name in UNUSED if name not in rows.columns)
    try:
        typed: pl.DataFrame = HOURLY_LOAD.select(nw.from_native(whole.lazy())).collect().to_native()
    except nw.exceptions.NarwhalsError as problem:
        text = str(problem).splitlines()[0]
        raise SchemaError(f"the history's columns do not have the types of '{HOURLY_LOAD.name}': {text}.") from None
    return typed


def _check_keys(past: pl.DataFrame) -> None:
    part = past.filter(pl.col("hour") != pl.col("hour").dt.truncate("1h"))
    if not part.is_empty():
        raise DataError(f"the history holds the time {part['hour'][0]}, which is no whole hour. Give hourly load.")
    twice = past.filter(pl.struct("server", "hour").is_duplicated())
    if not twice.is_empty():
        server, hour = twice["server"][0], twice["hour"][0]
        raise DataError(f"the history holds server {server} at {hour} more than once. Give one row a server and hour.")


def _reached(past: pl.DataFrame, oldest: datetime) -> pl.DataFrame:
    """The rows from ``oldest`` on of the servers that have any, and the last one before.

    The one before is not in the calendar, so it gets no row in the grid; but the grid sees that the server was there.
    """
    recent = past.filter(pl.col("hour") >= oldest)
    older = past.filter(pl.col("hour") < oldest).join(recent.select("server").unique(), on="server", how="semi")
    return pl.concat([recent, older.sort("hour").unique("server", keep="last", maintain_order=True)])


def _idle_until(rows: pl.DataFrame, newest: datetime) -> pl.DataFrame:
    """Say of each server without a row at ``newest`` that it was idle then, so that the grid fills in up to there."""
    silent = rows.group_by("server").agg(pl.col("hour").max()).filter(pl.col("hour") < newest)
    idle = {name: pl.lit(0.0) for name in MEASURES} | {name: pl.lit(0, dtype=pl.Int64) for name in UNUSED}
    added = silent.select("server", pl.lit(newest, dtype=pl.Datetime("us")).alias("hour"), **idle)
    return pl.concat([rows, added.select(rows.columns)])


def _features(
    rows: pl.DataFrame, start: datetime, hours: int, missing_hours: MissingHours, origin: datetime | None
) -> pl.DataFrame:
    """The rows of the hours that are asked for, by server and hour; forecast from ``origin`` if there is one."""
    last = start + (hours - 1) * HOUR
    calendar = nw.from_native(_calendar(start, last).lazy())
    extend_hours = LOOK_BACK_HOURS + hours  # to the end of the calendar, whenever the server was last seen
    history = nw.from_native(rows.lazy())
    if origin is None:
        table = build_features(history, calendar, missing_hours=missing_hours, extend_hours=extend_hours, since=start)
    else:
        table = build_lead_features(
            history,
            calendar,
            nw.from_native(pl.DataFrame(lead_columns((last - origin) // HOUR)).lazy()),
            origins=nw.col("hour") == origin,
            missing_hours=missing_hours,
            extend_hours=extend_hours,
            since=min(origin, start),
        )
    # between the newest hour and the start there may be hours that nobody asks for
    made: pl.DataFrame = table.to_native().collect(engine="in-memory")
    return made.filter(pl.col("hour") >= start).sort("server", "hour")


def _calendar(start: datetime, last: datetime) -> pl.DataFrame:
    return pl.DataFrame(calendar_columns(start - LOOK_BACK_HOURS * HOUR, last))


def _same_hour(rows: pl.DataFrame, coming: pl.DataFrame, start: datetime, missing_hours: MissingHours) -> pl.DataFrame:
    """For each hour to come, the newest known load at that hour of the day, and its age at ``start``."""
    calendar = _calendar(start, start - HOUR)
    grid = complete_grid(nw.from_native(rows.lazy()), nw.from_native(calendar.lazy()), missing_hours=missing_hours)
    filled: pl.DataFrame = grid.to_native().collect()
    known = filled.filter(pl.col(PRIMARY_MEASURE).is_not_null()).join(
        calendar.select("hour", "hour_of_day"), on="hour", how="inner"
    )
    newest = (
        known.sort("hour")
        .group_by("server", "hour_of_day")
        .agg(pl.col(PRIMARY_MEASURE).last().alias("same_hour"), _age(pl.col("hour").last(), start).alias("age"))
    )
    asked = coming.select("server", "hour", "hour_of_day")
    return asked.join(newest, on=["server", "hour_of_day"], how="left", maintain_order="left")


def _age(hour: pl.Expr, start: datetime) -> pl.Expr:
    """Hours from ``hour`` to ``start``."""
    return (pl.lit(start, dtype=pl.Datetime("us")) - hour).dt.total_hours().cast(pl.Float64)
