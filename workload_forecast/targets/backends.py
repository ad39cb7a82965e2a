"""The plugins that ``mlflow run -b TYPE`` finds: one project backend for every type of target."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

import click
from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException
from mlflow.projects.backend.abstract_backend import AbstractBackend
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.projects.utils import PROJECT_SYNCHRONOUS
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_BACKEND, MLFLOW_RUN_NAME

from workload_forecast.errors import WorkloadForecastError
from workload_forecast.targets.files import TargetType, parse_run_configuration
from workload_forecast.targets.follow import POLL_SECONDS, Follower
from workload_forecast.targets.history import ENDED, REASON
from workload_forecast.targets.launch import Launched, Request, launch
from workload_forecast.targets.runs import follow_in_background

#: How long a run that its program has ended is given for its console and results to come home.
BACKGROUND_SECONDS = 60.0


def say(text: str) -> None:
    """Tell the person at the terminal, apart from what the job writes."""
    sys.stderr.write(f"[{text}]\n")
    sys.stderr.flush()


def write(text: bytes) -> None:
    """Pass on what the job writes."""
    sys.stderr.buffer.write(text)
    sys.stderr.buffer.flush()


class TargetRun(SubmittedRun):
    """A job on a target, as MLflow handles what it has submitted.

    ``attached``: :meth:`wait` follows the job itself. Otherwise a process in the background does, and ``wait`` looks
    at the run, so that the launcher may go away.
    """

    def __init__(self, launched: Launched, client: MlflowClient, *, attached: bool) -> None:
        super().__init__()
        self._follower = Follower(client, launched.job, launched.launcher, write, say, launched.tunnel)
        self._client, self._attached = client, attached
        if not attached:
            tunnel, self._follower.tunnel = launched.tunnel, None
            follow_in_background(self.run_id, client.tracking_uri, tunnel.hand_over() if tunnel else 0)

    @property
    def run_id(self) -> str:
        """The MLflow run."""
        return self._follower.job.run_id

    def wait(self) -> bool:
        """Wait until the job has ended, and return whether it succeeded."""
        if self._attached:
            outcome = _as_execution(self._follower.follow)
            if outcome.status != "FINISHED":
                say(f"run {self.run_id}: {outcome.status}, {outcome.reason}")
            return bool(outcome.status == "FINISHED")
        patience = BACKGROUND_SECONDS
        while patience > 0:
            run = self._client.get_run(self.run_id)
            if REASON in run.data.tags:
                break
            if run.info.status in ENDED:  # by the program itself; console and results may still be on their way
                patience -= POLL_SECONDS
            time.sleep(POLL_SECONDS)
        return self.get_status() == "FINISHED"

    def get_status(self) -> str:
        """Return the run's status."""
        return str(self._client.get_run(self.run_id).info.status)

    def cancel(self) -> None:
        """End the job; its run ends as KILLED."""
        _as_execution(self._follower.cancel)


class TargetBackend(AbstractBackend):
    """Launches a project on a target whose type the class names."""

    type: TargetType

    def run(  # type: ignore[no-untyped-def]  # MLflow calls it with positional arguments
        self, project_uri, entry_point, params, version, backend_config, tracking_uri, experiment_id
    ) -> TargetRun:
        """See MLflow's ``AbstractBackend``; ``backend_config`` is the content of a run configuration."""
        launched = _as_execution(
            lambda: launch(
                Request(
                    uri=project_uri,
                    entry_point=entry_point,
                    parameters={name: str(value) for name, value in (params or {}).items()},
                    version=version,
                    configuration=parse_run_configuration(backend_config, "the file given with -c"),
                    tracking_uri=tracking_uri,
                    experiment_id=str(experiment_id),
                    type=self.type,
                ),
                say,
            )
        )
        client = MlflowClient(tracking_uri)
        client.set_tag(launched.job.run_id, MLFLOW_PROJECT_BACKEND, self.type)
        command_line = _command_line()
        attached = command_line is not None or bool(backend_config.get(PROJECT_SYNCHRONOUS, True))
        run = TargetRun(launched, client, attached=attached)
        if command_line is not None:
            _see_to_its_end(run, client, command_line.params.get("run_name"))
        return run


def _command_line() -> click.Context | None:
    """Return the context of MLflow's own command ``mlflow run``, if that is what asks.

    It waits for its built-in backends only; with others it would end at once, and with success whatever the job does.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return None
    from mlflow.cli import run  # seconds, but for who comes from there

    return context if context.command is run else None


def _see_to_its_end(run: TargetRun, client: MlflowClient, name: str | None) -> None:
    """Wait for the job on behalf of ``mlflow run``: console, exit code and Ctrl-C are those of a local run."""
    if name:
        client.set_tag(run.run_id, MLFLOW_RUN_NAME, name)
    try:
        succeeded = run.wait()
    except KeyboardInterrupt:
        say(f"run {run.run_id}: interrupted, cancelling")
        run.cancel()
        raise
    if not succeeded:
        raise ExecutionException(f"Run (ID '{run.run_id}') failed")


class DockerBackend(TargetBackend):
    """``-b docker``."""

    type = "docker"


class RemoteDockerBackend(TargetBackend):
    """``-b remote-docker``."""

    type = "remote-docker"


class SparkClusterBackend(TargetBackend):
    """``-b spark-cluster``."""

    type = "spark-cluster"


Answer = TypeVar("Answer")


def _as_execution(action: Callable[[], Answer]) -> Answer:
    """Do it; errors of ours become the one that MLflow's command line prints as a line."""
    try:
        return action()
    except WorkloadForecastError as problem:
        raise ExecutionException(str(problem)) from None
