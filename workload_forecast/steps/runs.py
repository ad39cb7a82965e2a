"""MLflow runs around the steps: nesting, keys, reuse of finished runs, results published whole."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

from workload_forecast import __version__
from workload_forecast.engines import open_engine, resolve
from workload_forecast.engines.contract import Engine
from workload_forecast.git import git_state
from workload_forecast.home import results_home
from workload_forecast.progress import Progress
from workload_forecast.steps.provenance import PACKAGE, code_digest, library_versions
from workload_forecast.steps.published import Publication
from workload_forecast.storage.local import publish, read_info, write_info
from workload_forecast.storage.locations import Location
from workload_forecast.storage.locks import Lock

EXPERIMENT = "workload-forecast"
TAG = "workload_forecast."

#: Prefix of a parameter's value in effect where ``mlflow run`` logged an empty one under its name.
EFFECTIVE = "effective_"

#: A step's work: writes tables into the draft folder and returns what ``info.json`` and later steps shall know.
Work = Callable[[Path], dict[str, Any]]


def work_key(name: str, parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Digest of everything that decides a result: code, parameters, inputs."""
    parts = {"step": name, "code": code_digest(), "parameters": parameters, "inputs": inputs}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Step:
    """One entry point's work, described well enough to recognise that it was done before.

    ``parameters`` are logged and are part of the key; ``inputs`` (digests, keys of upstream runs) are part of the key.
    ``place`` is where the result is published besides the results' home, if anywhere.
    """

    name: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]
    work: Work
    place: Location | None = None

    @property
    def key(self) -> str:
        """Digest of everything that decides the result: code, parameters, input, upstream run."""
        return work_key(self.name, self.parameters, self.inputs)


@dataclass(frozen=True)
class Result:
    """A finished step: its run, its key, its folder and the content of its ``info.json``."""

    run_id: str
    key: str
    folder: Path
    info: dict[str, Any]
    reused: bool


@dataclass
class Runs:
    """The tracking store, the results' home, the engines and the progress of one process."""

    home: Path
    progress: Progress
    reuse: bool
    _stack: ExitStack
    _engines: dict[str, Engine] = field(default_factory=dict)

    def engine(self, name: str) -> Engine:
        """Return the engine, opened once a process: a JVM costs seconds."""
        name = resolve(name)
        if name not in self._engines:
            with self.progress.stage(f"engine: start {name}"):
                self._engines[name] = self._stack.enter_context(open_engine(name))
        return self._engines[name]

    def perform(self, step: Step) -> Result:
        """Do a step in the active run, or answer from a finished run with the same key.

        The result's folder lies under :attr:`home` and is named by the key. A result that is not there, because another
        machine made it, comes from where it was published.
        """
        target = self.home / step.name / step.key
        run_id = _active().info.run_id
        mlflow.set_tags({f"{TAG}step": step.name, f"{TAG}key": step.key, f"{TAG}result": str(target)})
        _log_parameters(step.parameters)
        publication = Publication(step.place, self.progress) if step.place else None
        waiting = partial(self.progress.stage, f"{step.name}: wait for another run of the same work")
        lock = Lock(self.home / "locks" / f"{step.name}-{step.key}", waiting)
        self._stack.callback(lock.close)  # others may read the result with us, but not replace it while we live
        lock.share()
        result = self._answer(step, target)
        if result is None:
            lock.own()
            if publication and self.reuse and self._done(step.key):
                publication.get(step.key, target)
            # another process may have done it before the lock was ours
            result = self._answer(step, target) or Result(run_id, step.key, target, self._do(step, target), False)
            lock.share()
        if publication:
            publication.put(target, step.key, result.info["run_id"])
            mlflow.set_tag(f"{TAG}published", str(publication.place))
            mlflow.log_metric("bytes_of_results_moved", publication.moved)
        return result

    def _answer(self, step: Step, target: Path) -> Result | None:
        """Answer from a run that has done the work, if there is one and its result is there."""
        info = read_info(target) if self.reuse else None
        found = self._done(step.key, info["run_id"]) if info else None
        if found is None or info is None:
            return None
        _answer_from(found)
        self.progress.say(f"{step.name}: reused run {found.info.run_id}, nothing has changed since")
        return Result(_active().info.run_id, step.key, target, info, reused=True)

    def _do(self, step: Step, target: Path) -> dict[str, Any]:
        """Do the step's work, publish its folder at once and return what ``info.json`` says."""
        before = dict(self.progress.durations)
        with publish(target) as draft:
            made = step.work(draft)
            info = {"step": step.name, "key": step.key, "run_id": _active().info.run_id, **made}
            write_info(draft, info)
        _log_durations(before, self.progress.durations)
        return info

    def begin(self, step: str, parameters: Mapping[str, Any]) -> str:
        """Describe the active run as that of a step which is never answered from another run; return its id."""
        mlflow.set_tag(f"{TAG}step", step)
        _log_parameters(parameters)
        return str(_active().info.run_id)

    def summarise(self, result: Result) -> None:
        """Give the active run, the parent of several steps, the metrics of the step that it was run for."""
        mlflow.log_metrics(result.info.get("metrics", {}))
        mlflow.set_tag(f"{TAG}result_run", result.run_id)

    @contextmanager
    def child(self, name: str) -> Iterator[None]:
        """Open a run nested in the active one."""
        with mlflow.start_run(run_name=name, nested=True), _explained():
            _describe_code()
            yield

    def _done(self, key: str, maker: str = "") -> Run | None:
        """Return a run that has done the work with a key: a finished one, or the result's maker while it goes on."""
        client = MlflowClient()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(
            experiments,
            f"tags.`{TAG}key` = '{key}'",
            order_by=["attributes.status ASC", "attributes.start_time ASC"],
        )
        finished = (run for run in runs if run.info.status == "FINISHED")
        working = (run for run in runs if run.info.status == "RUNNING" and run.info.run_id == maker)
        return next(finished, None) or next(working, None)


