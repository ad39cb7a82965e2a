"""The Spark session of the contestants that use Spark by themselves: with the project's settings of a laptop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from workload_forecast.engines.java import ensure_java
from workload_forecast.engines.spark import local_settings


@contextmanager
def bare_session() -> Iterator[SparkSession]:
    """Start Spark on all cores of this machine, or join the session that runs already."""
    running = SparkSession.getActiveSession()
    if running is not None:
        yield running
        return
    ensure_java()
    settings = {**local_settings(), "spark.sql.session.timeZone": "UTC"}
    session = SparkSession.builder.master("local[*]").appName("benchmark").config(map=settings).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()
