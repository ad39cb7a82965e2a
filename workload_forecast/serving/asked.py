"""The servers and hours that are asked for, among rows that were prepared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from workload_forecast.errors import SettingsError
from workload_forecast.features.build import LOOK_BACK_HOURS
from workload_forecast.schemas import HORIZON_HOURS
from workload_forecast.serving.history import HOUR, Prepared, check_start
from workload_forecast.serving.saved_trees import Integers


@dataclass(frozen=True)
class Asked:
    """Some servers, and hours from a start on that may be later than the prepared one."""

    servers: list[str]
    hours: int
    reach: int  #: a load that was older at the prepared start is too old at this one
    known: Integers  #: positions among ``servers`` of those that have prepared rows...
    prepared: Integers  #: ...and where these are
    span: slice  #: the hours among the prepared ones

    def take(self, values: Any, unknown: Any) -> Any:
        """Return the values of a row for each server and hour, in that order.

        Args:
            values: prepared servers × prepared hours × anything.
            unknown: the value for servers without prepared rows.
        """
        found = np.full((len(self.servers), self.hours, *values.shape[2:]), unknown)
        found[self.known] = values[self.prepared, self.span]
        return found.reshape(-1, *values.shape[2:])


def ask(prepared: Prepared, servers: Iterable[str], start: datetime, hours: int) -> Asked:
    """Find servers and hours among prepared rows.

    Args:
        prepared: it may hold more servers, and more hours at both ends.
        servers: one that stands there twice is asked for once.
        start: first hour, UTC without a zone.
        hours: 1 to 48.

    Raises:
        SettingsError: ``hours`` is not 1 to 48, or the prepared rows do not hold these hours.
    """
    check_start(start)
    first = (start - prepared.start) // HOUR
    if first < 0 or first + checked_hours(hours) > prepared.hours:
        last = prepared.start + (prepared.hours - 1) * HOUR
        raise SettingsError(f"{hours} hours from {start} were asked for, but {prepared.start} to {last} were prepared.")
    names, reach = once(servers), LOOK_BACK_HOURS - first
    at = [(row, prepared.servers[name]) for row, name in enumerate(names) if name in prepared.servers]
    if first:
        at = [(row, position) for row, position in at if prepared.last_seen[position] <= reach]
    known, positions = np.array(at, dtype=np.int64).reshape(-1, 2).T
    return Asked(names, hours, reach, known, positions, slice(first, first + hours))


def once(servers: Iterable[str]) -> list[str]:
    """Return each server's name once, in their order; a single name is one server."""
    # a text is an iterable of texts too, but hardly anybody means its letters
    return [servers] if isinstance(servers, str) else list(dict.fromkeys(servers))


def checked_hours(hours: int) -> int:
    """Return a number of hours that can be asked for.

    Raises:
        SettingsError: it is not 1 to 48.
    """
    if not 1 <= hours <= HORIZON_HOURS:
        raise SettingsError(f"hours must be 1 to {HORIZON_HOURS}, not {hours}: nothing is known that far ahead.")
    return hours
