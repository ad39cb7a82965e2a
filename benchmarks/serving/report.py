"""The measured as Markdown, and as JSON with the facts of the machine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.machine import machine_line
from benchmarks.serving.comparison import BARE, INVOCATIONS, MLFLOW, SERVICE, Cell
from benchmarks.serving.figures import rounded

PACKAGES = ("mlflow", "pyspark", "uvicorn", "fastapi", "treelite", "polars", "numpy", "aiohttp")


def ratios(cells: Sequence[Cell]) -> list[dict[str, float]]:
    """Return, for each load, how many times the throughput and what part of the median latency the service has."""
    by_key = {(cell.target, cell.servers, cell.concurrency): cell.summary for cell in cells}
    found = []
    for (target, servers, concurrency), other in by_key.items():
        if target != MLFLOW:
            continue
        row: dict[str, float] = {"servers": servers, "concurrency": concurrency}
        for name, ours in (("forecast", SERVICE), ("invocations", INVOCATIONS)):
            own = by_key[ours, servers, concurrency]
            row[f"{name}_throughput"] = round(own.per_second / other.per_second, 1)
            row[f"{name}_p50"] = round(other.p50_ms / own.p50_ms, 1)
        found.append(row)
    return found


def content(cells: Sequence[Cell], starts: Sequence[float], settings: Mapping[str, Any], facts: Any) -> dict[str, Any]:
    """Return everything for a file."""
    rows = [
        {"target": cell.target, "servers": cell.servers, "concurrency": cell.concurrency, **rounded(cell.summary)}
        for cell in cells
    ]
    ready = [round(start, 3) for start in starts]
    return {"machine": facts, "settings": settings, "ready_s": ready, "cells": rows, "ratios": ratios(cells)}


def comparison_table(found: Mapping[str, Any]) -> str:
    """Return the content as Markdown."""
    lines = [
        "| request | connections | target | p50 ms | p90 ms | p99 ms | max ms | requests/s | requests |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in sorted(found["cells"], key=lambda cell: (cell["servers"], cell["concurrency"])):
        times = " | ".join(f"{cell[name]:.2f}" for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))
        lines.append(
            f"| {cell['servers']} × 48 h | {cell['concurrency']} | {cell['target']} | {times} "
            f"| {cell['per_second']:.1f} | {cell['requests']} |"
        )
    lines += [
        "",
        f"The {BARE} answers as many bytes without any work: what client and kernel take.",
        "",
        f"How many times as many requests a second as {MLFLOW}, and how many times as fast (p50):",
        "",
        "| request | connections | /forecast, throughput | /forecast, p50 | /invocations, throughput | p50 |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['servers']} × 48 h | {row['concurrency']} | {row['forecast_throughput']} × | {row['forecast_p50']} × "
        f"| {row['invocations_throughput']} × | {row['invocations_p50']} × |"
        for row in found["ratios"]
    ]
    ready = found["ready_s"]
    if ready:
        median = statistics.median(ready)
        lines += [
            "",
            f"Ready after the start: median {median:.2f} s, slowest {max(ready):.2f} s ({len(ready)} starts).",
        ]
    return "\n".join([*lines, "", machine_line(found["machine"])])
