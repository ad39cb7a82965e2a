from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from tests.engines.conformance import (
    DIRTY_BYTES,
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
from workload_forecast.engines import duckdb as duckdb_engine
from workload_forecast.engines import open_engine, resolve
from workload_forecast.engines.contract import Engine, SessionFile
from workload_forecast.errors import DataError, SettingsError
from workload_forecast.sessions.reduction import quarantine
from workload_forecast.storage import lines


class TestDuckDB(EngineConformance):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with open_engine("duckdb") as engine:
            yield engine

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=DIRTY_BYTES)
    def test_no_row_is_lost_whatever_the_bytes(self, engine: Engine, one_file: Path, data: bytes) -> None:
        if b"\r\n" in data and re.search(rb"\r[^\n]", data):
            with pytest.raises(DataError, match="mixes its ends of lines"):
                check_that_no_row_is_lost(engine, one_file, data)
        else:
            check_that_no_row_is_lost(engine, one_file, data)

    @pytest.mark.parametrize("size", [3, 4, 5, 6, 7, 1 << 18])
    def test_mixed_ends_of_lines_are_refused_wherever_they_are(
        self, engine: Engine, one_file: Path, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """DuckDB's reader would lose the x, all of the third line, or take a line feed into it."""
        monkeypatch.setattr(lines, "_CHUNK_BYTES", size)
        for mixed in (b"a,b\r\nc\r\n\rx,d\r\n", b"a,b\r\nc\rx,d", b"a,b\r\r\nx,d", b"a,b\rc\r\nx,d"):
            one_file.write_bytes(mixed)
            with pytest.raises(DataError, match=r"request\.csv mixes its ends of lines: .* Write the file with one"):
                reduce(engine, [SessionFile(str(one_file), SIXTEEN)])
        for sound in (b"a,b\r\nc\r\n\r\nx,d\r\n\r", b"a,b\nc\rx,d\r", b"\r\rc\rx,d\r\r\ra,b\r"):
            one_file.write_bytes(sound)
            assert reduce(engine, [SessionFile(str(one_file), SIXTEEN)])[1]["rows_read"] == 3

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(sessions=session_sets())
    def test_tables_agree_with_the_oracle(self, engine: Engine, one_file: Path, sessions: list[Row]) -> None:
        check_against_the_oracle(engine, one_file, sessions)

    def test_bytes_that_are_not_utf8_are_kept_readable(self, engine: Engine, one_file: Path) -> None:
        one_file.write_bytes(b"caf\xe9,1\r\n\r\n\xff\xfe\nok,\xc3\xa9")
        frame, _ = reduce(engine, [SessionFile(str(one_file), SIXTEEN)])
        assert {(row["reason"], row["line"]) for row in records(quarantine(frame))} == {
            ("encoding", r"caf\xe9,1"),
            ("encoding", r"\xff\xfe"),
            ("field_count", "ok,é"),
        }

    @pytest.mark.parametrize(
        "garbage", ["\U0010fffe", "\U0010ffff", "a\U0010ffff\U0010fffe", "\\N", "NULL", '"', '""', "'"]
    )
    def test_no_text_stands_for_nothing(self, engine: Engine, one_file: Path, garbage: str) -> None:
        one_file.write_text(f"{garbage}\n{line(SIXTEEN)}\n", encoding="utf-8")
        frame, counts = reduce(engine, [SessionFile(str(one_file), SIXTEEN)])
        assert [row["line"] for row in records(quarantine(frame))] == [garbage]
        assert counts["rows_used"] == 1

    def test_a_truncated_gz_file_is_an_error_that_names_it(self, engine: Engine, tmp_path: Path) -> None:
        whole = gzip.compress("\n".join([line(SIXTEEN)] * 5000).encode())
        broken = tmp_path / "request.csv.gz"
        broken.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=r"request\.csv\.gz"):
            reduce(engine, [SessionFile(str(broken), SIXTEEN)])

    def test_works_in_little_memory(self, tmp_path: Path) -> None:
        data = tmp_path / "request.csv"
        data.write_text("\n".join(line(SIXTEEN, server_ip=f"10.0.{n // 250}.{n % 250}") for n in range(50_000)))
        with open_engine("duckdb", {"memory_limit": "100MB", "threads": 1}) as small:
            _, counts = reduce(small, [SessionFile(str(data), SIXTEEN)])
        assert counts["rows_used"] == 50_000


def test_auto_is_duckdb_unless_spark_submit_started_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    assert resolve("auto") == "duckdb"
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1234")
    assert resolve("auto") == "spark"


def test_an_unknown_engine_is_refused_with_the_choice() -> None:
    with pytest.raises(SettingsError, match="engine 'dask' is not one of auto, duckdb, spark"):
        resolve("dask")


def test_memory_is_what_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKLOAD_FORECAST_MEMORY_GB", "0.75")
    with duckdb_engine.open_duckdb({}) as engine:
        limit = engine.from_arrow(pa.table({"n": [1]})).to_native().select("current_setting('memory_limit')").fetchall()
    assert limit == [("715.2 MiB",)]
    monkeypatch.setenv("WORKLOAD_FORECAST_MEMORY_GB", "much")
    with pytest.raises(SettingsError, match="WORKLOAD_FORECAST_MEMORY_GB='much'"), open_engine("duckdb"):
        pass
