"""How far a transfer is: bytes, share and rate, for :class:`~workload_forecast.progress.Progress`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class Meter:
    """Counts bytes as they arrive, from any thread; an instance is what a store tells.

    Args:
        total: bytes that are expected; what a cache has already is not told, so add it with a call.
        clock: in seconds.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._clock = total, clock
        self._lock, self._started = threading.Lock(), clock()
        self.done = 0

    def __call__(self, count: int) -> None:
        """Add bytes."""
        with self._lock:
            self.done += count

    def percent(self) -> float | None:
        """Return what has arrived of the total, 0 to 100; None where nothing is expected."""
        return 100 * self.done / self._total if self._total else None

    def rate(self) -> float:
        """Return bytes per second since the meter was made."""
        seconds = self._clock() - self._started
        return self.done / seconds if seconds > 0 else 0.0

    def __str__(self) -> str:
        """Return a detail for a stage, like ``1.5 GB of 20.0 GB, 210.0 MB/s``."""
        return f"{in_units(self.done)} of {in_units(self._total)}, {in_units(self.rate())}/s"


def in_units(count: float) -> str:
    """Return a number of bytes in the largest unit that leaves a digit before the point."""
    for unit in _UNITS[:-1]:
        if count < 999.95:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"
