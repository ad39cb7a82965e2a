"""The contestants take turns; the first one's result is what the others' are held against."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from benchmarks.etl.agreement import difference, read_result
from benchmarks.etl.contestants import ALL, Contestant
from benchmarks.etl.task import Task
from benchmarks.measuring import ROOT, Usage, measure
from workload_forecast.errors import EnvironmentProblem

#: MLflow's tables are made when its store is opened for the first time, which is not the ETL's to pay.
_OPEN_STORE = "import mlflow; from workload_forecast.steps.runs import EXPERIMENT; mlflow.set_experiment(EXPERIMENT)"

#: An installation has its byte code, and so have the contestants: compiling MLflow's takes longer than importing it.
_NO_BYTE_CODE = "PYTHONDONTWRITEBYTECODE"


@dataclass
class Outcome:
    """A contestant's runs, and why it is none: it failed, or its result is not the first one's. Empty if it is one."""

    contestant: Contestant
    runs: list[Usage] = field(default_factory=list)
    differs: str = ""

    @property
    def median(self) -> Usage:
        """Of each number by itself."""
        names = ("wall_s", "cpu_s", "peak_mb")
        return Usage(*(statistics.median(getattr(run, name) for run in self.runs) for name in names))


@dataclass(frozen=True)
class Contest:
    """A workspace, and the files that everybody reads."""

    folder: Path
    pattern: str
    files: Sequence[str]
    layout: str

    def hold(self, contestants: Sequence[Contestant], runs: int, say: Callable[[str], None]) -> list[Outcome]:
        """Let every contestant run once, in turn, and so again; each result is looked at.

        Raises:
            EnvironmentProblem: the first one failed. Another one that fails is out.
        """
        outcomes = [Outcome(contestant) for contestant in contestants]
        if any(one.engine and one.makes == ALL for one in contestants):
            self._open_store()
        expected: pl.DataFrame | None = None
        for number in range(1, runs + 1):
            for outcome in (one for one in outcomes if not one.differs):
                say(f"run {number} of {runs}: {outcome.contestant.name}")
                try:
                    used, found = self._run(outcome.contestant)
                except EnvironmentProblem as problem:
                    if expected is None:
                        raise
                    outcome.differs = str(problem)
                else:
                    expected = found if expected is None else expected
                    outcome.runs.append(used)
                    outcome.differs = difference(found, expected)
                    say(f"    {used.wall_s:.1f} s, {used.cpu_s:.1f} s of processor time, {used.peak_mb:,.0f} MB")
                if outcome.differs:
                    say(f"    is out: {outcome.differs}")
        return outcomes

    def _run(self, contestant: Contestant) -> tuple[Usage, pl.DataFrame]:
        output = self.folder / "results" / contestant.name
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        task = self.folder / "results" / f"{contestant.name}.json"
        Task(self.pattern, self.files, self.layout, str(output)).write(task)
        command = (sys.executable, "-m", "benchmarks.etl.contestants", contestant.name, str(task))
        used = measure(command, self._environment(output), self.folder, task.with_suffix(".log"))
        found = read_result(output)
        shutil.rmtree(output)
        return used, found

    def _environment(self, output: Path) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != _NO_BYTE_CODE}
        return {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": str(ROOT),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYSPARK_PYTHON": sys.executable,
            "WORKLOAD_FORECAST_HOME": str(output),
        }

    def _open_store(self) -> None:
        command = (sys.executable, "-c", _OPEN_STORE)
        subprocess.run(command, env=self._environment(self.folder), cwd=self.folder, check=True, capture_output=True)
