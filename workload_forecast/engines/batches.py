"""Tables worked on in this process's memory, some servers at a time, so that a batch is as large as it may be.

What depends on nothing but a server's own rows needs neither a database nor a cluster. polars makes the features of
such a batch in less than half of the processor time that DuckDB takes, and before Spark has planned them
(``docs/performance.md``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import narwhals as nw
import polars as pl
import pyarrow as pa

from workload_forecast.schemas import Frame, Table

#: First and last server of a batch, both included, and how many rows it is expected to give.
Range = tuple[str, str, int]


def ranges(rows: Mapping[str, int], at_most: int) -> list[Range]:
    """Return batches of servers, in order of their names.

    Args:
        rows: expected of each server.
        at_most: rows of a batch; a server with more is one by itself.
    """
    batches: list[Range] = []
    for server in sorted(rows):
        first, _, sum_ = batches[-1] if batches else (server, server, at_most)
        if sum_ + rows[server] > at_most:
            batches.append((server, server, rows[server]))
        else:
            batches[-1] = (first, server, sum_ + rows[server])
    return batches


def read_all(table: Table, folder: Path) -> Frame:
    """Return all stored rows, lazily."""
    files = sorted(folder.rglob("*.parquet"))  # listed here, because polars would take a path for a pattern
    stored = pl.scan_parquet(files, glob=False, hive_partitioning=bool(table.partition_by), try_parse_hive_dates=False)
    return table.select(nw.from_native(stored))


def read_batches(table: Table, folder: Path, batches: list[Range]) -> Iterator[tuple[Frame, float]]:
    """Yield the stored rows of each batch, lazily, and the percentage that is done after it."""
    total, done = sum(rows for _, _, rows in batches), accumulate(rows for _, _, rows in batches)
    for (first, last, _), rows in zip(batches, done, strict=True):
        servers = nw.col("server").is_between(nw.lit(first), nw.lit(last))
        yield read_all(table, folder).filter(servers), 100 * rows / total


def from_arrow(data: pa.Table) -> Frame:
    """Return a small in-memory table as a frame that goes with :func:`read_batches`."""
    return nw.from_native(pl.DataFrame(data).lazy())


def write_batch(frame: Frame, table: Table, path: Path, number: int) -> int:
    """Add the rows of a batch, sorted by the table's key, to its partitioned folder; return how many they are."""
    rows: pl.DataFrame = table.select(frame).sort(*table.key).collect("polars", engine="in-memory").to_native()
    for values, group in rows.partition_by(*table.partition_by, as_dict=True, include_key=False).items():
        parts = (f"{name}={value}" for name, value in zip(table.partition_by, values, strict=True))
        folder = path.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        group.write_parquet(folder / f"part-{number}.parquet", compression="snappy")
    return len(rows)
