"""Named streams of random numbers.

Every number of the generator comes from a stream that is named by what it is for (a day, a copy, a block of hours),
never by who draws it. That makes the bytes independent of the number of workers and lets any window be made alone.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream is for. The numbers are part of the format: changing one changes every byte."""

    TRAITS = 1
    HOURLY_NOISE = 2
    DAILY_NOISE = 3
    BURST = 4
    SLOT = 5
    COPY = 6
    SESSION = 7
    DIRT = 8
    CLIENT = 9


def stream(seed: int, kind: Stream, *name: int) -> np.random.Generator:
    """Return the stream ``kind`` of ``seed`` with the given name (integers from 0), at its beginning."""
    return np.random.default_rng([seed, int(kind), *name])
