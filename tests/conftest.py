"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.frames import BACKENDS, Backend

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.storage.machines.azurite import Azurite

# CI tries the same examples every time, so that a change is judged by what it changes; at home each run tries new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# A JVM of the tests lives for minutes at most: its second compiler and its parallel collector cost more (measured: two
# fifths of the JVM's processor time) than they bring. The variable is spark-submit's own.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The suite's only Spark session: two cores of this machine, UTC. Mark what uses it ``spark``."""
    from pyspark.sql import SparkSession

    settings: dict[str, bool | float | int | str | None] = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
        # half the time of planning goes into noting the call site of every column expression
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[2]").appName("tests")
    session = builder.config(map=settings).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(
    scope="session", params=[pytest.param(n, marks=pytest.mark.spark) if n == "spark" else n for n in BACKENDS]
)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every backend that the project's frames run on, one after the other."""
    return Backend(request.param, request.getfixturevalue("spark") if request.param == "spark" else None)


@pytest.fixture(scope="session", params=[n for n in BACKENDS if n != "spark"])
def light_backend(request: pytest.FixtureRequest) -> Backend:
    """The backends that are fast enough for many small cases."""
    return Backend(request.param)


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A real blob server. Without Node.js it is an error in CI and, said aloud, a skip at home."""
    from tests.storage.machines.azurite import azurite_server
    from tests.targets.machines.process import short_folder, which

    if not which("npm") and not os.environ.get("CI"):
        pytest.skip("the blob server needs Node.js and npm")
    with short_folder("azurite") as folder, azurite_server(folder) as running:
        yield running
