"""Contestants (b): bare Spark jobs, with Spark's CSV reader or with lines that are split. They trust the data."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DoubleType, StringType, StructField, StructType, TimestampNTZType

from benchmarks.etl.spark_session import bare_session
from benchmarks.etl.task import Task
from workload_forecast.schemas import MEASURES

_TYPES: dict[str, DataType] = {"session_start": TimestampNTZType(), **dict.fromkeys(MEASURES, DoubleType())}


def run_csv(task: Task) -> None:
    """Read with the CSV reader and an explicit schema."""
    with bare_session() as session:
        _hourly(session, task, _read_csv)


def run_text(task: Task) -> None:
    """Read lines and split them."""
    with bare_session() as session:
        hourly_by_text(session, task)


def hourly_by_text(session: SparkSession, task: Task) -> None:
    """Do the job of :func:`run_text` in a session that runs."""
    _hourly(session, task, _read_text)


def _read_csv(session: SparkSession, task: Task) -> DataFrame:
    schema = StructType([StructField(name, _TYPES.get(name, StringType())) for name in task.columns])
    return session.read.csv(list(task.files), schema=schema)  # without a format, times are parsed by the faster way


def _read_text(session: SparkSession, task: Task) -> DataFrame:
    fields = session.read.text(list(task.files)).select(F.split("value", ",").alias("fields"))

    def field(name: str) -> Column:
        text = F.col("fields")[task.columns.index(name)]
        return text.cast(_TYPES.get(name, StringType())).alias(name)

    return fields.select(*map(field, ("session_start", "server_ip", *MEASURES)))


def _hourly(session: SparkSession, task: Task, read: Callable[[SparkSession, Task], DataFrame]) -> None:
    start = F.col("session_start")  # needs the session
    slots = (
        read(session, task)
        .groupBy(
            F.col("server_ip").alias("server"),
            F.date_trunc("hour", start).cast("timestamp_ntz").alias("hour"),
            F.floor(F.minute(start) / 5).alias("peak_slot"),
        )
        .agg(F.count("*").alias("sessions"), *[F.round(F.sum(name), 6).alias(name) for name in MEASURES])
    )
    best_first = Window.partitionBy("server", "hour").orderBy(F.desc("total_load"), "peak_slot")
    peaks = slots.withColumn("place", F.row_number().over(best_first)).filter("place = 1").drop("place")
    peaks.write.parquet(str(task.result))
