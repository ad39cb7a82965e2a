from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.engines.conformance import DIRTY_BYTES, SIXTEEN, EngineConformance, reduce
from workload_forecast.engines.contract import Engine, SessionFile
from workload_forecast.engines.spark import SparkEngine

pytestmark = pytest.mark.spark


class TestSpark(EngineConformance):
    @pytest.fixture()
    def engine(self, spark: SparkSession) -> Engine:
        return SparkEngine(spark)
