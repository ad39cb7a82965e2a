"""Runs on targets by their ids: follow, show, cancel, list.

``python -m workload_forecast.targets.runs RUN TUNNEL`` follows a detached run in the background.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from workload_forecast.targets.follow import Follower, Outcome, kept_outcome
from workload_forecast.targets.history import DATABRICKS, ENDED, LAUNCHER, LOG, REASON, TAG, find_job, find_run
from workload_forecast.targets.hosts import SshHost
from workload_forecast.targets.places import open_launcher
from workload_forecast.targets.tracking import Tunnel

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from workload_forecast.targets.databricks.run import DatabricksRun


def follow_run(run_id: str, write: Callable[[bytes], object], say: Callable[[str], None], tunnel: int = 0) -> Outcome:
    """Follow a run that was launched on a target, from the beginning of its console; an ended one shows what is kept.

    ``tunnel`` is the process id of an ssh that leads the job to the tracking server, and is taken over.

    Raises:
        SettingsError: there is no such run.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    run = find_run(client, run_id)
    if REASON not in run.data.tags and DATABRICKS in run.data.tags:
        _on_databricks(run).wait()  # which tells nothing before the end
        run = client.get_run(run_id)
    if REASON in run.data.tags:
        _show_kept(client, run_id, write)
        return kept_outcome(run)
    _, job = find_job(client, run_id)
    follower = Follower(client, job, open_launcher(job.target), write, say)
    if tunnel:
        assert isinstance(follower.launcher.host, SshHost)
        follower.tunnel = Tunnel(follower.launcher.host, client.tracking_uri, job.remote_port, tunnel)
    return follower.follow()


def show_log(run_id: str, write: Callable[[bytes], object]) -> None:
    """Show what a run has written to its console so far; on Databricks there is nothing to see before the end.

    Raises:
        SettingsError: there is no such run, or it was not launched on a target.
        EnvironmentProblem: the target cannot be reached.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    run = find_run(client, run_id)
    if REASON in run.data.tags or DATABRICKS in run.data.tags:
        _show_kept(client, run_id, write)
        return
    _, job = find_job(client, run_id)
    command = ["cat", "--", f"{job.folder}/log"]
    write(open_launcher(job.target).host.run(command, seconds=600).raw)


def cancel_run(run_id: str) -> Outcome:
    """End a run on a target; one that has ended stays as it is.

    Raises:
        SettingsError: there is no such run, or it was not launched on a target.
        EnvironmentProblem: the target cannot be reached.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    run = find_run(client, run_id)
    if REASON in run.data.tags:
        return kept_outcome(run)
    if DATABRICKS in run.data.tags:
        _on_databricks(run).cancel()
        return kept_outcome(client.get_run(run_id))
    _, job = find_job(client, run_id)
    return Follower(client, job, open_launcher(job.target), lambda _: None, lambda _: None).cancel()


def _on_databricks(run: Run) -> DatabricksRun:
    from workload_forecast.targets.databricks.run import DatabricksRun

    return DatabricksRun.attach(run.info.run_id)


def _show_kept(client: MlflowClient, run_id: str, write: Callable[[bytes], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if any(artifact.path == LOG for artifact in client.list_artifacts(run_id)):
            write(Path(client.download_artifacts(run_id, LOG, folder)).read_bytes())


def list_runs(*, everything: bool) -> Iterator[tuple[str, ...]]:
    """Yield a row for every run on a target: id, status, target, entry point, start (UTC), reason."""
    from mlflow import MlflowClient

    for run in runs_on_targets(MlflowClient()):
        if everything or run.info.status not in ENDED:
            tags = run.data.tags
            begun = datetime.fromtimestamp(run.info.start_time / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
            where = tags.get(f"{TAG}target", "databricks" if DATABRICKS in tags else "")
            what = tags.get("mlflow.project.entryPoint", "")
            yield run.info.run_id, run.info.status, where, what, begun, tags.get(REASON, "")


def runs_on_targets(client: MlflowClient) -> list[Run]:
    """Return the runs that were launched on targets, newest first."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs: dict[str, Run] = {}
    for tag in (LAUNCHER, DATABRICKS):
        token = None
        while True:
            page = client.search_runs(experiments, f"tags.`{tag}` LIKE '%'", page_token=token)
            runs |= {run.info.run_id: run for run in page}
            token = page.token
            if not token:
                break
    return sorted(runs.values(), key=lambda run: run.info.start_time, reverse=True)


def follow_in_background(run_id: str, tracking_uri: str, tunnel: int = 0) -> int:
    """Start a process of its own that follows the run to its end, and return its process id."""
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "workload_forecast"
    state.mkdir(parents=True, exist_ok=True)
    with (state / f"{run_id}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workload_forecast.targets.runs", run_id, str(tunnel)],
            env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return process.pid


if __name__ == "__main__":
    follow_run(sys.argv[1], lambda _: None, lambda text: print(text, file=sys.stderr), int(sys.argv[2]))
