"""From measured latencies and samples to the few numbers of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Measured:
    """What one round of a load saw: the latency of each request, ms, and how long the round took, s."""

    latencies_ms: Sequence[float]
    seconds: float


@dataclass(frozen=True)
class Summary:
    """Several rounds: medians over the rounds, but ``max_ms``, which is the slowest request of all of them."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    per_second: float
    requests: int  #: of all rounds together


def summarise(rounds: Sequence[Measured]) -> Summary:
    """Return the medians of the rounds' percentiles and throughputs; each round must hold a request."""
    percentiles = np.median([np.percentile(one.latencies_ms, PERCENTILES) for one in rounds], axis=0)
    p50, p90, p99 = percentiles.tolist()
    return Summary(
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        max_ms=max(max(one.latencies_ms) for one in rounds),
        per_second=float(np.median([len(one.latencies_ms) / one.seconds for one in rounds])),
        requests=sum(len(one.latencies_ms) for one in rounds),
    )


def rounded(summary: Summary) -> dict[str, float]:
    """Return the summary as plain numbers for a file."""
    return {name: round(value, 3) for name, value in asdict(summary).items()}


def slope_per_hour(seconds: Sequence[float], values: Sequence[float]) -> float:
    """Return how much ``values`` grow in an hour: the least-squares line through the second half of the samples."""
    half = len(seconds) // 2
    slope, _ = np.polyfit(seconds[half:], values[half:], 1)
    return float(slope) * 3600
