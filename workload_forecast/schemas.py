"""The tables that are handed from room to room: columns, types, units, keys.

A table is checked where it is handed over (:meth:`Table.select`): the columns come out in this order, and a
missing one is named together with those that were found. All times are UTC without a zone; loads and megabytes
are the source's own units, summed over the sessions of a bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import narwhals as nw

from workload_forecast.errors import SchemaError

#: Hours between the newest value that a feature may use and the hour that is predicted (requirements: 48).
HORIZON_HOURS = 48

#: Load classes in ascending order; a class's position is its label.
CLASSES = ("low", "medium", "high")

#: Numbers summed over a bucket's sessions. ``total_load`` decides; a broken value in any other one is imputed by 0.
PRIMARY_MEASURE = "total_load"
SECONDARY_MEASURES = (
    "megabytes_transferred",
    "concurrent_connections",
    "secure_bytes_load",
    "sub_service_1_load",
    "sub_service_2_load",
    "sub_service_3_load",
    "sub_service_4_load",
    "sub_service_5_load",
)
MEASURES = (PRIMARY_MEASURE, *SECONDARY_MEASURES)

#: Every frame between the rooms is lazy; the engine behind it may be DuckDB, Spark or a small in-memory one.
Frame = nw.LazyFrame[Any]

TIMESTAMP = nw.Datetime("us")
TEXT, INTEGER, DOUBLE = nw.String(), nw.Int64(), nw.Float64()


@dataclass(frozen=True)
class Table:
    """Name, columns with types, key and partition columns of one table."""

    name: str
    columns: Mapping[str, nw.dtypes.DType]
    key: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()

    def select(self, frame: Frame) -> Frame:
        """Return ``frame`` with exactly this table's columns, in order and cast to their types.

        Raises:
            SchemaError: a column is missing; the message names it and lists the columns that were found.
        """
        found = frame.collect_schema().names()
        missing = [name for name in self.columns if name not in found]
        if missing:
            raise SchemaError(
                f"table '{self.name}' lacks the column(s) {', '.join(missing)}; found: {', '.join(found)}. "
                "Run the step that makes it again with this version of the project."
            )
        return frame.select(**{name: nw.col(name).cast(dtype) for name, dtype in self.columns.items()})


#: What an engine's reader yields for every line of the input, good or bad; broken numbers are null.
RAW_SESSIONS = Table(
    "raw_sessions",
    {
        "file": TEXT,
        "line": TEXT,  # as it stood in the file
        "defect": TEXT,  # set by the reader when the line could not even be split into fields, else null
        "start_text": TEXT,
        "start": INTEGER,  # seconds since 1970, null unless exactly `yyyy-MM-dd HH:mm:ss`
        "server": TEXT,
        "total_load_text": TEXT,
        **{name: DOUBLE for name in MEASURES},  # NaN and infinities are kept: the cleaning rules name them
    },
)

#: What the lines of some files are reduced to: one row per group of lines. Where ``disposition`` is null, a group is
#: the used sessions of a server's five-minute slot; elsewhere it is a kind of unused line. ``hour`` is null in
#: quarantine; ``file`` and ``line`` are null outside of it.
REDUCED = Table(
    "reduced",
    {
        "server": TEXT,
        "hour": TIMESTAMP,
        "slot": INTEGER,
        "disposition": TEXT,
        "file": TEXT,
        "line": TEXT,
        "sessions": INTEGER,
        "imputed": INTEGER,
        **{name: DOUBLE for name in MEASURES},
    },
    key=("server", "hour", "slot", "disposition", "file", "line"),
)

#: One row per distinct unusable line of a file.
QUARANTINE = Table(
    "quarantine",
    {"file": TEXT, "reason": TEXT, "line": TEXT, "rows": INTEGER},
    key=("file", "reason", "line"),
)

#: Sums per server, hour and five-minute slot (0 to 11) of the sessions that *start* in it.
FIVE_MINUTE_LOAD = Table(
    "five_minute_load",
    {
        "server": TEXT,
        "hour": TIMESTAMP,
        "slot": INTEGER,
        "sessions": INTEGER,
        **{name: DOUBLE for name in MEASURES},
    },
    key=("server", "hour", "slot"),
)

#: The five-minute slot with the greatest total load of each hour (ties: the earliest) and that slot's numbers.
HOURLY_LOAD = Table(
    "hourly_load",
    {
        "server": TEXT,
        "hour": TIMESTAMP,
        "peak_slot": INTEGER,
        "sessions": INTEGER,
        **{name: DOUBLE for name in MEASURES},
    },
    key=("server", "hour"),
)

#: One row per hour of the window. Weekdays are ISO (Monday 1 … Sunday 7); flags are 0 or 1.
CALENDAR = Table(
    "calendar",
    {
        "hour": TIMESTAMP,
        "hour_of_day": INTEGER,
        "weekday": INTEGER,
        "day_of_month": INTEGER,
        "week_of_year": INTEGER,  # ISO week
        "month": INTEGER,
        "year": INTEGER,
        "is_us_holiday": INTEGER,
        "is_business_hour": INTEGER,  # 8 ≤ hour < 18
        "is_morning": INTEGER,  # 6 ≤ hour < 9
        "trend_days": DOUBLE,  # days since 1970-01-01, with the fraction of the day
    },
    key=("hour",),
)
CALENDAR_FEATURES = tuple(name for name in CALENDAR.columns if name != "hour")

#: Hours before the predicted hour whose peak load is a feature (requirements: *feature engineering*).
LAG_HOURS = (48, 49, 50, 51, 52, 55, 60, 67, 72, 96, 168, 730)

#: Trailing windows, in hours, that end at the horizon: 1d is the daily average of the requirements, 7d the weekly.
TRAILING_HOURS = {"1d": 24, "7d": 168}

LAG_FEATURES = tuple(f"total_load_lag_{hours}h" for hours in LAG_HOURS)
TRAILING_FEATURES = tuple(f"{measure}_mean_{window}" for measure in MEASURES for window in TRAILING_HOURS)

#: Beyond the requirements: the server's recent spread and extremes, its usual load at this hour of the day,
#: and how much of the last week was seen at all.
SHAPE_FEATURES = (
    "total_load_std_7d",
    "total_load_min_7d",
    "total_load_max_7d",
    "total_load_same_hour_mean_7d",
    "observed_hours_7d",
)

#: What depends on when a row is forecast: the newest load that can be known at the same hour of the day, what a mixture
#: of naive forecasts expects, and its usual error on the server. ``lead_hours`` is the distance from
#: the newest hour that is known to the hour of the row.
LEAD = "lead_hours"
LAST_SAME_HOUR = "total_load_last_same_hour"
EXPECTED_LOAD, EXPECTED_ERROR = "expected_load", "expected_error"
EXPECTED_FEATURES = (LAST_SAME_HOUR, EXPECTED_LOAD, EXPECTED_ERROR)
FEATURE_NAMES = (
    *CALENDAR_FEATURES,
    *LAG_FEATURES,
    *TRAILING_FEATURES,
    *SHAPE_FEATURES,
    *EXPECTED_FEATURES,
    LEAD,
)

#: Quantiles of the load, in percent: in so many of 100 hours the load is not above ``load_p…``.
LOAD_LEVELS = (10, 50, 90, 95, 99)
LOAD_QUANTILES = tuple(f"load_p{level}" for level in LOAD_LEVELS)
#: What a forecast says of an hour's load besides its class.
LOAD_NUMBERS = (*EXPECTED_FEATURES, *LOAD_QUANTILES)

#: Features that are known of every row; the others may be null.
KNOWN_FEATURES = (*CALENDAR_FEATURES, LEAD)

#: Complete grid: every hour from a server's first to its last one. ``total_load`` is the peak to be classified and
#: null where the hour was not observed; features are null where the history does not reach back far enough.
#: In the ETL's table every row is forecast :data:`HORIZON_HOURS` ahead, so that server and hour are a key there, too.
FEATURES = Table(
    "features",
    {
        "server": TEXT,
        "hour": TIMESTAMP,
        "total_load": DOUBLE,
        **{name: CALENDAR.columns[name] for name in CALENDAR_FEATURES},
        **{name: DOUBLE for name in (*LAG_FEATURES, *TRAILING_FEATURES, *SHAPE_FEATURES, *EXPECTED_FEATURES)},
        LEAD: INTEGER,
    },
    key=("server", "hour", LEAD),
    partition_by=("year", "month"),
)

#: What is said of each server for the hours that follow an origin, the newest hour that may be known: a row a server
#: and hour. Class, probabilities and confidence are null where ``source`` is ``none``. The newest load known at the
#: same hour of the day, the expected load, both in units of the sessions' load, the latter's error (a trailing mean
#: absolute error) and the load's quantiles are null where too little is known of the server, the quantiles also where
#: the model knows of none.
FORECAST = Table(
    "forecast",
    {
        "server": TEXT,
        "hour": TIMESTAMP,
        LEAD: INTEGER,  # 1 to 48
        "prediction": TEXT,
        **{f"probability_{name}": DOUBLE for name in CLASSES},
        "confidence": DOUBLE,
        "source": TEXT,
        **{name: DOUBLE for name in LOAD_NUMBERS},
        "model_version": TEXT,
        "origin": TEXT,  # like 2016-06-30T23
    },
    key=("server", "hour"),
    partition_by=("origin",),
)

#: What to do with each server, for one forecast: see :mod:`workload_forecast.planning.plan`.
CAPACITY_PLAN = Table(
    "capacity_plan",
    {
        "server": TEXT,
        "action": TEXT,  # consolidate, keep, scale_out
        "machine": TEXT,  # the server whose machine it is to run on; itself where it stays
        "reason": TEXT,
        "confidence": DOUBLE,
        "peak_load": DOUBLE,  # that is reckoned with
        "peak_hour": TIMESTAMP,
        "machines_missing": INTEGER,
        "origin": TEXT,
    },
    key=("server",),
    partition_by=("origin",),
)
