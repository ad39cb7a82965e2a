"""Launch an entry point on a target: ask, record, bring the code, prepare, start."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from workload_forecast.errors import EnvironmentProblem, SettingsError, WorkloadForecastError
from workload_forecast.home import results_home
from workload_forecast.targets.contract import Environment, Job, Launcher, Say
from workload_forecast.targets.data import SETTINGS, DataPlan, plan_data
from workload_forecast.targets.files import RunConfiguration, TargetType, load_target
from workload_forecast.targets.history import begin, describe, end, keep
from workload_forecast.targets.hosts import Host, SshHost, checked, script
from workload_forecast.targets.job import PROJECT_NAME, RUNNER, as_exports, entry_command, sampled, secrets, variables
from workload_forecast.targets.places import Places, find_places, open_launcher
from workload_forecast.targets.preflight import demand, preflight
from workload_forecast.targets.snapshot import copy, project_files
from workload_forecast.targets.surroundings import declared, homes, mounts
from workload_forecast.targets.tracking import (
    Tunnel,
    as_seen_from_anywhere,
    endpoint,
    login,
    needs_tunnel,
    uri_through,
    without_password,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


@dataclass(frozen=True)
class Request:
    """What MLflow asks a backend for."""

    uri: str
    entry_point: str
    parameters: Mapping[str, str]
    version: str | None
    configuration: RunConfiguration
    tracking_uri: str
    experiment_id: str
    type: TargetType | None = None


@dataclass(frozen=True)
class Launched:
    """A job that has been started, and the tunnel that it needs."""

    job: Job
    launcher: Launcher
    tunnel: Tunnel | None


@dataclass(frozen=True)
class _Plan:
    """Everything that is known before a run is made."""

    request: Request
    folder: Path
    project: Any
    parameters: Mapping[str, str]
    secrets: Mapping[str, str]
    launcher: Launcher
    places: Places
    data: DataPlan
    experiment: Experiment


def launch(request: Request, say: Say) -> Launched:
    """Launch a job and return as soon as it runs.

    Raises:
        SettingsError: target, configuration, parameters or data are wrong.
        EnvironmentProblem: something on the way to the target or on it is missing; nothing was launched.
        mlflow.exceptions.ExecutionException: the project or its entry point is wrong.
    """
    from mlflow import MlflowClient
    from mlflow.projects.utils import get_or_create_run

    client = MlflowClient(request.tracking_uri)
    plan = _plan(request, client)
    checks = preflight(
        plan.launcher,
        request.configuration,
        plan.folder,
        plan.places,
        plan.data,
        tracking_uri=request.tracking_uri,
        artifact_location=str(plan.experiment.artifact_location or ""),
    )
    engine = next((check.found for check in demand(checks) if check.name == "engine"), "")
    snapshot = project_files(plan.folder, request.configuration.size_limit_megabytes)
    run = get_or_create_run(
        None, request.uri, request.experiment_id, str(plan.folder), request.version, request.entry_point,
        dict(plan.parameters),
    )  # fmt: skip
    run_id = run.info.run_id
    say(f"run {run_id} on {plan.launcher.target.name} ({plan.launcher.target.type}, {plan.launcher.host.label})")
    begin(client, run_id, plan.launcher.target.name)
    tunnel, job = None, None
    try:
        environment = _prepare(plan.launcher, request.configuration, plan.folder, plan.places, say)
        tunnel = _open_tunnel(request.tracking_uri, plan.launcher.host)
        job = _job(plan, run_id, run.info.artifact_uri, tunnel.port if tunnel else 0)
        describe(client, job, environment, engine, plan.folder)
        _send(plan, job, snapshot)
        job = replace(job, handle=plan.launcher.start(job, environment))
        keep(client, job)
    except BaseException as problem:
        reason = (
            str(problem) if isinstance(problem, WorkloadForecastError) else f"{type(problem).__name__} in launching"
        )
        end(client, run_id, status="FAILED", code=None, reason=f"not launched: {reason}"[:5000])
        _undo(plan.launcher, job, tunnel)
        raise
    return Launched(job, plan.launcher, tunnel)


def _undo(launcher: Launcher, job: Job | None, tunnel: Tunnel | None) -> None:
    """Leave nothing behind of a launch that failed; what cannot be reached stays."""
    if tunnel:
        tunnel.close()
    if job is None:
        return
    with suppress(EnvironmentProblem):
        if job.handle:
            launcher.cancel(job)
            launcher.clean(job)
        script(launcher.host, 'rm -rf -- "$1"', job.folder)


def prepare_environment(configuration: RunConfiguration, project: Path, say: Say = print) -> str:
    """Build the environment of a run configuration ahead of the first run, and return its name.

    Raises:
        SettingsError: the target or the dependencies are wrong.
        EnvironmentProblem: the target cannot be reached or the environment cannot be built.
    """
    launcher = open_launcher(load_target(configuration.target, project))
    places = find_places(launcher.target, launcher.host)
    demand(launcher.checks(configuration, project))
    environment = launcher.prepare(configuration, project, places.base, say)
    say(f"{environment.name}: {'built' if environment.built else 'already there'}")
    return environment.name


def _plan(request: Request, client: MlflowClient) -> _Plan:
    from mlflow.projects.utils import fetch_and_validate_project, load_project

    configuration = request.configuration
    folder = Path(
        fetch_and_validate_project(request.uri, request.version, request.entry_point, dict(request.parameters))
    )
    project = load_project(str(folder))
    known = getattr(project.get_entry_point(request.entry_point), "parameters", {})
    parameters = sampled(request.parameters, configuration, known)
    passed_on = {**login(request.tracking_uri), **secrets(configuration, os.environ), **declared(project, os.environ)}
    target = load_target(configuration.target, folder)
    if request.type not in {None, target.type}:
        raise SettingsError(f"target {target.name} is of type {target.type}, not {request.type}: use -b {target.type}.")
    launcher = open_launcher(target)
    places = find_places(target, launcher.host)
    data = DataPlan()
    if project.name == PROJECT_NAME:
        data = plan_data(
            parameters,
            folder,
            where=configuration.data,
            local=launcher.host.local,
            contained=launcher.contained,
            store=str(PurePosixPath(places.store) / "data"),
        )
    experiment = client.get_experiment(request.experiment_id)
    return _Plan(request, folder, project, parameters, passed_on, launcher, places, data, experiment)


def _prepare(
    launcher: Launcher, configuration: RunConfiguration, project: Path, places: Places, say: Say
) -> Environment:
    environment = launcher.prepare(configuration, project, places.base, say)
    if not environment.built:
        say(f"environment: {environment.name}, already there")
    return environment


def _job(plan: _Plan, run_id: str, artifact_uri: str, port: int) -> Job:
    request, launcher, places = plan.request, plan.launcher, plan.places
    local_home = str(results_home(request.tracking_uri, os.environ, Path.cwd()))
    home, source = homes(launcher, places, local_home)
    folder = places.run(run_id)
    settings = plan.data.settings is not None
    return Job(
        run_id=run_id,
        target=launcher.target,
        configuration=request.configuration,
        folder=folder,
        command=entry_command(plan.project, request.entry_point, plan.parameters, folder, settings=settings),
        variables={
            **launcher.variables(places.store),
            **variables(
                request.configuration,
                run_id=run_id,
                experiment_id=request.experiment_id,
                tracking_uri=_job_uri(request.tracking_uri, port),
                home=home,
                shared=places.shared,
            ),
        },
        home=home,
        home_source=source,
        local_home=local_home,
        mounts=mounts(
            launcher,
            places,
            plan.project,
            plan.data.mounts,
            tracking_uri=request.tracking_uri,
            artifact_uri=artifact_uri,
        ),
        remote_port=port,
        secrets=plan.secrets,
    )


def _job_uri(uri: str, port: int) -> str:
    """Return the tracking URI that the job gets; user and password travel apart, as secrets."""
    if port:
        return uri_through(uri, port)
    return without_password(uri) if endpoint(uri) else as_seen_from_anywhere(uri)


def _open_tunnel(uri: str, host: Host) -> Tunnel | None:
    """Open a tunnel to the tracking server where one is needed; whoever follows the job takes it over."""
    if not needs_tunnel(uri, host):
        return None
    if uri.startswith("https"):
        raise EnvironmentProblem(
            f"{host.label} does not reach {without_password(uri)}, whose certificate would not hold behind a tunnel: "
            "make the server reachable from the target, or start one with http on this machine."
        )
    assert isinstance(host, SshHost)
    tunnel = Tunnel(host, uri)
    tunnel.open()
    return tunnel


def _send(plan: _Plan, job: Job, snapshot: Any) -> None:
    """Bring code, data and the description of the job to the target."""
    host = plan.launcher.host
    make = script(host, 'umask 077; mkdir -p -- "$1/code" "$2"', job.folder, job.home_source)
    checked(make, f"making {job.folder}", host.label)
    if host.local:
        copy(snapshot, Path(job.folder) / "code")
    else:
        host.put(snapshot.folder, snapshot.files, f"{job.folder}/code")
    if plan.data.files:
        host.put(plan.data.root, plan.data.files, plan.data.target, links=False)
    files = {"command": job.command, "environment": as_exports(job.variables), "runner.sh": RUNNER.read_text()}
    if plan.data.settings is not None:
        files[SETTINGS] = json.dumps(plan.data.settings, indent=2)
    for name, text in files.items():
        write = script(host, 'umask 077; cat >"$1"', f"{job.folder}/{name}", given=text.encode())
        checked(write, f"writing {name}", host.label)
