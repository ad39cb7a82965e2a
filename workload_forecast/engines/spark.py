"""The distributed engine: Spark, on this machine's cores or on whatever cluster submitted the project."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import narwhals as nw
import pyarrow as pa
import pyspark
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import AnalysisException, PySparkRuntimeError
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DoubleType, LongType, StringType, StructType, TimestampNTZType

from workload_forecast.engines.class_archive import ClassArchive
from workload_forecast.engines.contract import LONGEST_LINE_BYTES, Reduction, SessionFile
from workload_forecast.engines.java import ensure_java
from workload_forecast.errors import DataError
from workload_forecast.schemas import MEASURES, REDUCED, TIMESTAMP, Frame, Table
from workload_forecast.sessions.layouts import Layout

_TYPES: dict[nw.dtypes.DType, DataType] = {
    nw.String(): StringType(),
    nw.Int64(): LongType(),
    nw.Float64(): DoubleType(),
    TIMESTAMP: TimestampNTZType(),
}

#: A word that may be a number by Java's parser and by the format: Java alone takes 1d, 2.f and hexadecimal ones.
_PERHAPS_NUMBER = r"(?s)^(?!.*[0-9.][dDfFxX]).*\w"
#: What decoding puts in place of bytes that are not UTF-8; a line may also hold it itself.
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


#: What the tables' meaning rests on, whoever started the session.
SESSION_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    # a cast is null where it fails, and takes decimals for whole numbers: Spark 3.5's default, and no longer Spark 4's
    "spark.sql.ansi.enabled": "false",
    # this rule would drop the counter of rows together with an input that turns out to be empty
    "spark.sql.adaptive.optimizer.excludedRules": ("org.apache.spark.sql.execution.adaptive.AQEPropagateEmptyRelation"),
}


class SparkEngine:
    """See :class:`~workload_forecast.engines.contract.Engine`."""

    name = "spark"
    reductions = 4  # while the last tasks of one run, the next one's take the other cores

    def __init__(self, session: SparkSession) -> None:
        self.session = session
        for name, value in SESSION_SETTINGS.items():
            session.conf.set(name, value)

    @property
    def distributed(self) -> bool:
        """See the contract."""
        return not str(self.session.sparkContext.master).startswith("local")

    def reads_in_place(self, urls: Sequence[str]) -> str:
        """See the contract. The cluster's own connector and credentials are asked, by looking into the folder."""
        jvm: Any = self.session.sparkContext._jvm
        # with what a notebook has set for this session alone
        settings: Any = self.session._jsparkSession.sessionState().newHadoopConf()  # noqa: SLF001
        for url in urls:
            try:
                folder = jvm.org.apache.hadoop.fs.Path(url)
                folder.getFileSystem(settings).listStatusIterator(folder).hasNext()
            except Py4JJavaError:  # no connector for the scheme, or it may not read there
                continue
            return url
        return ""

    def reduce_sessions(self, files: Sequence[SessionFile], reduction: Reduction, path: Path) -> int:
        """Read every line once; see the contract."""
        by_layout = groupby(sorted(files, key=lambda file: file.layout.name), key=lambda file: file.layout)
        try:
            scans = [self._scan([file.path for file in group], layout) for layout, group in by_layout]
            raw = reduce(DataFrame.union, (lines for _, lines in scans))
            _native(REDUCED.select(reduction(_frame(raw)))).write.parquet(f"file://{path}")
        except AnalysisException as problem:
            raise DataError(f"the sessions cannot be read: {_first_line(problem)}") from None
        return sum(int(seen.get["rows"]) for seen, _ in scans)

    def progress(self) -> float | None:
        """Return how much of the active stages' tasks are done, 0 to 100, or None if none is active."""
        tracker = self.session.sparkContext.statusTracker()
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        total = sum(stage.numTasks for stage in stages if stage)
        return 100 * sum(stage.numCompletedTasks for stage in stages if stage) / total if total else None

    def read_table(self, table: Table, *paths: Path) -> Frame:
        """Return the stored table lazily."""
        try:
            stored = self.session.read.parquet(*map(_location, paths))
        except AnalysisException as problem:
            where = paths[0] if len(paths) == 1 else _first_line(problem)
            raise DataError(f"there is no table '{table.name}' in {where}: run the step that makes it again.") from None
        return table.select(_frame(stored))

    def write_table(self, frame: Frame, table: Table, path: Path) -> int:
        """Write Parquet files sorted by the table's key within each file."""
        rows = _native(table.select(frame))
        writer = (rows.repartition(*table.partition_by) if table.partition_by else rows).sortWithinPartitions(
            *table.key
        )
        writer.write.partitionBy(*table.partition_by).parquet(f"file://{path}")
        return self.session.read.parquet(_location(path)).count()

    def from_arrow(self, data: pa.Table) -> Frame:
        """Return a small in-memory table as a frame."""
        rows = [tuple(row.values()) for row in data.to_pylist()]
        types = StructType()
        for name, dtype in nw.from_native(data).schema.items():
            types = types.add(name, _TYPES[dtype])
        # Spark does not know how small it is; without the hint a join with it may move the large side
        return _frame(F.broadcast(self.session.createDataFrame(rows, types)))

    def with_digest(self, frame: Frame, column: str, name: str) -> Frame:
        """Add the MD5 of a text; see the contract."""
        return _frame(_native(frame).withColumn(name, F.md5(column)))

    def versions(self) -> Mapping[str, str]:
        """Return library versions."""
        java = self.session.sparkContext._jvm.System.getProperty("java.version")  # type: ignore[union-attr]
        return {"spark": self.session.version, "java": str(java), "narwhals": nw.__version__}

    def _scan(self, paths: Sequence[str], layout: Layout) -> tuple[Observation, DataFrame]:
        """Return the lines as ``RAW_SESSIONS``, and the counter of them.

        Everything above the counter becomes one piece of generated code, which computes what a row needs, when it needs
        it: only rows in quarantine have their file decoded. The JVM compiles no method of more than 8,000 bytes, so
        what is done for each number has to be little.
        """
        seen = Observation()
        lines = self.session.read.text([_location(path) for path in paths]).filter(F.col("value") != "")
        # counted before any rule is applied: this is what the accounting identity is held against
        counted = lines.observe(seen, F.count(F.lit(1)).alias("rows"))
        line = F.col("line")
        fields = counted.select(
            F.col("value").alias("line"), F.input_file_name().alias("uri"), F.split("value", ",").alias("fields")
        )

        def field(name: str) -> str:
            return f"get(fields, {layout.position(name)})"

        start_text = f"trim({field('session_start')})"
        return seen, fields.select(
            _file_path(F.col("uri")).alias("file"),
            _readable(line).alias("line"),
            F.when(F.octet_length(line) > LONGEST_LINE_BYTES, "line_too_long")
            .when(~_is_utf8(line), "encoding")
            .when(F.size("fields") != len(layout.columns), "field_count")
            .alias("defect"),
            F.expr(start_text).alias("start_text"),
            F.expr(_timestamp(start_text)).alias("start"),
            F.expr(f"trim({field('server_ip')})").alias("server"),
            F.expr(f"trim({field('total_load')})").alias("total_load_text"),
            *[_number(field(name)).alias(name) for name in MEASURES],
        )


