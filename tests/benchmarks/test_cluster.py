"""The cluster of the benchmark on a little data. No times are looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.etl.cluster import JOBS, run_on
from benchmarks.etl.data import files_of, make_data, settings_for
from workload_forecast.steps.generate import FILES


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize("job", JOBS)
def test_the_jobs_run_on_a_cluster_of_their_own(job: str, tmp_path: Path) -> None:
    make_data(settings_for(0.0003, 3, "sessions17"), tmp_path)
    assert run_on(1, job, str(tmp_path / FILES), files_of(tmp_path)) > 0
