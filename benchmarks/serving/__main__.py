"""``python -m benchmarks.serving``: latency and throughput beside MLflow's own scoring server, and time to ready."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from benchmarks.command import run
from benchmarks.machine import machine
from benchmarks.serving import report
from benchmarks.serving.comparison import Comparison, Rule
from benchmarks.serving.world import make_world


@click.command()
@click.option("--workspace", default="outputs/benchmark-serving", show_default=True, help="Folder that is kept.")
@click.option("--output", default="", help="File for the figures as JSON.")
@click.option("--servers", default=120, show_default=True, type=click.IntRange(100, 10_000), help="Size of the fleet.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="Their medians are told.")
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(0.1), help="Of each measurement.")
@click.option("--least", default=30, show_default=True, type=click.IntRange(1), help="Requests of each measurement.")
@click.option("--warm-up", default=10.0, show_default=True, type=click.FloatRange(0.1), help="Seconds, for each kind.")
@click.option("--starts", default=5, show_default=True, type=click.IntRange(0, 100), help="Of the service, timed.")
def main(
    workspace: str, output: str, servers: int, rounds: int, seconds: float, least: int, warm_up: float, starts: int
) -> None:
    """Measure the service and MLflow's own scoring server on the Spark flavour of the same model, side by side."""
    facts = machine(report.PACKAGES)
    comparison = Comparison(make_world(Path(workspace), servers))
    ready = comparison.starts(starts)
    cells = comparison.measure(Rule(rounds, seconds, least, warm_up))
    settings = {"fleet": servers, "rounds": rounds, "seconds": seconds, "least": least, "warm_up_s": warm_up}
    found = report.content(cells, ready, settings, facts)
    if output:
        Path(output).write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    click.echo(report.comparison_table(found))


if __name__ == "__main__":
    run(main)
