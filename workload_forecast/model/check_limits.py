"""Limits of the data checks (:mod:`workload_forecast.model.checks`), with their defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workload_forecast.errors import SettingsError


@dataclass(frozen=True)
class Limit:
    """A value up to ``warn`` is ok, up to ``refuse`` warned of. Infinity: never.

    Raises:
        SettingsError: not ``0 <= warn <= refuse``.
    """

    warn: float
    refuse: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.warn <= self.refuse:
            raise SettingsError(f"limits warn={self.warn}, refuse={self.refuse} must satisfy 0 <= warn <= refuse.")


@dataclass(frozen=True)
class CheckLimits:
    """Limits of the checks. Values are shares (0 to 1) where nothing else is said."""

    missing_fields: Limit = Limit(0.01, 0.5)  #: sessions without start, load or server
    unparsable: Limit = Limit(0.01, 0.5)  #: lines that are no session at all: another layout looks like this
    out_of_range: Limit = Limit(0.01, 0.5)  #: sessions with a negative or infinite load
    imputed_numbers: Limit = Limit(0.05)  #: broken secondary numbers, counted as 0: they are features only
    hours_without_data: Limit = Limit(0.02, 0.9)  #: hours of the whole period in which no server has a load
    unknown_hours_train: Limit = Limit(0.1, 0.95)  #: hours of the servers' training periods without a load
    unknown_hours_test: Limit = Limit(0.1, 0.95)
    servers_with_long_gaps: Limit = Limit(0.1)  #: servers with an unknown stretch longer than ``gap_hours``
    gap_hours: int = 72
    largest_class_train: Limit = Limit(0.8, 0.995)  #: of the labelled training rows
    largest_class_test: Limit = Limit(0.9)
    absent_classes_train: Limit = Limit(0, 1)  #: a number: with two of three absent there is nothing to tell apart
    absent_classes_test: Limit = Limit(0)  #: a number: such a class's recall cannot be known
    class_drift: Limit = Limit(0.1)  #: total variation: rows that would have to change class to make the mixes equal
    level_drift: Limit = Limit(0.25)  #: population stability index of loads relative to their server's training loads
    fleet_shift: Limit = Limit(0.5)  #: |median over servers| of the shift of their median load, in spreads
    shifted_servers: Limit = Limit(0.2)  #: servers whose median load has shifted by more than ``shift_spreads``
    shift_spreads: float = 1.0
    unseen_servers: Limit = Limit(0.2)  #: servers of the test period without a known load in training
    duplicate_servers: Limit = Limit(0, 0.5)  #: servers whose series is that of another one

    def __post_init__(self) -> None:
        if self.gap_hours < 1 or not self.shift_spreads > 0:
            raise SettingsError(
                f"gap_hours={self.gap_hours} must be 1 or more, and shift_spreads={self.shift_spreads} above 0."
            )
