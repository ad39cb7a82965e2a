"""``python -m benchmarks.etl.scale``: the project's whole ETL on more and more data, and on more and more servers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import orjson
from matplotlib.figure import Figure

from benchmarks.command import run, say
from benchmarks.etl import report
from benchmarks.etl.contest import Contest, Outcome
from benchmarks.etl.contestants import CONTESTANTS, OURS_DUCKDB, OURS_SPARK
from benchmarks.etl.data import files_of, make_data, settings_for
from benchmarks.machine import machine, machine_line
from workload_forecast.model.plots import BLUE, GREY, ORANGE, new_figure
from workload_forecast.sessions.generator.manifest import Manifest
from workload_forecast.steps.generate import FILES

#: Servers of the runs that differ in size, and gigabytes of those that differ in servers.
SERVERS, GIGABYTES = 390, 1.0

ENGINES = {OURS_DUCKDB: ("DuckDB", BLUE, "o"), OURS_SPARK: ("Spark", ORANGE, "s")}


@click.command()
@click.option("--gigabytes", multiple=True, default=(1.0, 2.0, 4.0, 8.0), show_default=True, type=float)
@click.option("--servers", multiple=True, default=(100, 1_000, 10_000), show_default=True, type=int)
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1), help="Of each; their medians are told.")
@click.option("--only", multiple=True, default=tuple(ENGINES), type=click.Choice([*ENGINES]), help="Which engines.")
@click.option("--workspace", default="outputs/benchmark-etl", show_default=True, help="Folder.")
@click.option("--keep/--no-keep", default=False, show_default=True, help="Whether the generated data stays.")
@click.option("--json", "output", default="", help="File for the figures as JSON.")
@click.option("--plot", default="", help="File for the curve of the sizes, as PNG.")
def main(
    gigabytes: Sequence[float],
    servers: Sequence[int],
    runs: int,
    only: Sequence[str],
    workspace: str,
    keep: bool,
    output: str,
    plot: str,
) -> None:
    """Measure how the cost of the ETL grows with its input."""
    points = [(size, SERVERS) for size in gigabytes] + [(GIGABYTES, number) for number in servers]
    rows: list[dict[str, Any]] = []
    for size, number in points:
        rows += _measure(size, number, runs, only, Path(workspace).absolute(), keep=keep)
    found = {"machine": machine(report.PACKAGES), "runs": runs, "rows": rows}
    if output:
        Path(output).write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    if plot:
        curve([row for row in rows if row["servers"] == SERVERS]).savefig(plot)
    click.echo(table(found))


def _measure(
    gigabytes: float, servers: int, runs: int, engines: Sequence[str], workspace: Path, *, keep: bool
) -> list[dict[str, Any]]:
    root = workspace / f"scale-{gigabytes:g}gb-{servers}"
    say(f"data of about {gigabytes:g} GB, {servers:,} servers, in {root}")
    manifest = make_data(settings_for(gigabytes, servers, "sessions17"), root)
    contest = Contest(workspace, str(root / FILES), files_of(root), "sessions17")
    outcomes = contest.hold([CONTESTANTS[name] for name in engines], runs, say)
    if not keep:
        shutil.rmtree(root)
    return [_row(outcome, manifest, servers) for outcome in outcomes if not outcome.differs]


def _row(outcome: Outcome, manifest: Manifest, servers: int) -> dict[str, Any]:
    median, size = outcome.median, manifest.bytes / 1e9
    return {
        "name": outcome.contestant.name,
        "gigabytes": round(size, 6),
        "rows": manifest.rows,
        "servers": servers,
        "wall_s": round(median.wall_s, 1),
        "cpu_s": round(median.cpu_s, 1),
        "peak_mb": round(median.peak_mb),
        "s_per_gb": round(median.wall_s / size, 2),
    }


def table(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = ["| engine | GB | rows | servers | time s | s per GB | processor s | peak MB |", "|---|" + "--:|" * 7]
    for row in found["rows"]:
        cells = [ENGINES[row["name"]][0], f"{row['gigabytes']:.2f}", f"{row['rows']:,}", f"{row['servers']:,}"]
        cells += [f"{row['wall_s']:.1f}", f"{row['s_per_gb']:.1f}", f"{row['cpu_s']:.1f}", f"{row['peak_mb']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Median of {found['runs']} runs each.", "", machine_line(found["machine"])])


def curve(rows: Sequence[dict[str, Any]]) -> Figure:
    """Time per gigabyte and greatest memory over the size of the input, an engine a line."""
    figure, axes = new_figure("What a gigabyte of sessions costs, whole ETL", 8.4, 4.2)
    memory = axes.twinx()
    for name, (title, colour, marker) in ENGINES.items():
        own = sorted((row for row in rows if row["name"] == name), key=lambda row: float(row["gigabytes"]))
        if not own:
            continue
        sizes = [row["gigabytes"] for row in own]
        axes.plot(sizes, [row["s_per_gb"] for row in own], color=colour, marker=marker, label=f"{title}: time")
        peaks = [row["peak_mb"] / 1000 for row in own]
        memory.plot(sizes, peaks, color=colour, marker=marker, linestyle=":", alpha=0.7, label=f"{title}: memory")
    axes.set_xlabel("gigabytes of sessions")
    axes.set_ylabel("seconds per gigabyte")
    memory.set_ylabel("peak memory, GB")
    for each in (axes, memory):
        each.set_ylim(bottom=0)
    memory.spines[["top", "left"]].set_visible(False)
    memory.spines["right"].set_color(GREY)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


if __name__ == "__main__":
    run(main)
