"""``submit``, ``logs``, ``cancel``, ``status``, ``sweep`` and ``diagnostics``: comfort over ``mlflow run -b TYPE``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from workload_forecast.errors import EnvironmentProblem, SettingsError


def add_to(cli: click.Group) -> None:
    """Add the commands to the command line."""
    for command in (submit, logs, cancel, status, sweep, diagnostics):
        cli.add_command(command)


def _keep_output_clean() -> None:
    """Keep MLflow's links off the standard output, which is what scripts read."""
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


@click.command()
@click.option("-c", "--configuration", required=True, help="Run configuration: a name, or a path.")
@click.option("-e", "--entry-point", default="main", show_default=True, help="Entry point of MLproject.")
@click.option("-P", "parameters", multiple=True, metavar="NAME=VALUE", help="Parameter of the entry point.")
@click.option("--project", default=".", show_default=True, help="Project: a folder or a git URI.")
@click.option("--version", default=None, help="Commit or branch of a git project.")
@click.option("--experiment-name", default="workload-forecast", show_default=True, help="MLflow experiment.")
@click.option("--run-name", default=None, help="Name of the run.")
@click.option("--detach", is_flag=True, help="Return as soon as the job runs.")
def submit(
    configuration: str,
    entry_point: str,
    parameters: tuple[str, ...],
    project: str,
    version: str | None,
    experiment_name: str,
    run_name: str | None,
    *,
    detach: bool,
) -> None:
    """Run an entry point on a target."""
    from workload_forecast.targets.submit import submit_run

    _keep_output_clean()
    run = submit_run(
        configuration,
        entry_point,
        _parameters(parameters),
        project=project,
        version=version,
        experiment_name=experiment_name,
        run_name=run_name,
        detach=detach,
    )
    click.echo(run)
    if detach:
        click.echo(f"workload-forecast logs -f {run} follows it, workload-forecast cancel {run} ends it.", err=True)


@click.command()
@click.argument("run")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
def logs(run: str, *, follow: bool) -> None:
    """Show the console of a run on a target; -f re-attaches to one that goes on."""
    from workload_forecast.targets.backends import write
    from workload_forecast.targets.runs import follow_run, show_log

    _keep_output_clean()
    if not follow:
        show_log(run, sys.stdout.buffer.write)
        return
    outcome = follow_run(run, write, lambda text: click.echo(f"[{text}]", err=True))
    click.echo(f"{outcome.status}: {outcome.reason}", err=True)
    if outcome.status != "FINISHED":
        raise EnvironmentProblem(f"run {run}: {outcome.reason}")


@click.command()
@click.argument("run")
def cancel(run: str) -> None:
    """End a run on a target, and all that it started there."""
    from workload_forecast.targets.runs import cancel_run

    _keep_output_clean()
    outcome = cancel_run(run)
    click.echo(f"{outcome.status}: {outcome.reason}")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Ended runs, too.")
def status(*, everything: bool) -> None:
    """List the runs on targets, newest first."""
    from workload_forecast.targets.runs import list_runs

    for row in list_runs(everything=everything):
        click.echo("  ".join(row))


@click.command()
@click.option("--give-up", is_flag=True, help="End runs as KILLED whose target cannot be reached.")
def sweep(*, give_up: bool) -> None:
    """End the runs whose job is over, but whose launcher was not there to see it."""
    from workload_forecast.targets.sweep import sweep_runs

    _keep_output_clean()
    for line in sweep_runs(give_up=give_up):
        click.echo(line)


@click.command()
@click.argument("run")
@click.option("-o", "--output", default="", help="Path of the zip; default: diagnostics-RUN.zip here.")
def diagnostics(run: str, output: str) -> None:
    """Write a zip for a bug report about a run; secrets are redacted."""
    from workload_forecast.targets.sweep import write_run_diagnostics

    click.echo(str(write_run_diagnostics(run, Path(output or f"diagnostics-{run}.zip"))))


def _parameters(given: tuple[str, ...]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SettingsError(f"-P {text}: give NAME=VALUE.")
        if name in parameters:
            raise SettingsError(f"-P {name} is given twice.")
        parameters[name] = value
    return parameters
