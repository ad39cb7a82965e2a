from __future__ import annotations

import pytest

from workload_forecast.storage.meter import Meter, in_units


def test_a_meter_knows_share_and_rate() -> None:
    now = 0.0
    meter = Meter(20_000_000_000, lambda: now)
    assert (meter.percent(), meter.rate()) == (0, 0)
    meter(500_000_000)
    meter(1_000_000_000)
    now = 3.0
    assert meter.percent() == pytest.approx(7.5)
    assert str(meter) == "1.5 GB of 20.0 GB, 500.0 MB/s"
    assert Meter(0).percent() is None


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_951, "1.0 MB"), (3e18, "3000.0 PB")],
)
def test_units(count: float, text: str) -> None:
    assert in_units(count) == text
