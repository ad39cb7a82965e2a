from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from tests.engines.conformance import (
    DIRTY_BYTES,
    EngineConformance,
    check_against_the_oracle,
    check_that_no_row_is_lost,
)
from tests.oracle import Row
from tests.strategies import session_sets
from workload_forecast.engines.contract import Engine
from workload_forecast.engines.spark import SparkEngine

pytestmark = pytest.mark.spark


class TestSpark(EngineConformance):
    @pytest.fixture
    def engine(self, spark: SparkSession) -> Iterator[Engine]:
        engine = SparkEngine(spark)
        yield engine
        engine.release()

    # few examples, because each starts several Spark jobs; the rules are the same that DuckDB draws hundreds for
    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=DIRTY_BYTES)
    def test_no_row_is_lost_whatever_the_bytes(self, engine: Engine, one_file: Path, data: bytes) -> None:
        check_that_no_row_is_lost(engine, one_file, data)

    @settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(sessions=session_sets(), missing_hours=st.sampled_from(["unknown", "zero"]))
    def test_tables_agree_with_the_oracle(
        self, engine: Engine, one_file: Path, sessions: list[Row], missing_hours: str
    ) -> None:
        check_against_the_oracle(engine, one_file, sessions, missing_hours)