def _location(path: str | Path) -> str:
    """Return a local path or a URL for reading; Spark would take some of its characters for a glob."""
    scheme = "" if "://" in str(path) else "file://"
    return scheme + re.sub(r"([\\{}\[\]*?])", r"\\\1", str(path))


def _file_path(uri: Column) -> Column:
    """Return the path of a file as it was given, rather than as the URI that Spark makes of it."""
    decoded = F.url_decode(F.replace(uri, F.lit("+"), F.lit("%2B")))
    return F.regexp_replace(decoded, "^file:(//)?(?=/)", "")


def _is_utf8(text: Column) -> Column:
    # Splitting decodes, which puts this character in place of all that is not UTF-8, and the JVM looks for a single
    # character by an instruction of its own. Few lines come to the full check, which costs more.
    return (F.size(F.split(text, _REPLACEMENT)) == 1) | _survives_decoding(text)


def _survives_decoding(text: Column) -> Column:
    if hasattr(F, "is_valid_utf8"):
        return F.is_valid_utf8(text)
    # Spark 3.5: decoding replaces what is not UTF-8, so only valid text survives the way there and back
    raw = text.cast("binary")
    return raw == F.encode(F.decode(raw, "UTF-8"), "UTF-8")


def _readable(text: Column) -> Column:
    """Return the text, with what is not UTF-8 replaced, so that it can be stored as a string."""
    if hasattr(F, "make_valid_utf8"):
        return F.make_valid_utf8(text)
    return F.decode(text.cast("binary"), "UTF-8")


