"""Whose answer a server gets: the model's, a naive forecast's, or none.

A training decides it from the last weeks before its test period (``model/source_choice.py``), the compiled model
carries it, and the forecaster follows it (``serving/forecaster.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workload_forecast.schemas import LAST_SAME_HOUR

MODEL, BASELINE, NONE = "model", "baseline", "none"

#: Each naive forecast's feature, a load that is known when the hour is forecast; the thresholds cut it into classes.
#: In rows that are forecast 48 hours ahead the load 48 hours ago is also the last known one of the same hour.
NAIVE_FORECASTS: Mapping[str, str] = {
    "class_48h_ago": "total_load_lag_48h",
    "last_same_hour": LAST_SAME_HOUR,
    "class_week_ago": "total_load_lag_168h",
    "same_hour_mean_7d": "total_load_same_hour_mean_7d",
}

#: For each class that a naive forecast names, the share of each true class; both in the order of the classes.
Shares = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Sources:
    """Who answers. Without a decision it is the model everywhere."""

    fleet: str = MODEL  #: ``model`` or a naive forecast: for servers that are not named, new ones too
    servers: Mapping[str, str] = field(default_factory=dict)  #: by name: ``model``, a naive forecast or ``none``
    shares: Mapping[str, Shares] = field(default_factory=dict)  #: of each naive forecast that answers for somebody

    def of(self, server: str) -> str:
        """Who answers for a server."""
        return self.servers.get(server, self.fleet)

    @property
    def problems(self) -> list[str]:
        """What cannot be right."""
        answering = {self.fleet, *self.servers.values()}
        unknown = sorted(answering - {MODEL, NONE, *NAIVE_FORECASTS})
        wanting = sorted(answering & set(NAIVE_FORECASTS) - set(self.shares))
        return [
            *(f"source {name!r}" for name in unknown),
            *(f"no shares of {name}" for name in wanting),
            *(["no answer for any server"] if self.fleet == NONE else []),
        ]
