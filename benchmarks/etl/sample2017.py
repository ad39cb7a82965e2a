"""Contestant (d): the method of 2017, restated from its description; kept sequential as it was.

Python functions decide on every row: what five minutes and what hour a session belongs to, which slot is an hour's
peak (over an RDD), what the calendar says. Tables are joined by keys that are texts glued together, and lags count
rows. It trusts the data.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, IntegerType, StringType, StructField, StructType

from benchmarks.etl.spark_session import bare_session
from benchmarks.etl.task import FIRST, Task
from workload_forecast.features.holidays import observed_holidays
from workload_forecast.schemas import LAG_HOURS, MEASURES, TRAILING_HOURS

_TIME, _DAY = "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"


def run_hourly(task: Task) -> None:
    """Reduce the sessions to hourly load."""
    with bare_session() as session:
        _as_result(_hourly(session, task)).write.parquet(str(task.result))


def run(task: Task) -> None:
    """The same, and then the features: daily and weekly averages, lags, calendar, class."""
    with bare_session() as session:
        hourly = _hourly(session, task).cache()
        _as_result(hourly).write.parquet(str(task.result))
        features = _with_class(_with_calendar(_with_lags(_with_averages(hourly))))
        features.write.parquet(str(Path(task.output) / "features"))


def _hourly(session: SparkSession, task: Task) -> DataFrame:
    """Server, hour and slot as texts, and the peak's numbers."""
    schema = StructType(
        [StructField(name, DoubleType() if name in MEASURES else StringType()) for name in task.columns]
    )
    sessions = session.read.csv(list(task.files), schema=schema)
    keyed = sessions.withColumn("slot", F.udf(_slot, StringType())("session_start"))
    sums = [F.round(F.sum(name), 6).alias(name) for name in MEASURES]
    slots = keyed.groupBy(F.col("server_ip").alias("server"), "slot").agg(F.count("*").alias("sessions"), *sums).cache()
    # the peaks are looked for row by row; what else is known of them is joined to them again
    peaks = (
        slots.select("server", "slot", "total_load")
        .rdd.map(lambda row: (row["server"] + "_" + _hour(row["slot"]), (row["total_load"], row["slot"])))
        .reduceByKey(_greater)
        .map(lambda pair: (pair[0].split("_")[0] + "_" + pair[1][1], _hour(pair[1][1])))
        .toDF(["key", "hour"])
    )
    glue = F.udf(lambda server, slot: server + "_" + slot, StringType())
    return slots.withColumn("key", glue("server", "slot")).join(peaks, "key").drop("key")


def _slot(start: str) -> str:
    """The five minutes that a session starts in: a text of its first moment."""
    at = datetime.strptime(start, _TIME)
    return at.replace(minute=at.minute // 5 * 5, second=0).strftime(_TIME)


def _hour(slot: str) -> str:
    return slot[:13] + ":00:00"


def _greater(one: tuple[float, str], other: tuple[float, str]) -> tuple[float, str]:
    """The slot with more load; of two with the same, the earlier one."""
    return min(one, other, key=lambda slot: (-slot[0], slot[1]))


def _as_result(hourly: DataFrame) -> DataFrame:
    number = F.udf(lambda slot: int(slot[14:16]) // 5, IntegerType())
    hour = F.col("hour").cast("timestamp_ntz").alias("hour")
    return hourly.select("server", hour, number("slot").alias("peak_slot"), "sessions", *MEASURES)


def _with_averages(hourly: DataFrame) -> DataFrame:
    """Add the averages of the day and of the seven days that end two days before."""
    day_of = F.udf(lambda hour: hour[:10], StringType())
    in_two_days = F.udf(lambda server, day: server + "_" + _shifted(day, 2), StringType())
    glue = F.udf(lambda server, hour: server + "_" + hour[:10], StringType())
    daily = hourly.groupBy("server", day_of("hour").alias("day")).agg(*[F.avg(name).alias(name) for name in MEASURES])
    week = Window.partitionBy("server").orderBy("day").rowsBetween(-6, 0)
    one, seven = TRAILING_HOURS
    averages = daily.select(
        in_two_days("server", "day").alias("key"),
        *[F.col(name).alias(f"{name}_mean_{one}") for name in MEASURES],
        *[F.avg(name).over(week).alias(f"{name}_mean_{seven}") for name in MEASURES],
    )
    return hourly.withColumn("key", glue("server", "hour")).join(averages, "key", "left").drop("key")


def _shifted(day: str, days: int) -> str:
    return (datetime.strptime(day, _DAY) + timedelta(days=days)).strftime(_DAY)


def _with_lags(hourly: DataFrame) -> DataFrame:
    rows = Window.partitionBy("server").orderBy("hour")
    lags = {f"total_load_lag_{back}h": F.lag("total_load", back).over(rows) for back in LAG_HOURS}
    return hourly.withColumns(lags)


def _with_calendar(hourly: DataFrame) -> DataFrame:
    holidays = {str(day) for day in observed_holidays(FIRST.year)}

    def told(tell: Any) -> Any:
        return F.udf(lambda hour: tell(datetime.strptime(hour, _TIME)), IntegerType())("hour")

    return hourly.withColumns(
        {
            "hour_of_day": told(lambda at: at.hour),
            "weekday": told(lambda at: at.isoweekday()),
            "day_of_month": told(lambda at: at.day),
            "week_of_year": told(lambda at: at.isocalendar()[1]),
            "month": told(lambda at: at.month),
            "year": told(lambda at: at.year),
            "is_us_holiday": told(lambda at: int(at.strftime(_DAY) in holidays)),
            "is_business_hour": told(lambda at: int(8 <= at.hour < 18)),
            "is_morning": told(lambda at: int(6 <= at.hour < 9)),
            "trend_days": told(lambda at: (at - datetime(1970, 1, 1)).days),
        }
    )


def _with_class(hourly: DataFrame, low: float = 100.0, high: float = 500.0) -> DataFrame:
    def name(load: float) -> str:
        return "low" if load <= low else "medium" if load <= high else "high"

    return hourly.withColumn("label", F.udf(name, StringType())("total_load"))
