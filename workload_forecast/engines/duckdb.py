"""The embedded engine: DuckDB, in process, out of core, no JVM."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, cast

import duckdb
import narwhals as nw
import pyarrow as pa

from workload_forecast.engines.contract import LONGEST_LINE_BYTES, Reduction, SessionFile
from workload_forecast.errors import DataError, EnvironmentProblem
from workload_forecast.schemas import MEASURES, RAW_SESSIONS, REDUCED, Frame, Table
from workload_forecast.sessions.layouts import Layout
from workload_forecast.storage.gigabytes import gigabytes
from workload_forecast.storage.lines import count_lines, open_binary

#: The memory that DuckDB may take before it spills, in GB; by default four fifths of the machine's.
VARIABLE = "WORKLOAD_FORECAST_MEMORY_GB"

#: A line of input is read as one column: the separator is the last code point, which is no character. An end of line
#: stands for null, because no line contains one.
_NO_SEPARATOR, _NO_NULL = "chr(1114111)", "chr(10)"

_DEFECTS = {"INVALID ENCODING": "encoding", "LINE SIZE OVER MAXIMUM": "line_too_long"}


class DuckDBEngine:
    """See :class:`~workload_forecast.engines.contract.Engine`."""

    name = "duckdb"
    distributed = False
    reductions = 1  # which takes all cores

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def reads_in_place(self, urls: Sequence[str]) -> str:  # noqa: ARG002 — files are read from the local disk alone
        """See the contract."""
        return ""

    def reduce_sessions(self, files: Sequence[SessionFile], reduction: Reduction, path: Path) -> int:
        """Read every line once; see the contract."""
        path.mkdir(parents=True)
        try:
            with ThreadPoolExecutor(1) as pool:
                counting = pool.submit(lambda: sum(count_lines(Path(file.path)) for file in files))
                _reduced(reduction, self._scan(files)).write_parquet(str(path / "read.parquet"))
                rejected = self._rejected()
                if rejected.num_rows:
                    lines = self._connection.from_arrow(rejected)
                    _reduced(reduction, lines).write_parquet(str(path / "rejected.parquet"))
                return counting.result()
        except duckdb.IOException as problem:
            raise DataError(f"the sessions cannot be read: {problem}") from None
        except duckdb.OutOfMemoryException as problem:
            raise EnvironmentProblem(f"DuckDB ran out of memory: {problem}. Free disk space or memory.") from None

    def progress(self) -> float | None:
        """Return how much of the running query is done, 0 to 100, or None if nobody can tell."""
        percent = float(self._connection.query_progress())
        return percent if percent >= 0 else None

    def read_table(self, table: Table, *paths: Path) -> Frame:
        """Return the stored table lazily."""
        try:
            relation = self._connection.sql(f"SELECT * FROM {_parquet(*paths)}")
        except duckdb.IOException as problem:
            where = paths[0] if len(paths) == 1 else str(problem).splitlines()[0]
            raise DataError(f"there is no table '{table.name}' in {where}: run the step that makes it again.") from None
        return table.select(_frame(relation))

    def write_table(self, frame: Frame, table: Table, path: Path) -> int:
        """Write Parquet files sorted by the table's key."""
        path.mkdir(parents=True)
        rows = _native(table.select(frame)).order(", ".join(table.key))
        if table.partition_by:
            rows.write_parquet(str(path), partition_by=list(table.partition_by))
        else:
            rows.write_parquet(str(path / "part-0.parquet"))
        written = self._connection.sql(f"SELECT count(*) FROM {_parquet(path)}").fetchone()
        return int(written[0]) if written else 0

    def from_arrow(self, data: pa.Table) -> Frame:
        """Return a small in-memory table as a frame."""
        return _frame(self._connection.from_arrow(data))

    def with_digest(self, frame: Frame, column: str, name: str) -> Frame:
        """Add the MD5 of a text; see the contract."""
        return _frame(_native(frame).project(f"*, md5({column}) AS {name}"))

    def versions(self) -> Mapping[str, str]:
        """Return library versions."""
        return {"duckdb": duckdb.__version__, "narwhals": nw.__version__}

    def _scan(self, files: Sequence[SessionFile]) -> duckdb.DuckDBPyRelation:
        """Return a relation of raw sessions over all files, each read with its own layout."""
        by_layout = groupby(sorted(files, key=lambda file: file.layout.name), key=lambda file: file.layout)
        queries = [_scan_query([file.path for file in group], layout) for layout, group in by_layout]
        return self._connection.sql(" UNION ALL ".join(queries))

    def _rejected(self) -> pa.Table:
        """Return the lines that DuckDB's reader refused as raw sessions, re-read from their files as they stand."""
        # a line can have several errors; its position counts from 1
        places = self._connection.sql(
            "SELECT file_path, line_byte_position - 1, max(error_type) FROM reject_errors "
            "JOIN reject_scans USING (scan_id, file_id) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        self._connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
        rows = []
        for path, group in groupby(places, key=lambda place: place[0]):
            with open_binary(Path(path)) as stream:
                for _, position, error in group:
                    rows.append(
                        {"file": path, "line": _line_at(stream, position), "defect": _DEFECTS.get(error, "unreadable")}
                    )
        return pa.Table.from_pylist(rows, schema=_RAW_ARROW)


_RAW_ARROW = pa.schema(
    [
        (name, pa.float64() if name in MEASURES else pa.int64() if name == "start" else pa.string())
        for name in RAW_SESSIONS.columns
    ]
)


def _line_at(stream: BinaryIO, position: int) -> str:
    r"""Return the first non-empty line from ``position`` on; bytes that are not UTF-8 are written as ``\xhh``.

    After an end of line of two bytes, DuckDB's position is that of the second one.
    """
    stream.seek(position)
    line = b""
    while not line and (chunk := stream.readline(LONGEST_LINE_BYTES)):
        line = chunk.lstrip(b"\r\n").split(b"\r")[0].rstrip(b"\n")
    return line.decode("utf-8", errors="backslashreplace")


def _scan_query(paths: Sequence[str], layout: Layout) -> str:
    """SQL over the lines of ``paths`` that yields the columns of ``RAW_SESSIONS``.

    Lines are split here rather than by DuckDB's CSV parser, which drops surplus fields without a word.
    """

    def field(name: str) -> str:
        return f"fields[{layout.position(name) + 1}]"

    texts = {
        "start_text": _trimmed(field("session_start")),
        "server": _trimmed(field("server_ip")),
        "total_load_text": _trimmed(field("total_load")),
    }
    columns = [
        "file",
        "line",
        f"CASE WHEN len(fields) <> {len(layout.columns)} THEN 'field_count' END AS defect",
        *texts,
        f"{_timestamp('start_text')} AS start",
        *[f"{_number(field(name))} AS {name}" for name in MEASURES],
    ]
    trimmed = ", ".join(f"{expression} AS {name}" for name, expression in texts.items())
    return f"SELECT {', '.join(columns)} FROM (SELECT *, {trimmed} FROM ({_lines_query(paths)}))"


def _lines_query(paths: Sequence[str]) -> str:
    """SQL that yields each line with its file, its fields and whether there is an underscore in it."""
    # a line that does contain the separator, which only garbage does, is put together again
    whole = f"CASE WHEN rest IS NULL THEN head ELSE concat(head, {_NO_SEPARATOR}, rest) END"
    return (
        f"SELECT {whole} AS line, filename AS file, string_split(line, ',') AS fields, "
        "contains(line, '_') AS underscored FROM read_csv("
        f"[{', '.join(map(_literal, paths))}], columns = {{'head': 'VARCHAR', 'rest': 'VARCHAR'}}, "
        f"auto_detect = false, header = false, delim = {_NO_SEPARATOR}, quote = '', escape = '', "
        f"nullstr = {_NO_NULL}, null_padding = true, strict_mode = false, max_line_size = {LONGEST_LINE_BYTES}, "
        "ignore_errors = true, store_rejects = true, rejects_limit = 0, filename = true"
        ") WHERE head <> '' OR rest IS NOT NULL"
    )


def _trimmed(text: str) -> str:
    """Take the blanks off both ends; looking for them first is much faster than trimming every text."""
    return f"CASE WHEN {text} LIKE ' %' OR {text} LIKE '% ' THEN trim({text}) ELSE {text} END"


def _timestamp(text: str) -> str:
    """Parse a start, in seconds since 1970; DuckDB's hour 24 is not part of the format."""
    exact = f"{text} LIKE '____-__-__ __:__:__' AND {text} NOT LIKE '% 24:%'"
    return f"CASE WHEN {exact} THEN epoch_us(try_cast({text} AS TIMESTAMP)) // 1000000 END"


def _number(text: str) -> str:
    """Parse a decimal number; DuckDB's digit separators (1_000) are not part of the format."""
    # few lines have an underscore: a look into each line costs less than one into each field
    return f"CASE WHEN underscored AND contains({text}, '_') THEN NULL ELSE try_cast({text} AS DOUBLE) END"


def _parquet(*paths: Path) -> str:
    files = (Path(glob.escape(str(path))) / "**" / "*.parquet" for path in paths)
    return f"read_parquet([{', '.join(_literal(str(each)) for each in files)}], hive_partitioning = true)"


def _reduced(reduction: Reduction, lines: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    return _native(REDUCED.select(reduction(_frame(lines))))


def _frame(relation: duckdb.DuckDBPyRelation) -> Frame:
    return nw.from_native(relation)


def _native(frame: Frame) -> duckdb.DuckDBPyRelation:
    return cast(duckdb.DuckDBPyRelation, frame.to_native())


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def open_duckdb(options: Mapping[str, Any]) -> Iterator[DuckDBEngine]:
    """Open an in-process database that spills to a private temporary folder.

    Args:
        options: DuckDB settings, for example ``memory_limit`` or ``threads``.

    Raises:
        SettingsError: :data:`VARIABLE` is not a number of gigabytes.
    """
    memory = gigabytes(VARIABLE, os.environ)
    limits = {} if memory is None else {"memory_limit": f"{memory * 1e9:.0f}B"}
    with tempfile.TemporaryDirectory(prefix="workload-forecast-duckdb-") as spill:
        settings = {"temp_directory": spill, "preserve_insertion_order": "false", **limits, **options}
        connection = duckdb.connect(":memory:", config=settings)
        try:
            yield DuckDBEngine(connection)
        finally:
            connection.close()
