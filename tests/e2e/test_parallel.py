"""Several ``mlflow run`` at once where nobody has run anything yet: no store, no experiment, no results."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.checkouts import Checkout

pytestmark = [pytest.mark.e2e, pytest.mark.spark]


@pytest.mark.parametrize("more", ["", "--experiment-name shared"], ids=["default", "named"])
def test_first_starts_do_not_race(checkout: Checkout, small_settings: Path, tmp_path: Path, more: str) -> None:
    def start(_: int) -> str:
        done = checkout.mlflow_run("etl", {"config": small_settings}, shlex.quote(str(checkout.folder)), tmp_path, more)
        assert done.returncode == 0, done.stderr
        return done.stderr

    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(start, range(3)))

    runs = checkout.runs(tmp_path)
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert len({run.info.experiment_id for run in runs}) == 1
    assert sum("workload_forecast.reused_run" in run.data.tags for run in runs) == 2
    assert sum("etl: reused run" in text for text in said) == 2
