"""MLflow makes the environment itself from ``conda.yaml``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkouts import Checkout


@pytest.mark.e2e
@pytest.mark.timeout(1500)
def test_uv_makes_an_environment_in_which_the_etl_runs(
    checkout: Checkout, small_settings: Path, tmp_path: Path
) -> None:
    """The environment holds the pinned requirements only: the package is the project's folder.

    uv's cache is the test's own, because it keeps what it builds of pyspark, more than a gigabyte, for ever.
    """
    command = f"mlflow run . --env-manager uv -e etl -P config='{small_settings}' -P debug=FILTER_IP"
    done = checkout.shell(f"export MLFLOW_ENV_ROOT='{tmp_path}/envs' UV_CACHE_DIR='{tmp_path}/uv'; {command}")
    assert done.returncode == 0, done.stderr
    assert "rows read" in done.stderr
    assert list((tmp_path / "envs").glob("**/bin/python")), "the run had an environment of its own"