def _number(text: str) -> Column:
    """Return the number that a field holds, by the rules of the format, or null.

    A cast to whole numbers tells quickest that there are no letters: it fails on each, and takes decimals unless in
    ANSI mode. What it refuses (``1e5``, ``NaN``, ``1d``, an empty field) is little, and looked at more closely.
    """
    number = F.expr(f"CAST({text} AS bigint) IS NOT NULL") | F.expr(text).rlike(_PERHAPS_NUMBER)
    return F.when(number, F.expr(f"try_cast({text} AS double)"))


def _timestamp(text: str) -> str:
    # without a zone, so that none is read from the text; the session's zone is UTC
    parsed = f"try_cast({text} AS timestamp_ntz)"
    return f"CASE WHEN {text} LIKE '____-__-__ __:__:__' THEN unix_seconds(CAST({parsed} AS timestamp)) END"


def _frame(data: DataFrame) -> Frame:
    return nw.from_native(data)


def _native(frame: Frame) -> DataFrame:
    return cast(DataFrame, frame.to_native())


def _first_line(problem: Exception) -> str:
    return str(problem).splitlines()[0]


_JAVA_OPTIONS = "spark.driver.extraJavaOptions"
#: Variables by which the JVM is given options besides; it does not start with two collectors.
_JAVA_VARIABLES = ("SPARK_SUBMIT_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")

_LOCAL_SETTINGS: dict[str, bool | float | int | str | None] = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # remembers where in Python each column was made, which doubles the time to plan the features
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.driver.memory": "4g",
    # its second map is too small for the groups of hours and servers, and costs a look-up for each row
    "spark.sql.codegen.aggregate.map.twolevel.enabled": "false",
    "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


def local_settings() -> dict[str, bool | float | int | str | None]:
    """Return what a laptop wants; a cluster's own settings (spark-submit, spark-defaults) come first."""
    java = f"-Dlog4j2.configurationFile={_LOG_SETTINGS.as_uri()}"
    if not any(re.search(r"-XX:\+Use\w+GC\b", os.environ.get(name, "")) for name in _JAVA_VARIABLES):
        # lines are soon garbage: this collector takes a tenth less processor time for them than Java's default, and
        # without a bound on its room for what is new twice the memory
        java += " -XX:+UseParallelGC -XX:MaxNewSize=512m"
    return {**_LOCAL_SETTINGS, _JAVA_OPTIONS: java}


@contextmanager
def open_spark(options: Mapping[str, Any]) -> Iterator[SparkEngine]:
    """Start Spark, or join the session that ``spark-submit`` or a notebook started.

    A notebook's session keeps its name and its log, and gets the settings back that can be changed while it runs.

    Args:
        options: Spark configuration that overrides the defaults.
    """
    running = SparkSession.getActiveSession()
    if running is not None:
        names = [name for name in {*SESSION_SETTINGS, *options} if running.conf.isModifiable(name)]
        before = {name: running.conf.get(name, None) for name in names}
        try:
            yield SparkEngine(SparkSession.builder.config(map=dict(options)).getOrCreate())
        finally:
            _set_back(running, before)
        return
    builder = SparkSession.builder.appName("workload_forecast")
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        session = builder.config(map=dict(options)).getOrCreate()
    else:
        session = _start_locally(builder, options)
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield SparkEngine(session)
    finally:
        session.stop()


def _set_back(session: SparkSession, before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            session.conf.unset(name)
        else:
            session.conf.set(name, value)


def _start_locally(builder: SparkSession.Builder, options: Mapping[str, Any]) -> SparkSession:
    """Start a JVM of this process's own, with the classes of its archive."""
    settings = local_settings() | dict(options)
    archive = ClassArchive.of(ensure_java(), Path(os.environ.get("SPARK_HOME") or pyspark.__path__[0]))
    local = builder.master("local[*]").config(map=settings)
    if archive is None or _JAVA_OPTIONS in options:
        return local.getOrCreate()
    try:
        return local.config(_JAVA_OPTIONS, f"{settings[_JAVA_OPTIONS]} {archive.options()}").getOrCreate()
    except PySparkRuntimeError:
        # a JVM aborts over an archive that somebody has cut short; there may be another reason, which is met again
        if not archive.remove():
            raise
    return local.config(_JAVA_OPTIONS, settings[_JAVA_OPTIONS]).getOrCreate()
