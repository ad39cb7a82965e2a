"""Run the project's frame functions over every backend, with rows as plain dictionaries in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isclose
from typing import TYPE_CHECKING, Any

import duckdb
import narwhals as nw
import polars as pl
import pyarrow as pa

from workload_forecast.schemas import DOUBLE, INTEGER, TEXT, TIMESTAMP, Frame, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Row = dict[str, Any]
BACKENDS = ("duckdb", "polars", "spark")
_ARROW = {TEXT: pa.string(), INTEGER: pa.int64(), DOUBLE: pa.float64(), TIMESTAMP: pa.timestamp("us")}


@dataclass(frozen=True)
class Backend:
    """One backend by name; ``spark`` needs its session."""

    name: str
    session: SparkSession | None = None

    def frame(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> Frame:
        """Return ``rows`` as a frame with the columns and types of ``table``."""
        data = arrow(table, rows)
        if self.name == "polars":
            return nw.from_native(pl.LazyFrame(pl.from_arrow(data)))
        if self.name == "duckdb":
            return nw.from_native(_duckdb().from_arrow(data))
        return nw.from_native(self._spark_frame(table, data))

    def run(
        self, function: Callable[..., Frame], *inputs: tuple[Table, Sequence[Mapping[str, Any]]], **options: Any
    ) -> list[Row]:
        """Return the rows of ``function`` applied to the inputs as frames."""
        return rows_of(function(*(self.frame(table, rows) for table, rows in inputs), **options))

    def _spark_frame(self, table: Table, data: pa.Table) -> DataFrame:
        from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType, TimestampNTZType

        assert self.session is not None, "the spark backend needs the `spark` fixture"
        types = {TEXT: StringType(), INTEGER: LongType(), DOUBLE: DoubleType(), TIMESTAMP: TimestampNTZType()}
        schema = StructType([StructField(name, types[dtype]) for name, dtype in table.columns.items()])
        return self.session.createDataFrame([tuple(row.values()) for row in data.to_pylist()], schema)


def arrow(table: Table, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return ``rows`` as an Arrow table with the columns and types of ``table``."""
    return pa.Table.from_pylist(
        [dict(row) for row in rows], pa.schema([(n, _ARROW[t]) for n, t in table.columns.items()])
    )


def rows_of(frame: Frame) -> list[Row]:
    """Collect a frame's rows by its backend's own means; the order is the backend's."""
    native = frame.to_native()
    if isinstance(native, pl.LazyFrame):
        return native.collect().to_dicts()
    if isinstance(native, duckdb.DuckDBPyRelation):
        return [dict(zip(native.columns, row, strict=True)) for row in native.fetchall()]
    return [row.asDict() for row in native.collect()]


def by_key(rows: Iterable[Mapping[str, Any]], key: Sequence[str]) -> dict[tuple[Any, ...], Row]:
    """Return the rows by their key; two rows with the same one are an error."""
    found = [(tuple(row[name] for name in key), dict(row)) for row in rows]
    keyed = dict(found)
    assert len(keyed) == len(found), f"the key {tuple(key)} is not unique"
    return keyed


def assert_same_rows(
    found: Iterable[Mapping[str, Any]], expected: Iterable[Mapping[str, Any]], table: Table, rel: float = 1e-9
) -> None:
    """Assert that both hold the same keys and, in every column of ``table``, the same values (floats within ``rel``).

    A null equals only a null; a NaN equals nothing.
    """
    left, right = by_key(found, table.key), by_key(expected, table.key)
    assert left.keys() == right.keys(), (
        f"only found: {left.keys() - right.keys()}; missing: {right.keys() - left.keys()}"
    )
    for key, row in left.items():
        assert list(row) == list(table.columns)
        for name in table.columns:
            a, b = row[name], right[key][name]
            close = isclose(a, b, rel_tol=rel, abs_tol=rel) if isinstance(a, float) and isinstance(b, float) else a == b
            assert close, f"{name} at {key}: found {a!r}, expected {b!r}"


@cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    # frames that are joined must share a connection
    return duckdb.connect(config={"threads": 2})
