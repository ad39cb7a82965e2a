"""What the benchmarks' commands have in common."""

from __future__ import annotations

import sys

import click

from workload_forecast.errors import WorkloadForecastError


def run(command: click.Command) -> None:
    """Run a benchmark's command; what the project can explain is one line and its exit code, not a stack trace."""
    try:
        command()
    except WorkloadForecastError as problem:
        click.echo(f"error: {problem}", err=True)
        sys.exit(problem.exit_code)


def say(text: str) -> None:
    """Tell whoever waits; standard output is for the table."""
    print(text, file=sys.stderr, flush=True)
