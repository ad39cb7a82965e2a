"""``python -m benchmarks.training``: the project's forest beside the training of 2017, on the same rows."""

from __future__ import annotations

import json
import os
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import orjson

from benchmarks.command import run
from benchmarks.machine import machine, machine_line
from benchmarks.measuring import Usage, measure
from benchmarks.training.rows import make_rows

#: By the names of :data:`benchmarks.training.trainings.TRAININGS`; the table divides by the last one.
TITLES = {"project": "project: fit, evaluate, baselines, figures", "2017": "(d) method of 2017: fit, evaluate"}


@click.command()
@click.option("--rows", default=52_000, show_default=True, type=click.IntRange(720), help="Servers times hours.")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1), help="Of each; their medians are told.")
@click.option("--trees", default=100, show_default=True, type=click.IntRange(1), help="Of depth 8.")
@click.option("--workspace", default="outputs/benchmark-training", show_default=True, help="Folder; rows are kept.")
@click.option("--json", "output", default="", help="File for the figures as JSON.")
def main(rows: int, runs: int, trees: int, workspace: str, output: str) -> None:
    """Measure the two trainings side by side."""
    facts = machine(("pyspark", "numpy", "pandas"))
    folder = Path(workspace).absolute() / f"{rows}-rows"
    folder.mkdir(parents=True, exist_ok=True)
    made = make_rows(rows, folder)
    used: dict[str, list[Usage]] = {name: [] for name in TITLES}
    scores: dict[str, float] = {}
    for number in range(1, runs + 1):
        for name in TITLES:
            result = folder / f"{name}-result.json"
            command = (
                sys.executable,
                "-m",
                "benchmarks.training.trainings",
                name,
                str(folder),
                str(result),
                str(trees),
            )
            environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
            used[name].append(measure(command, environment, folder, folder / f"{name}.log"))
            scores[name] = json.loads(result.read_text(encoding="utf-8"))["test_macro_f1"]
            print(f"run {number} of {runs}: {name} {used[name][-1].wall_s:.1f} s", file=sys.stderr, flush=True)
    medians = {name: _median(given) for name, given in used.items()}
    found = {
        "machine": facts,
        "rows": made.facts["rows"],
        "trees": trees,
        "trainings": [
            {
                "name": name,
                "median": medians[name],
                "test_macro_f1": scores[name],
                "runs": list(map(asdict, used[name])),
            }
            for name in TITLES
        ],
    }
    if output:
        Path(output).write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    click.echo(table(found))


def _median(given: list[Usage]) -> dict[str, float]:
    return {what: round(statistics.median(asdict(one)[what] for one in given), 3) for what in asdict(given[0])}


def table(found: dict[str, Any]) -> str:
    """Return the content as Markdown."""
    lines = ["| training | time s | ÷ (d) | processor s | ÷ (d) | peak MB | macro-F1 |", "|---" + "|--:" * 6 + "|"]
    other = found["trainings"][-1]["median"]
    for row in found["trainings"]:
        median = row["median"]
        lines.append(
            f"| {TITLES[row['name']]} | {median['wall_s']:.1f} | {median['wall_s'] / other['wall_s']:.2f} "
            f"| {median['cpu_s']:.1f} | {median['cpu_s'] / other['cpu_s']:.2f} | {median['peak_mb']:,.0f} "
            f"| {row['test_macro_f1']:.3f} |"
        )
    about = f"{found['rows']:,} rows, {found['trees']} trees of depth 8"
    return "\n".join([*lines, "", f"{about}; medians.", "", machine_line(found["machine"])])


if __name__ == "__main__":
    run(main)
