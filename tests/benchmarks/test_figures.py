from __future__ import annotations

import pytest

from benchmarks.serving.figures import Measured, slope_per_hour, summarise


def test_medians_of_rounds_and_the_slowest_request_of_all() -> None:
    steady = Measured([float(ms) for ms in range(1, 102)], seconds=2.0)
    slower = Measured([10.0 * ms for ms in range(1, 102)], seconds=20.0)
    summary = summarise([steady, slower, steady])
    assert (summary.p50_ms, summary.p90_ms, summary.p99_ms) == (51.0, 91.0, 100.0)
    assert (summary.max_ms, summary.per_second, summary.requests) == (1010.0, 50.5, 303)


def test_the_slope_leaves_the_first_half_aside() -> None:
    seconds = [5.0 * sample for sample in range(40)]
    warming = [1000.0 * sample if sample < 20 else 200.0 + seconds[sample] / 3600 * 7 for sample in range(40)]
    assert slope_per_hour(seconds, warming) == pytest.approx(7.0)
