"""A target, a small project and a tracking store: what every test of the conformance suite works with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.projects import SubmittedRun

from workload_forecast.targets.contract import Launcher
from workload_forecast.targets.files import load_target
from workload_forecast.targets.places import open_launcher

ROOT = Path(__file__).parents[2]

MLPROJECT = """
name: probe
entry_points:
  main:
    parameters:
      text: {type: string, default: hello}
      code: {type: string, default: "0"}
      seconds: {type: string, default: "0"}
    command: python probe.py --text {text} --code {code} --seconds {seconds}
  sampled:
    parameters:
      debug: {type: string, default: "FALSE"}
    command: python probe.py --text {debug}
  odd:
    parameters: {a: string, b: string, c: string, d: string, e: string, f: string, g: string}
    command: python probe.py --text odd --a {a} --b {b} --c {c} --d {d} --e {e} --f {f} --g {g}
  shell:
    command: echo from a shell; exit 7
"""

#: Tells everything about its surroundings that a test wants to know, without any library.
PROBE = """
import argparse, json, os, sys, time, urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("--text")
parser.add_argument("--code", type=int, default=0)
parser.add_argument("--seconds", type=float, default=0)
for name in "abcdefg":
    parser.add_argument("--" + name)
given = parser.parse_args()
told = {
    **vars(given),
    "text": given.text,
    "uid": os.getuid(),
    "variables": {name: value for name, value in os.environ.items() if not name.startswith("LS_")},
    "files": sorted(os.path.relpath(os.path.join(folder, name)) for folder, _, names in os.walk(".") for name in names),
}
print("told " + json.dumps(told), flush=True)
uri = os.environ["MLFLOW_TRACKING_URI"]
if uri.startswith("http"):
    fact = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": "reached", "value": 1, "timestamp": int(time.time() * 1000)}
    asked = urllib.request.Request(
        uri + "/api/2.0/mlflow/runs/log-metric", json.dumps(fact).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(asked, timeout=60).read()
home = os.environ["WORKLOAD_FORECAST_HOME"]
os.makedirs(os.path.join(home, "probe", "key"), exist_ok=True)
with open(os.path.join(home, "probe", "key", os.environ["MLFLOW_RUN_ID"]), "w") as result:
    result.write("a result")
end, count = time.time() + given.seconds, 0
while time.time() < end:
    count += 1
    print("tick", count, flush=True)
    time.sleep(0.25)
print("the end", flush=True)
sys.exit(given.code)
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write_project(folder: Path) -> Path:
    """Write the probe as an MLflow project with a commit, ignored files and an image that takes seconds to build."""
    (folder / "docker").mkdir(parents=True)
    shutil.copy(ROOT / "docker" / "Dockerfile", folder / "docker" / "Dockerfile")
    (folder / "MLproject").write_text(MLPROJECT)
    (folder / "probe.py").write_text(PROBE)
    (folder / ".gitignore").write_text("*.secret\nmlruns/\noutputs/\n")
    (folder / ".runignore").write_text("/notes/\n")
    (folder / "notes").mkdir()
    (folder / "notes" / "big.txt").write_text("tracked, but not needed by any run")
    (folder / "key.secret").write_text("never leaves this machine")
    (folder / "späte Sessions.txt").write_text("a name that needs care")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "probe")
    return folder


@dataclass
class Bench:
    """Submits the project to the target, in this process or as a user does."""

    type: str
    fields: Mapping[str, Any]
    project: Path
    store: str
    monkeypatch: pytest.MonkeyPatch
    configuration: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        targets = self.project / "targets"
        targets.mkdir(exist_ok=True)
        self.write_target(**self.fields)
        self.monkeypatch.chdir(self.project)
        self.monkeypatch.setenv("MLFLOW_TRACKING_URI", self.store)
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):  # MLflow leaves them to its child processes
            self.monkeypatch.delenv(name, raising=False)
        mlflow.set_tracking_uri(self.store)
        self.home = self.project.parent / "launcher's results"
        self.monkeypatch.setenv("WORKLOAD_FORECAST_HOME", str(self.home))

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.store)

    @property
    def launcher(self) -> Launcher:
        return open_launcher(load_target("it", self.project))

    def write_target(self, **fields: Any) -> None:
        (self.project / "targets" / "it.compute.json").write_text(
            json.dumps({"name": "it", "type": self.type, **fields})
        )

    def configure(self, **fields: Any) -> dict[str, Any]:
        """Return the content of a run configuration."""
        return {"target": "it", **self.configuration, **fields}

    def submit(
        self,
        parameters: Mapping[str, str] | None = None,
        *,
        entry_point: str = "main",
        wait: bool = True,
        **configuration: Any,
    ) -> SubmittedRun:
        """Submit through MLflow's own interface."""
        submitted: SubmittedRun = mlflow.projects.run(
            str(self.project),
            entry_point=entry_point,
            parameters=dict(parameters or {}),
            backend=self.type,
            backend_config=self.configure(**configuration),
            experiment_name="targets",
            synchronous=wait,
        )
        return submitted

    def start_command(self, *arguments: str, **configuration: Any) -> subprocess.Popen[bytes]:
        """Start the plain ``mlflow run`` in a process of its own."""
        path = self.project.parent / "it.runconfig.json"
        path.write_text(json.dumps(self.configure(**configuration)))
        command = ["mlflow", "run", ".", "-b", self.type, "-c", str(path), "--experiment-name", "targets", *arguments]
        return subprocess.Popen(
            [sys.executable, "-m", *command], cwd=self.project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, run_id: str) -> Run:
        return self.client.get_run(run_id)

    def last_run(self) -> Run:
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        return self.client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)[0]

    def console(self, run_id: str) -> str:
        """What the run keeps of its console."""
        return Path(self.client.download_artifacts(run_id, "console.log")).read_text()

    def told(self, run_id: str) -> dict[str, Any]:
        """What the probe told. A JVM that writes to the same console may do so before the end of the probe's line."""
        _, *told = self.console(run_id).split("told {")
        assert len(told) == 1, told
        found: dict[str, Any] = json.JSONDecoder().raw_decode("{" + told[0])[0]
        return found

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"timed out: {what}"
            time.sleep(0.2)

    def live(self, run_id: str) -> str:
        """The console as the target has it."""
        folder = json.loads(self.run(run_id).data.tags["workload_forecast.job"])["folder"]
        return self.launcher.host.run(["cat", f"{folder}/log"]).output

    def wait_for_tick(self, run_id: str) -> None:
        self.wait_for(lambda: "tick 1" in self.live(run_id), "the job's first tick")


def environment_without(*prefixes: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
