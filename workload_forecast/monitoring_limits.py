"""Limits of the monitoring (:mod:`workload_forecast.monitoring`): the settings' section ``monitoring``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

#: What an alarm brings about besides its exit code.
OnAlarm = Literal["none", "retrain", "rollback"]


class Levels(BaseModel):
    """A value up to ``warn`` is fine, up to ``alarm`` warned of. An ``alarm`` of null: never."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    warn: float = Field(ge=0, allow_inf_nan=False)
    alarm: float | None = Field(ge=0, allow_inf_nan=False)  # no default: to lower `warn` must not take the alarm away

    @model_validator(mode="after")
    def _ascending(self) -> Levels:
        if self.alarm is not None and self.alarm < self.warn:
            raise ValueError(f"warn={self.warn:g} must not be above alarm={self.alarm:g}")
        return self


def _levels(warn: float, alarm: float | None, description: str) -> Levels:
    levels: Levels = Field(default=Levels(warn=warn, alarm=alarm), description=description)
    return levels


class MonitoringLimits(BaseModel):
    """When past forecasts are an alarm, and what that brings about. Values are shares and scores, up to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    days: int = Field(default=14, ge=1, description="Last days of the data that are looked at.")
    minimum_rows: int = Field(default=500, ge=1, description="Server-hours below which nothing is decided.")
    macro_f1_loss: Levels = _levels(0.03, 0.05, "Macro-F1 below what the training's test promised.")
    high_recall_loss: Levels = _levels(0.05, 0.1, "The same for the recall of high.")
    behind_naive: Levels = _levels(0.0, 0.03, "Macro-F1 below a naive forecast's of the same hours.")
    unanswered: Levels = _levels(0.05, 0.5, "Server-hours of which nothing was said.")
    server_loss: float = Field(default=0.2, ge=0, lt=1, description="Accuracy lost on a server's promise: a fall.")
    fallen_servers: Levels = _levels(0.1, None, "Servers that have fallen.")
    class_drift: Levels = _levels(0.1, 0.3, "Hours that would have to change class for the mix of the training.")
    level_drift: Levels = _levels(
        0.25, 1.0, "Population stability index of loads relative to their server's; no share."
    )
    hours_since_forecast: Levels = _levels(72, None, "Hours of data after the newest forecast began.")
    on_alarm: OnAlarm = Field(default="none", description="What an alarm brings about: none, retrain, rollback.")
