from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.measuring import measure
from workload_forecast.errors import EnvironmentProblem

#: Ends while a process that it has started still works, so that nobody waits for that one.
PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
"""
ORPHAN = """
import time
held = b"x" * 150_000_000
while time.process_time() < 0.5:
    pass
"""


def test_what_outlives_the_command_is_counted(tmp_path: Path) -> None:
    command = (sys.executable, "-c", PARENT, ORPHAN)
    used = measure(command, os.environ, tmp_path, tmp_path / "log")
    assert used.cpu_s >= 0.5
    assert used.peak_mb >= 150


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such luck')")
    with pytest.raises(EnvironmentProblem, match=r"failed \(no such luck\): see .*log"):
        measure(command, os.environ, tmp_path, tmp_path / "log")
