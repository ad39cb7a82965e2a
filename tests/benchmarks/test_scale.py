"""The curve of sizes on a little data. No times are looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.etl.contestants import OURS_DUCKDB, OURS_SPARK
from benchmarks.etl.scale import curve, table
from benchmarks.machine import machine
from benchmarks.measuring import ROOT


@pytest.mark.slow
def test_every_size_and_number_of_servers_is_measured(tmp_path: Path) -> None:
    options = ["--gigabytes", "0.0003", "--servers", "5", "--runs", "1", "--only", OURS_DUCKDB]
    files = ["--workspace", str(tmp_path), "--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")]
    patched = "import benchmarks.etl.scale as scale; scale.SERVERS, scale.GIGABYTES = 3, 0.0003; scale.main()"
    told = subprocess.run(
        [sys.executable, "-c", patched, *options, *files],
        cwd=ROOT,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    found = json.loads((tmp_path / "a.json").read_text())
    assert [(row["name"], row["servers"]) for row in found["rows"]] == [(OURS_DUCKDB, 3), (OURS_DUCKDB, 5)]
    for row in found["rows"]:
        assert row["s_per_gb"] == pytest.approx(row["wall_s"] / row["gigabytes"], rel=0.7)
        assert row["peak_mb"] > 1
    assert "| DuckDB | 0.00 |" in told.stdout
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert not list(tmp_path.glob("scale-*")), "the generated data is gone"


def test_the_curve_has_two_lines_an_engine() -> None:
    rows = [
        {"name": name, "gigabytes": size, "rows": 7, "servers": 390, "s_per_gb": 5.0, "peak_mb": int(900 * size)}
        for name in (OURS_DUCKDB, OURS_SPARK)
        for size in (2.0, 1.0)
    ]
    axes, memory = curve(rows).axes
    assert [line.get_xdata().tolist() for line in axes.lines] == [[1.0, 2.0]] * 2  # type: ignore[union-attr]
    assert [line.get_ydata().tolist() for line in memory.lines] == [[0.9, 1.8]] * 2  # type: ignore[union-attr]
    told = {**rows[0], "wall_s": 10.0, "cpu_s": 19.0}
    found = {"rows": [told], "runs": 3, "machine": machine(("duckdb",))}
    assert "| DuckDB | 2.00 | 7 | 390 | 10.0 | 5.0 | 19.0 | 1,800 |" in table(found)
