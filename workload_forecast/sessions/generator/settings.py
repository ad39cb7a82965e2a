"""What to generate: frozen, validated settings, the presets and the list of files that follows from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from workload_forecast.errors import SettingsError
from workload_forecast.sessions.layouts import LAYOUTS

#: Copies of every half month in the published data (requirements, *data description*); they inflate the volume.
MAX_COPIES = 7
MAX_SERVERS = 50_000
#: One hour of one copy is made in memory at once; this keeps it below about a gigabyte.
MAX_SESSIONS_PER_HOUR = 2_000_000
#: Last day of the first half of a month (``a``); the rest of the month is the second half (``b``).
HALF_ENDS = 15
#: Upper estimates, measured over the presets; they only serve the check of the free disk space.
BYTES_PER_ROW, COMPRESSED_BYTES_PER_ROW = 160, 75


@dataclass(frozen=True)
class GeneratorSettings:
    """What to generate. The same settings always give the same bytes.

    Attributes:
        start, end: first and last day, both included.
        servers: size of the fleet; a smaller fleet is the beginning of a larger one.
        sessions_per_server_hour: mean number of sessions of a server in an hour in which it serves, at least 1. The
            load does not depend on it: it is divided among the sessions there are.
        copies: files per half month, 1 to 7; each holds the whole load, in other sessions.
        seed: any integer from 0.
        layout: ``sessions16`` or ``sessions17``.
        dirt_rate: share of lines that are spoilt, 0 to 1.
        compress: write ``request.csv.gz`` instead of ``request.csv``.

    Raises:
        SettingsError: a value is out of range or contradicts another one.
    """

    start: date
    end: date
    servers: int
    sessions_per_server_hour: float
    copies: int = 1
    seed: int = 42
    layout: str = "sessions16"
    dirt_rate: float = 0.002
    compress: bool = False

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise SettingsError(f"generator: end {self.end} is before start {self.start}; both days are included.")
        if self.start.year < 1970 or self.end.year > 2100:
            raise SettingsError(f"generator: {self.start} to {self.end} must lie between the years 1970 and 2100.")
        _check_range("servers", self.servers, 1, MAX_SERVERS)
        _check_range("sessions_per_server_hour", self.sessions_per_server_hour, 1, MAX_SESSIONS_PER_HOUR)
        _check_range("copies", self.copies, 1, MAX_COPIES)
        _check_range("dirt_rate", self.dirt_rate, 0, 1)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        if self.layout not in LAYOUTS:
            raise SettingsError(f"generator: layout '{self.layout}' is unknown; choose one of {', '.join(LAYOUTS)}.")
        if self.sessions_per_hour > MAX_SESSIONS_PER_HOUR:
            raise SettingsError(
                f"generator: servers × sessions_per_server_hour is {self.sessions_per_hour:,.0f} sessions an hour; at "
                f"most {MAX_SESSIONS_PER_HOUR:,} fit in memory. Ask for more days or copies to get more data."
            )

    @property
    def sessions_per_hour(self) -> float:
        """Return about how many sessions one copy has in an hour, all servers together."""
        return self.servers * self.sessions_per_server_hour

    @property
    def days(self) -> int:
        """Return the number of days of the window."""
        return (self.end - self.start).days + 1

    @property
    def estimated_rows(self) -> int:
        """Return an upper estimate of the rows of all files."""
        return round(self.sessions_per_hour * 24 * self.days * self.copies)

    @property
    def estimated_bytes(self) -> int:
        """Return an upper estimate of the bytes of all files."""
        return self.estimated_rows * (COMPRESSED_BYTES_PER_ROW if self.compress else BYTES_PER_ROW)


@dataclass(frozen=True)
class FilePlan:
    """One file: the days ``first`` to ``last`` (included), all in one half month, of one copy."""

    first: date
    last: date
    copy: int
    compress: bool = False

    @property
    def path(self) -> str:
        """Return the path below the root: ``<year>/<month>/<a or b>/<copy>/request.csv``."""
        half = "a" if self.first.day <= HALF_ENDS else "b"
        name = "request.csv.gz" if self.compress else "request.csv"
        return f"{self.first.year:04d}/{self.first.month:02d}/{half}/{self.copy}/{name}"


def plan_files(settings: GeneratorSettings) -> list[FilePlan]:
    """Return every file of ``settings``, in order of time and copy."""
    return [
        FilePlan(first, last, copy, settings.compress)
        for first, last in _half_months(settings.start, settings.end)
        for copy in range(settings.copies)
    ]


def _half_months(start: date, end: date) -> Iterator[tuple[date, date]]:
    first = start
    while first <= end:
        if first.day <= HALF_ENDS:
            following = first.replace(day=HALF_ENDS + 1)
        else:
            following = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
        yield first, min(end, following - timedelta(days=1))
        first = following


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(f"generator: {name} is {value}; it must be from {low:,} to {high:,}.")


_JUNE = (date(2016, 6, 1), date(2016, 6, 30))
_ALL_YEARS = (date(2009, 1, 1), date(2016, 6, 30))

#: ``small`` and ``full_small`` serve the durations ONE_MONTH and FULL on a laptop. ``original`` is one month of one
#: copy at the volume of the published data (about 1.5 GB), ``original_full`` all of it (about a terabyte).
PRESETS = {
    "small": GeneratorSettings(*_JUNE, servers=40, sessions_per_server_hour=24),
    "full_small": GeneratorSettings(
        *_ALL_YEARS, servers=4, sessions_per_server_hour=2, copies=MAX_COPIES, dirt_rate=0.001
    ),
    "original": GeneratorSettings(*_JUNE, servers=390, sessions_per_server_hour=37, dirt_rate=0.0005),
    "original_full": GeneratorSettings(
        *_ALL_YEARS, servers=390, sessions_per_server_hour=37, copies=MAX_COPIES, dirt_rate=0.0005
    ),
}
