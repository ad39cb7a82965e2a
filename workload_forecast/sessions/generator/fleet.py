"""The load of every server in every hour: the truth that the sessions then share out.

The logarithm of a server's hourly peak is its level plus daily, weekly and yearly cycles with a phase and amplitude
of its own, a trend, a holiday's damping, bursts, and two autocorrelated noises (hour to hour and day to day). So the
future follows from the past, but not exactly, as on real servers.

Any window is made alone: each noise is the weighted sum of the latest draws (an AR(1) process cut off where its
memory has faded below a thousandth), and the draws are named by their day. Nothing depends on where the window
begins, and memory depends on the fleet and the window asked for only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from workload_forecast.sessions.generator.streams import Stream, stream
from workload_forecast.sessions.generator.traits import Floats, draw_traits

SLOTS = 12
HOURLY_PHI, HOURLY_MEMORY_DAYS = 0.9, 3
DAILY_PHI, DAILY_MEMORY = 0.9, 65
#: Longest burst in hours; bursts that began the day before are still felt.
BURST_HOURS = 8
#: Reference day of the trend.
TREND_FROM = date(2013, 1, 1).toordinal()
PEAK_RANGE = (0.5, 50_000.0)
#: Spread of the peak between the copies, as a logarithm.
COPY_SPREAD = 0.03


@dataclass(frozen=True)
class Load:
    """The load of a window, in one copy.

    Attributes:
        peak: hours × servers, sum of TotalLoad in the hour's greatest five-minute slot.
        active: hours × servers, whether the server has sessions in that hour at all.
        slots: hours × servers × 12, each slot's load as a share of the peak; the greatest is 1.
    """

    peak: Floats
    active: NDArray[np.bool_]
    slots: Floats


class Fleet:
    """The load model of ``servers`` servers. A smaller fleet is the beginning of a larger one."""

    def __init__(self, seed: int, servers: int) -> None:
        self.seed = seed
        self.servers = servers
        self.traits = draw_traits(seed, servers)
        self._latest: tuple[tuple[date, int], Load] | None = None

    def load(self, first: date, days: int, copy: int) -> Load:
        """Return the load of the ``days`` days from ``first`` in copy ``copy``; copies differ by a few per cent."""
        if self._latest is None or self._latest[0] != (first, days):
            self._latest = ((first, days), self._common_load(first, days))  # the other copies will ask for the same
        common = self._latest[1]
        day = first.toordinal()
        draws = self._per_day(Stream.COPY, range(day, day + days), 1, copy)[:, :, 0]
        return replace(common, peak=np.clip(common.peak * np.exp(COPY_SPREAD * draws.T), *PEAK_RANGE))

    def _common_load(self, first: date, days: int) -> Load:
        day = first.toordinal()
        window = range(day, day + days)
        hourly = self._per_day(Stream.HOURLY_NOISE, range(day - HOURLY_MEMORY_DAYS, day + days), 2)
        noise, idle = (_faded(hourly[:, :, k], HOURLY_PHI, HOURLY_MEMORY_DAYS * 24) for k in range(2))
        slow = _faded(self._daily_draws(range(day - DAILY_MEMORY, day + days)), DAILY_PHI, DAILY_MEMORY)
        t = self.traits
        log_peak = (
            self._cycles(first, days)
            + t.hourly_spread[:, None] * noise
            + t.daily_spread[:, None] * slow.repeat(24, axis=1)
            + self._bursts(window)
        )
        active = (idle > _normal_quantile(t.idle)[:, None]) & self._present(window).repeat(24, axis=1)
        slots = 0.3 + 0.7 * self._slot_draws(window)
        return Load(
            peak=np.ascontiguousarray(np.exp(log_peak).T),
            active=np.ascontiguousarray(active.T),
            slots=np.ascontiguousarray((slots / slots.max(axis=2, keepdims=True)).transpose(1, 0, 2)),
        )

    def _per_day(self, kind: Stream, days: range, depth: int, *name: int) -> Floats:
        """Return standard normal draws, servers × (24 · days) × depth, from a stream of its own for each day."""
        shape = (self.servers, 24, depth)
        return np.concatenate([stream(self.seed, kind, *name, day).standard_normal(shape) for day in days], axis=1)

    def _daily_draws(self, days: range) -> Floats:
        """Return standard normal draws, servers × days, from one stream for every 32 days: cheap over long memories."""
        chunks = range(days.start // 32, (days.stop - 1) // 32 + 1)
        draws = [stream(self.seed, Stream.DAILY_NOISE, chunk).standard_normal((self.servers, 32)) for chunk in chunks]
        begin = days.start - 32 * chunks.start
        return np.concatenate(draws, axis=1)[:, begin : begin + len(days)]

    def _slot_draws(self, days: range) -> Floats:
        shape = (self.servers, 24, SLOTS)
        return np.concatenate([stream(self.seed, Stream.SLOT, day).random(shape) for day in days], axis=1)

    def _cycles(self, first: date, days: int) -> Floats:
        """Return what is certain about the logarithm of the peak: level, cycles, trend, holidays."""
        t = self.traits
        hour = np.arange(days * 24)
        day = first.toordinal() + hour // 24
        angle = 2 * np.pi * (hour % 24 - t.peak_hour[:, None]) / 24
        weekend = ((day + 6) % 7 >= 5)[None, :]
        dates = [date.fromordinal(int(number)) for number in day[::24]]
        holiday = np.array([date in _federal_holidays(date.year) for date in dates]).repeat(24)[None, :]
        trend = np.clip(t.trend[:, None] * (day - TREND_FROM)[None, :] / 365.25, -1, 1)
        season = t.yearly[:, None] * np.cos(2 * np.pi * (day % 365.25) / 365.25)[None, :]
        return np.asarray(
            t.log_level[:, None]
            + t.daily[:, None] * np.cos(angle)
            + t.half_daily[:, None] * np.cos(2 * angle + 1)
            - t.weekend[:, None] * weekend
            - t.holiday[:, None] * holiday
            + trend
            + season
        )

    def _bursts(self, days: range) -> Floats:
        """Return the bursts' share of the logarithm, servers × hours: a sudden rise that decays within hours."""
        out = np.zeros((self.servers, len(days) * 24 + 24 + BURST_HOURS))
        for position, day in enumerate(range(days.start - 1, days.stop)):
            u = stream(self.seed, Stream.BURST, day).random((self.servers, 4))
            for server in np.flatnonzero(u[:, 0] < self.traits.bursts):
                begin = position * 24 + int(24 * u[server, 1])
                hours = 1 + int(BURST_HOURS * u[server, 2])
                out[server, begin : begin + hours] += (0.7 + 1.3 * u[server, 3]) * (1 - np.arange(hours) / hours)
        return out[:, 24 : 24 + len(days) * 24]

    def _present(self, days: range) -> NDArray[np.bool_]:
        """Return whether a server exists, servers × days: some are born late, some rotate in and out of service."""
        t = self.traits
        day = np.arange(days.start, days.stop)[None, :]
        period = np.where(t.rotation > 0, t.rotation, 1)[:, None]
        turn = ((day + t.rotation_offset[:, None]) % period) / period < t.rotation_present[:, None]
        return np.asarray((turn | (t.rotation == 0)[:, None]) & (day >= t.born[:, None]))


@lru_cache(maxsize=200)
def _federal_holidays(year: int) -> frozenset[date]:
    from pandas.tseries.holiday import USFederalHolidayCalendar  # an ETL of real sessions needs no pandas for this

    days = USFederalHolidayCalendar().holidays(datetime(year, 1, 1), datetime(year, 12, 31))
    return frozenset(day.date() for day in days)


def _faded(draws: Floats, phi: float, memory: int) -> Floats:
    """Return the AR(1) noise of unit variance that ``draws`` drive, without the ``memory`` steps that lead in.

    Summed term by term in a fixed order: the same bits come out whatever the window.
    """
    steps = draws.shape[1] - memory
    out = np.zeros((draws.shape[0], steps))
    for lag in range(memory):
        out += phi**lag * draws[:, memory - lag : memory - lag + steps]
    return np.asarray(out * np.sqrt(1 - phi**2))


def _normal_quantile(share: Floats) -> Floats:
    """Return the standard normal quantile of each share; minus infinity for 0."""
    return np.array([NormalDist().inv_cdf(float(p)) if p > 0 else -np.inf for p in share])