@contextmanager
def open_runs(name: str, *, reuse: bool, progress: Progress | None = None) -> Iterator[Runs]:
    """Open the entry point's own run: the one that ``mlflow run`` made, or a new one.

    A failure ends the run as FAILED with the reason in the tag ``workload_forecast.error``.
    """
    for talkative in ("alembic", "mlflow.spark"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    if not {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"} & os.environ.keys():
        mlflow.set_experiment(EXPERIMENT)
    home = results_home(mlflow.get_tracking_uri(), os.environ, Path.cwd())
    with ExitStack() as stack:
        stack.enter_context(mlflow.start_run(run_name=name))
        stack.enter_context(_explained())
        _describe_code()
        yield Runs(home, progress or Progress(), reuse, stack)


def parameter(run: Run, name: str) -> str:
    """Return a parameter of a step's run as it was in effect (:data:`EFFECTIVE`), empty where it has none."""
    params: dict[str, str] = run.data.params
    return params.get(EFFECTIVE + name, params.get(name, ""))


def _active() -> Run:
    run = mlflow.active_run()
    if run is None:
        raise RuntimeError("a step must be performed inside an MLflow run")
    return run


@contextmanager
def _explained() -> Iterator[None]:
    """Keep the reason of a failure with the run."""
    try:
        yield
    except Exception as problem:
        mlflow.set_tag(f"{TAG}error", str(problem)[:5000])
        raise


def _describe_code() -> None:
    """Record commit, uncommitted diff and library versions with the active run."""
    commit, diff = git_state(PACKAGE.parent)
    mlflow.set_tags({f"{TAG}version": __version__, f"{TAG}code": code_digest()[:16]})
    mlflow.log_dict(library_versions(), "environment.json")
    if commit:
        mlflow.set_tags({"mlflow.source.git.commit": commit, f"{TAG}uncommitted": str(bool(diff)).lower()})
    if diff:
        mlflow.log_text(diff, "uncommitted.diff")


def _log_parameters(parameters: Mapping[str, Any]) -> None:
    """Log what the step uses; where ``mlflow run`` logged an empty parameter of that name, beside it."""
    known = MlflowClient().get_run(_active().info.run_id).data.params
    values = {name: "" if value is None else str(value) for name, value in parameters.items()}
    fresh = {name: value for name, value in values.items() if name not in known}
    effective = {EFFECTIVE + name: value for name, value in values.items() if known.get(name, value) != value}
    mlflow.log_params({name: value for name, value in {**fresh, **effective}.items() if name not in known})


def _answer_from(found: Run) -> None:
    """Give the active run what the run that it is answered from found out, so that the two compare equal."""
    mlflow.set_tag(f"{TAG}reused_run", found.info.run_id)
    mlflow.log_metrics(found.data.metrics)
    _log_parameters({name: value for name, value in found.data.params.items() if not name.startswith(EFFECTIVE)})


def _log_durations(before: Mapping[str, float], after: Mapping[str, float]) -> None:
    seconds = {name: after[name] - before.get(name, 0.0) for name in after if after[name] != before.get(name)}
    mlflow.log_metrics(
        {f"seconds/{name.replace(': ', '/').replace(' ', '_')}": value for name, value in seconds.items()}
    )
