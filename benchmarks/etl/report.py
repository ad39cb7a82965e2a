"""The outcomes as one table of ratios in Markdown, and as JSON with the facts of machine and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.etl.contest import Outcome
from benchmarks.etl.contestants import BARE_SPARK, OURS_DUCKDB, OURS_SPARK, QUERY
from benchmarks.machine import machine_line
from benchmarks.measuring import Usage

PACKAGES = ("duckdb", "pyspark", "polars", "pandas", "pyarrow", "narwhals", "mlflow")

#: Whose times the others' are divided by, and what the table calls them.
REFERENCES = {QUERY: "(a)", BARE_SPARK: "(b)", OURS_DUCKDB: "project, DuckDB", OURS_SPARK: "project, Spark"}


def content(outcomes: Sequence[Outcome], data: Mapping[str, Any], settings: Mapping[str, Any], facts: Any) -> Any:
    """Return everything for a file; who failed or found another hourly load than the first one is named apart."""
    good = {outcome.contestant.name: outcome.median for outcome in outcomes if not outcome.differs}
    rows = [
        {
            "name": outcome.contestant.name,
            "title": outcome.contestant.title,
            "makes": outcome.contestant.makes,
            "median": {what: round(value, 3) for what, value in asdict(outcome.median).items()},
            "ratios": {name: _ratios(outcome.median, good[name]) for name in REFERENCES if name in good},
            "runs": [asdict(run) for run in outcome.runs],
        }
        for outcome in outcomes
        if not outcome.differs
    ]
    out = [
        {"name": one.contestant.name, "title": one.contestant.title, "makes": one.contestant.makes, "why": one.differs}
        for one in outcomes
        if one.differs
    ]
    return {"machine": facts, "data": data, "settings": settings, "contestants": rows, "out": out}


def _ratios(one: Usage, other: Usage) -> dict[str, float | None]:
    """Return each number as a multiple of the other's; None where that is 0."""
    theirs = asdict(other)
    return {what: round(value / theirs[what], 3) if theirs[what] else None for what, value in asdict(one).items()}


def table(found: Mapping[str, Any]) -> str:
    """Return the content as Markdown."""
    rows, data = found["contestants"], found["data"]
    names = [name for name in REFERENCES if any(name in row["ratios"] for row in rows)]
    heads = ["contestant", "makes", "time s", *(f"÷ {REFERENCES[name]}" for name in names)]
    heads += ["processor s", "÷ (a)", "cores busy", "peak MB", "÷ (a)"]
    lines = [f"| {' | '.join(heads)} |", "|---|---" + "|--:" * (len(heads) - 2) + "|"]
    for row in rows:
        median = row["median"]
        cells = [row["title"], row["makes"], f"{median['wall_s']:.1f}"]
        cells += [_told(row, name, "wall_s") for name in names]
        cells += [f"{median['cpu_s']:.1f}", _told(row, QUERY, "cpu_s"), f"{median['cpu_s'] / median['wall_s']:.1f}"]
        cells += [f"{median['peak_mb']:,.0f}", _told(row, QUERY, "peak_mb")]
        lines.append(f"| {' | '.join(cells)} |")
    if found["out"]:
        lines += ["", "Out, because they failed or because their hourly load is not that of (a):", ""]
        lines += [f"- {one['title']}, {one['makes']}: {one['why']}" for one in found["out"]]
    about = f"{data['bytes'] / 1e9:.2f} GB, {data['rows']:,} rows of {data['servers']:,} servers, {data['files']} files"
    lines += ["", f"{about}, {data['layout']}; median of {len(rows[0]['runs'])} interleaved runs."]
    lines += ["", machine_line(found["machine"])]
    return "\n".join(lines)


def _told(row: Mapping[str, Any], reference: str, what: str) -> str:
    ratio = row["ratios"].get(reference, {}).get(what)
    return "–" if ratio is None else f"{ratio:.2f}"
