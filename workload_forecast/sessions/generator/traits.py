"""The lasting character of every server: level, cycles, trend, noise, idleness, lifetime."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from workload_forecast.sessions.generator.streams import Stream, stream

Floats = NDArray[np.float64]

#: Hourly peak of the smallest and of the greatest server of an average day, in units of TotalLoad: two decades, placed
#: so that the thresholds 100 and 500 of the requirements cut the server-hours into three well-filled classes.
LEVELS = (55.0, 2400.0)
GOLDEN = 0.6180339887498949
_TRAITS = 20

# Rare characters go by the server's number, so that even a fleet of seven has them.
IDLE_EVERY, IDLE_AT = 10, 3
ROTATING_EVERY, ROTATING_AT = 8, 5
BORN_EVERY, BORN_AT = 16, 2


@dataclass(frozen=True)
class Traits:
    """One value per server in every array (shape ``servers``); amplitudes and spreads are natural logarithms."""

    log_level: Floats
    peak_hour: Floats
    daily: Floats
    half_daily: Floats
    weekend: Floats
    holiday: Floats
    yearly: Floats
    trend: Floats  # a year
    hourly_spread: Floats
    daily_spread: Floats
    bursts: Floats  # a day
    idle: Floats  # share of hours
    rotation: Floats  # days, 0: always there
    rotation_present: Floats  # share of the rotation
    rotation_offset: Floats  # days
    born: Floats  # proleptic ordinal of the first day
    popularity: Floats  # sessions, mean 1
    megabytes: Floats  # per unit of load
    mix: Floats  # servers × 5: sub-service loads per unit of load


def draw_traits(seed: int, servers: int) -> Traits:
    """Return the characters of ``servers`` servers; those of a smaller fleet are the first ones of a larger."""
    u = stream(seed, Stream.TRAITS).random((servers, _TRAITS))
    number = np.arange(servers)
    low, high = np.log(LEVELS)
    # Evenly spread whatever the size of the fleet: the classes stay balanced with seven servers too.
    rank = (number * GOLDEN + (seed % 1000) / 1000) % 1
    rotating = number % ROTATING_EVERY == ROTATING_AT
    first, last = date(2009, 3, 1).toordinal(), date(2014, 12, 31).toordinal()
    mix = 0.05 + u[:, 15:20]
    return Traits(
        log_level=low + (high - low) * rank,
        peak_hour=np.where(u[:, 0] < 0.15, 1 + 4 * u[:, 1], 11 + 7 * u[:, 1]),
        daily=0.2 + 0.9 * u[:, 2],
        half_daily=0.25 * u[:, 3],
        weekend=-0.2 + 1.1 * u[:, 4],
        holiday=0.1 + 0.8 * u[:, 5],
        yearly=0.15 * u[:, 6],
        trend=-0.1 + 0.2 * u[:, 7],
        hourly_spread=0.15 + 0.25 * u[:, 8],
        daily_spread=0.1 + 0.25 * u[:, 9],
        bursts=0.01 + 0.09 * u[:, 10],
        idle=np.where(number % IDLE_EVERY == IDLE_AT, 0.45 + 0.4 * u[:, 11], np.maximum(0, 0.08 * u[:, 11] - 0.03)),
        rotation=np.where(rotating, 30 + 20 * u[:, 12], 0),
        rotation_present=0.4 + 0.3 * u[:, 13],
        rotation_offset=50 * u[:, 14],
        born=np.where(number % BORN_EVERY == BORN_AT, first + (last - first) * u[:, 12], 0),
        popularity=0.5 + u[:, 13],
        megabytes=0.3 * np.exp(3 * u[:, 14]),
        mix=mix / mix.sum(axis=1, keepdims=True),
    )
