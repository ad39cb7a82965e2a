"""Who takes part, and ``python -m benchmarks.etl.contestants NAME TASK``: one contestant, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from benchmarks.etl.task import Task

HOURLY, ALL = "hourly load", "all of the ETL"

#: What the others are held against: the results of the first one, the times of all four.
QUERY, BARE_SPARK, OURS_DUCKDB, OURS_SPARK = "duckdb-query", "spark-csv", "project-duckdb", "project-spark"


@dataclass(frozen=True)
class Contestant:
    """One way from sessions to hourly load, or on to features.

    Attributes:
        name: for the command line and the files.
        title: for the table.
        makes: :data:`HOURLY` or :data:`ALL`.
        call: module of this package, function.
        engine: of the project, if it is its own.
        largest_gb: input beyond which it is left out, 10⁹ bytes.
    """

    name: str
    title: str
    makes: str
    call: str
    engine: str = ""
    largest_gb: float = float("inf")

    @property
    def run(self) -> Callable[[Task], None]:
        """The function; its libraries are imported only here."""
        module, _, function = self.call.partition(":")
        run: Callable[..., None] = getattr(import_module(f"benchmarks.etl.{module}"), function)
        return partial(run, engine=self.engine) if self.engine else run


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(QUERY, "(a) DuckDB query by hand", HOURLY, "duckdb_query:run"),
        Contestant("project-duckdb-hourly", "project on DuckDB", HOURLY, "project:run_hourly", "duckdb"),
        Contestant(OURS_DUCKDB, "project on DuckDB", ALL, "project:run", "duckdb"),
        Contestant(BARE_SPARK, "(b) bare Spark, CSV reader", HOURLY, "spark_jobs:run_csv"),
        Contestant("spark-text", "(b) bare Spark, split lines", HOURLY, "spark_jobs:run_text"),
        Contestant("project-spark-hourly", "project on Spark", HOURLY, "project:run_hourly", "spark"),
        Contestant(OURS_SPARK, "project on Spark", ALL, "project:run", "spark"),
        Contestant("polars", "(c) Polars", HOURLY, "polars_frame:run"),
        Contestant("pandas", "(c) pandas", HOURLY, "pandas_frame:run", largest_gb=1.0),
        Contestant("2017-hourly", "(d) method of 2017", HOURLY, "sample2017:run_hourly"),
        Contestant("2017", "(d) method of 2017", ALL, "sample2017:run"),
    )
}


if __name__ == "__main__":
    CONTESTANTS[sys.argv[1]].run(Task.read(Path(sys.argv[2])))
