"""Limits of the capacity plan (:mod:`workload_forecast.planning`): the settings' section ``planning``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel


class PlanLimits(BaseModel):
    """What a machine can take, and what must not be done. Loads are in units of the sessions' load."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    machine_capacity: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Load of an hour; null: the greatest that any server had."
    )
    margin: float = Field(default=0.1, ge=0, lt=1, description="Share of the capacity that stays free.")
    errors: float = Field(
        default=0.5, ge=0, allow_inf_nan=False, description="Usual errors that are added to the expected load."
    )
    quantile: Literal[50, 90, 95, 99] | None = Field(
        default=None,
        description="Instead of errors: as many as hold in so many of 100 hours, by the last days of the training.",
    )
    minimum_confidence: float = Field(default=0.5, ge=0, le=1, description="Probability below which nothing is done.")
    pinned: tuple[str, ...] = Field(default=(), description="Servers that must keep their machine.")
    groups: Mapping[str, tuple[str, ...]] = Field(
        default={}, description="Servers by group: machines are shared within one; those that are in none are one."
    )

    @model_validator(mode="after")
    def _one_kind_of_care(self) -> PlanLimits:
        if self.quantile is not None and "errors" in self.model_fields_set:
            raise ValueError("errors and quantile say the same in two ways: leave one of them out")
        return self

    @field_validator("groups")
    @classmethod
    def _one_group_each(cls, groups: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        named = [server for servers in groups.values() for server in servers]
        twice = sorted({server for server in named if named.count(server) > 1})
        if twice:
            raise ValueError(f"a server is in one group: {', '.join(twice)}")
        return groups
