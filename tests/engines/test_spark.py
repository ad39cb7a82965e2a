from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pyspark.sql import SparkSession

from tests.engines.conformance import (
    DIRTY_BYTES,
    FIRST,
    LAST,
    SIXTEEN,
    EngineConformance,
    check_against_the_oracle,
    check_that_no_row_is_lost,
    line,
    records,
    reduce,
)
from tests.oracle import Row
from tests.strategies import session_sets
from workload_forecast.engines.contract import Engine, SessionFile
from workload_forecast.engines.spark import SESSION_SETTINGS, SparkEngine, local_settings, open_spark
from workload_forecast.schemas import Frame
from workload_forecast.sessions.cleaning import SERVER_DIGEST
from workload_forecast.sessions.reduction import quarantine, reduce_sessions
from workload_forecast.storage.locations import parse_location

pytestmark = pytest.mark.spark


def test_a_folder_that_the_cluster_has_a_connector_for_is_read_in_place(spark: SparkSession, tmp_path: Path) -> None:
    """Azure's connector is not part of Spark; Hadoop's own mount table stands in for it under the same URLs."""
    account = "data@account.dfs.core.windows.net"
    (tmp_path / "2016").mkdir()
    (tmp_path / "2016" / "a b+c%20d.csv").write_text("broken")
    settings: Any = spark.sparkContext._jsc.hadoopConfiguration()
    settings.set("fs.abfss.impl", "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme")
    settings.set("fs.viewfs.overload.scheme.target.abfss.impl", "org.apache.hadoop.fs.LocalFileSystem")
    settings.set(f"fs.viewfs.mounttable.{account}.link./2016", (tmp_path / "2016").as_uri())
    engine = SparkEngine(spark)
    location = parse_location(f"wasbs://{account.replace('.dfs', '.blob')}/2016")

    assert engine.reads_in_place(location.hadoop_urls()) == f"abfss://{account}/2016"
    assert engine.reads_in_place([f"abfss://{account}/2017"]) == ""

    url = location.join("a b+c%20d.csv").hadoop_urls()[0]
    frame, counts = reduce(engine, [SessionFile(url, SIXTEEN)])
    assert counts["rows_quarantined_field_count"] == 1
    assert [row["file"] for row in records(quarantine(frame))] == [url]


def test_the_java_compiler_takes_the_code_that_each_line_goes_through(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It leaves methods of more than 8,000 bytes to the interpreter, which takes several times as long, silently."""
    (tmp_path / "request.csv").write_text(line(SIXTEEN))
    engine = SparkEngine(spark)

    def explained(raw: Frame) -> Frame:
        sampled = engine.with_digest(raw, "server", SERVER_DIGEST)
        reduced = reduce_sessions(sampled, FIRST, LAST, servers=["10.0.0.1", "10.0.0.2"], sample=0.5)
        reduced.to_native().explain("codegen")
        return reduced

    spark.conf.set("spark.sql.adaptive.enabled", "false")  # else there is no code before the query runs
    try:
        engine.reduce_sessions([SessionFile(str(tmp_path / "request.csv"), SIXTEEN)], explained, tmp_path / "reduced")
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")
    sizes = [int(size) for size in re.findall(r"maxMethodCodeSize:(\d+)", capsys.readouterr().out)]
    assert len(sizes) == 3
    assert max(sizes) < 8000


def put(session: SparkSession, settings: Mapping[str, str | None]) -> None:
    for name, value in settings.items():
        session.conf.set(name, value) if value else session.conf.unset(name)


def test_somebody_elses_session_gets_its_settings_back(spark: SparkSession) -> None:
    rules = "spark.sql.adaptive.optimizer.excludedRules"
    own: dict[str, str | None] = {
        "spark.sql.session.timeZone": "Europe/Berlin",
        "spark.sql.ansi.enabled": "true",
        rules: None,
        "spark.sql.shuffle.partitions": "7",
    }
    name = spark.conf.get("spark.app.name")
    options = {"spark.sql.shuffle.partitions": 3, "spark.executor.cores": 1}  # the latter is too late
    before = {name: spark.conf.get(name, None) for name in own}
    try:
        put(spark, own)
        with open_spark(options) as engine:
            assert engine.session is spark
            inside = {name: spark.conf.get(name, None) for name in own}
        assert {name: spark.conf.get(name, None) for name in own} == own
        assert inside == SESSION_SETTINGS | {"spark.sql.shuffle.partitions": "3"}
        assert spark.conf.get("spark.app.name") == name != "workload_forecast"
    finally:
        put(spark, before)


@pytest.mark.parametrize(("variable", "ours"), [("-Xss4m", 1), ("-XX:+UseSerialGC -Xss4m", 0), ("-XX:+UseG1GC", 0)])
def test_somebody_elses_collector_is_left_alone(variable: str, ours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JVM that is given two does not start."""
    for name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", variable)
    assert str(local_settings()["spark.driver.extraJavaOptions"]).count("-XX:+Use") == ours


class TestSpark(EngineConformance):
    @pytest.fixture
    def engine(self, spark: SparkSession) -> Engine:
        return SparkEngine(spark)

    # few examples, because each starts several Spark jobs; the rules are the same that DuckDB draws hundreds for
    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=DIRTY_BYTES)
    def test_no_row_is_lost_whatever_the_bytes(self, engine: Engine, one_file: Path, data: bytes) -> None:
        check_that_no_row_is_lost(engine, one_file, data)

    @settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(sessions=session_sets())
    def test_tables_agree_with_the_oracle(self, engine: Engine, one_file: Path, sessions: list[Row]) -> None:
        check_against_the_oracle(engine, one_file, sessions)
