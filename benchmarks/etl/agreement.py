"""Whether two contestants have found the same hourly load."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from benchmarks.etl.task import RESULT_FILES
from workload_forecast.schemas import HOURLY_LOAD, MEASURES

#: How far two numbers may be from each other, as a part of the greater one; below 1 it is absolute.
TOLERANCE = 1e-9

_KEY, _COUNTS = list(HOURLY_LOAD.key), ("peak_slot", "sessions")


def read_result(output: Path) -> pl.DataFrame:
    """Return the hourly load that lies somewhere below a contestant's output, sorted; empty if there is none."""
    files = sorted(output.glob(RESULT_FILES))
    if not files:
        return pl.DataFrame(schema=[*_KEY, *_COUNTS, *MEASURES])
    found = pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files], how="vertical_relaxed")
    return found.select(
        pl.col("server"),
        pl.col("hour").cast(pl.Datetime("us")),
        *[pl.col(name).cast(pl.Int64) for name in _COUNTS],
        *[pl.col(name).cast(pl.Float64) for name in MEASURES],
    ).sort(_KEY)


def difference(found: pl.DataFrame, expected: pl.DataFrame) -> str:
    """Return in what the hourly loads differ, or an empty text if they agree."""
    if not found.select(_KEY).equals(expected.select(_KEY)):
        missing, surplus = (
            one.select(_KEY).join(other, on=_KEY, how="anti").height
            for one, other in ((expected, found), (found, expected))
        )
        return f"{missing} hours of servers are missing, {surplus} are there that should not be"
    for name in (*_COUNTS, *MEASURES):
        ours, theirs = found[name], expected[name]
        size = pl.max_horizontal(ours.abs(), theirs.abs(), pl.lit(1.0))
        close = (ours - theirs).abs() <= TOLERANCE * pl.select(size).to_series()
        wrong = found.height - int(close.fill_null(value=False).sum())
        if wrong:
            return f"{name} differs in {wrong} of {found.height} rows"
    return ""
