"""Limits of the choice of sources (:mod:`workload_forecast.model.source_choice`): the settings' section ``sources``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class SourceLimits(BaseModel):
    """When a naive forecast takes the model's place. Margins are in standard errors, over days."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    days: int = Field(default=14, ge=0, description="Last days of the training that decide; 0: the model everywhere.")
    minimum_days: int = Field(default=4, ge=2, description="Days below which nothing is decided.")
    fleet_margin: float = Field(default=2.0, ge=0, description="By which another macro-F1 must be above the model's.")
    server_margin: float = Field(default=3.0, ge=0, description="By which another forecast must name more hours right.")
    least_accuracy: float = Field(default=0.4, ge=0, le=1, description="Below it a server gets no answer.")
