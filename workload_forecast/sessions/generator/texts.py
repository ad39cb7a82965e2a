"""Lookup tables from numbers to text: formatting a column is one indexing operation, not one call per value."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from workload_forecast.sessions.generator.streams import Stream, stream
from workload_forecast.sessions.generator.traits import Floats

Texts = NDArray[np.bytes_]

#: Distinct clients of one seed.
CLIENTS = 65_536
#: Largest integer that :func:`integers` holds.
MAX_INTEGER = 9_999

# Below 10 in steps of 0.001, above in four significant digits: 9,000 texts for every further power of ten.
_SMALL, _PER_DECADE = 10_000, 9_000
_EDGES = np.array([1e1, 1e2, 1e3, 1e4, 1e5])
_STEPS = np.array([0.001, 0.01, 0.1, 1.0, 10.0, 100.0])
_OFFSETS = np.array([0, *(_SMALL + _PER_DECADE * decade - 1_000 for decade in range(len(_EDGES)))])
LARGEST = 999_900.0


def number_texts(values: Floats) -> Texts:
    """Return the leading four digits of each number from 0 on as a decimal text that ends in the fraction.

    Numbers above :data:`LARGEST` are cut to it. Three further digits from :func:`digit_texts` complete the text; so
    the text is less than 0.1 % (below 10: less than 0.001) away from the number, to either side.
    """
    values = np.minimum(values, LARGEST)
    decade = np.zeros(len(values), dtype=np.int8)
    for edge in _EDGES:
        decade += values >= edge
    texts: Texts = _numbers()[(values / _STEPS[decade]).astype(np.int32) + _OFFSETS[decade]]
    return texts


def integer_texts(values: NDArray[np.int64]) -> Texts:
    """Return each integer from 0 to 9,999 as text; larger ones are cut to that."""
    texts: Texts = _integers()[np.minimum(values, MAX_INTEGER)]
    return texts


@lru_cache(maxsize=1)
def digit_texts() -> Texts:
    """Return ``000`` to ``999``."""
    return np.array([f"{number:03d}" for number in range(1_000)], dtype="S3")


@lru_cache(maxsize=1)
def _numbers() -> Texts:
    texts = [f"{number / 1000:.3f}" for number in range(_SMALL)]
    for decade in range(len(_EDGES)):
        step = 10 ** (decade - 2)
        texts += [f"{digits * step:#.{max(0, 2 - decade)}f}" for digits in range(1_000, 10_000)]
    return np.array(texts, dtype="S7")


@lru_cache(maxsize=1)
def _integers() -> Texts:
    return np.array([str(number) for number in range(MAX_INTEGER + 1)], dtype="S")


@lru_cache(maxsize=1)
def clock_texts() -> Texts:
    """Return ``HH:MM:SS`` for every second of a day."""
    return np.array([f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(86_400)], dtype="S8")


def day_texts(first: date, days: int) -> Texts:
    """Return ``YYYY-MM-DD`` and a blank for ``days`` days from ``first``."""
    return np.array([f"{first + timedelta(days=number)} " for number in range(days)], dtype="S11")


@lru_cache(maxsize=1)
def server_texts(servers: int) -> Texts:
    """Return the servers' private addresses, ``10.x.y.z``."""
    return np.array([f"10.{16 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(servers)], dtype="S")


@lru_cache(maxsize=1)
def client_texts(seed: int) -> Texts:
    """Return the clients' addresses, from the shared range 100.64.0.0/10, which belongs to nobody."""
    draws = stream(seed, Stream.CLIENT).integers(0, 1 << 22, CLIENTS)
    return np.array([f"100.{64 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in draws.tolist()], dtype="S")
