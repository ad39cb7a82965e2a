"""Several runs at once, on a tracking store and a results' home that nobody has used before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run

from workload_forecast.sessions.generator import GeneratorSettings, generate

DATES = {"trainingFrom": "2016-06-01 00:00:00", "testFrom": "2016-06-06 00:00:00", "to": "2016-06-07 23:59:59"}
#: What ``main`` and ``etl`` do, without their seconds of importing: a process that waits for a file and then begins.
STARTER = """
import sys, time
from pathlib import Path
from workload_forecast.cli import run
import mlflow, duckdb
import workload_forecast.steps.etl

Path(sys.argv[1]).touch()
while not Path("go").exists():
    time.sleep(0.01)
sys.exit(run(sys.argv[2:]))
"""


def run_at_once(folder: Path, *commands: list[str]) -> list[str]:
    """Start the commands at the same moment and return what each said; all must succeed."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, f"ready-{number}", *command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, command in enumerate(commands)
    ]
    while len(list(folder.glob("ready-*"))) < len(started) and any(process.poll() is None for process in started):
        time.sleep(0.01)
    (folder / "go").touch()
    said = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started), said
    return said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    wanted = GeneratorSettings(date(2016, 6, 1), date(2016, 6, 7), servers=3, sessions_per_server_hour=4)
    generate(wanted, tmp_path / "sessions")
    settings = {"dataFile": "sessions/*/*/*/*/request.csv", "missingHours": "zero", **DATES}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    return tmp_path


def runs_of(folder: Path, step: str) -> list[Run]:
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    return list(
        mlflow.search_runs(
            experiment_names=["workload-forecast"],
            filter_string=f"tags.`workload_forecast.step` = '{step}'",
            output_format="list",
        )
    )


def test_the_same_work_is_done_by_one_of_several_and_used_by_all(folder: Path) -> None:
    said = run_at_once(folder, *[["etl", "--config", "settings.json"]] * 4)

    runs = runs_of(folder, "etl")
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    makers = [run for run in runs if "workload_forecast.reused_run" not in run.data.tags]
    assert len(makers) == 1
    assert {run.data.tags.get("workload_forecast.reused_run", makers[0].info.run_id) for run in runs} == {
        makers[0].info.run_id
    }
    assert {run.data.metrics["rows_read"] for run in runs} == {makers[0].data.metrics["rows_read"]}
    assert sum("etl: reused run" in text for text in said) == 3


def test_different_work_goes_on_side_by_side(folder: Path) -> None:
    engines = [["etl", "--config", "settings.json", "--debug", debug] for debug in ("FALSE", "FILTER_IP")]
    run_at_once(folder, *engines, *[[*command, "--reuse", "false"] for command in engines])

    results = sorted((folder / "outputs" / "etl").iterdir())
    assert len(results) == 2
    assert sorted(len(set(pq.read_table(path / "features")["server"].to_pylist())) for path in results) == [2, 3]
    assert [run.info.status for run in runs_of(folder, "etl")] == ["FINISHED"] * 4
