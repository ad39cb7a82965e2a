"""``python -m benchmarks.etl``: the project's ETL beside peers, on the same generated month, as one table of ratios."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from benchmarks.command import run, say
from benchmarks.etl import report
from benchmarks.etl.contest import Contest
from benchmarks.etl.contestants import CONTESTANTS, QUERY, Contestant
from benchmarks.etl.data import files_of, make_data, settings_for
from benchmarks.machine import machine
from workload_forecast.sessions.layouts import LAYOUTS
from workload_forecast.steps.generate import FILES


@click.command()
@click.option("--gigabytes", default=2.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Of input.")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1), help="Of each; their medians are told.")
@click.option("--servers", default=390, show_default=True, type=click.IntRange(1), help="Size of the fleet.")
@click.option("--layout", default="sessions17", show_default=True, type=click.Choice([*LAYOUTS]), help="Of the files.")
@click.option("--dirt-rate", default=0.0, show_default=True, type=click.FloatRange(0, 1), help="Broken lines' share.")
@click.option("--only", multiple=True, type=click.Choice([*CONTESTANTS]), help="Who takes part, besides (a).")
@click.option("--workspace", default="outputs/benchmark-etl", show_default=True, help="Folder; the data is kept.")
@click.option("--json", "output", default="", help="File for the figures as JSON.")
def main(
    gigabytes: float,
    runs: int,
    servers: int,
    layout: str,
    dirt_rate: float,
    only: tuple[str, ...],
    workspace: str,
    output: str,
) -> None:
    """Measure the project's ETL and its peers side by side."""
    facts = machine(report.PACKAGES)
    settings = settings_for(gigabytes, servers, layout, dirt_rate)
    root = Path(workspace).absolute() / f"{gigabytes:g}gb-{servers}-{layout}-{dirt_rate:g}"
    say(f"data of about {gigabytes:g} GB in {root}")
    manifest = make_data(settings, root)
    contest = Contest(root.parent, str(root / FILES), files_of(root), layout)
    outcomes = contest.hold(_chosen(only, manifest.bytes / 1e9), runs, say)
    data = {
        "bytes": manifest.bytes,
        "rows": manifest.rows,
        "files": len(manifest.files),
        "servers": servers,
        "layout": layout,
        "dirt_rate": dirt_rate,
    }
    found = report.content(outcomes, data, {"gigabytes": gigabytes, "runs": runs}, facts)
    if output:
        Path(output).write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    click.echo(report.table(found))


def _chosen(only: tuple[str, ...], gigabytes: float) -> list[Contestant]:
    """Return who takes part: those who are named, or all who can take this much."""
    if only:
        return [one for name, one in CONTESTANTS.items() if name in (QUERY, *only)]
    for one in CONTESTANTS.values():
        if gigabytes > one.largest_gb:
            say(f"{one.name} is left out above {one.largest_gb:g} GB; --only {one.name} measures it all the same")
    return [one for one in CONTESTANTS.values() if gigabytes <= one.largest_gb]


if __name__ == "__main__":
    run(main)
