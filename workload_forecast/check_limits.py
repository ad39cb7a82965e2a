"""Limits of the data checks (:mod:`workload_forecast.model.checks`): the settings' section ``checks``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

#: JSON has no infinity: null stands for it.
_OrNever = BeforeValidator(lambda value: math.inf if value is None else value)


@dataclass(frozen=True)
class Limit:
    """A value up to ``warn`` is ok, up to ``refuse`` warned of. Infinity (null in a file): never.

    Raises:
        ValueError: not ``0 <= warn <= refuse``.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    warn: Annotated[float, _OrNever]
    refuse: Annotated[float, _OrNever] = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.warn <= self.refuse:
            raise ValueError(f"warn={self.warn}, refuse={self.refuse} must satisfy 0 <= warn <= refuse")


class CheckLimits(BaseModel):
    """Limits of the checks. Values are shares (0 to 1) where nothing else is said.

    In a settings file a limit is ``{"warn": …, "refuse": …}``; what is left out of it keeps its default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    missing_fields: Limit = Field(default=Limit(0.01, 0.5), description="Sessions without start, load or server.")
    unparsable: Limit = Field(
        default=Limit(0.01, 0.5), description="Lines that are no session at all, like another layout's."
    )
    out_of_range: Limit = Field(default=Limit(0.01, 0.5), description="Sessions with a negative or infinite load.")
    imputed_numbers: Limit = Field(default=Limit(0.05), description="Broken secondary numbers, which count as 0.")
    hours_without_data: Limit = Field(default=Limit(0.02), description="Hours in which no server has a load.")
    unknown_hours_train: Limit = Field(
        default=Limit(0.1, 0.95), description="The servers' training hours without a load."
    )
    unknown_hours_test: Limit = Field(default=Limit(0.1, 0.95), description="The same of the test hours.")
    servers_with_long_gaps: Limit = Field(
        default=Limit(0.1), description="Servers unknown for more than `gapHours` in a row."
    )
    gap_hours: int = Field(default=72, ge=1, description="Hours: what a long gap is.")
    largest_class_train: Limit = Field(default=Limit(0.8, 0.995), description="The largest class of the training rows.")
    largest_class_test: Limit = Field(default=Limit(0.9), description="The largest class of the test rows.")
    absent_classes_train: Limit = Field(default=Limit(0, 1), description="Number of classes that no training row has.")
    absent_classes_test: Limit = Field(default=Limit(0), description="Number of classes whose recall cannot be known.")
    class_drift: Limit = Field(
        default=Limit(0.1), description="Rows that must change class to make the two mixes equal."
    )
    level_drift: Limit = Field(
        default=Limit(0.25), description="Population stability index of loads relative to their server's."
    )
    fleet_shift: Limit = Field(
        default=Limit(0.5), description="Spreads by which the middle server's median load has moved."
    )
    shifted_servers: Limit = Field(
        default=Limit(0.2), description="Servers whose median has moved by more than `shiftSpreads`."
    )
    shift_spreads: float = Field(default=1.0, gt=0, description="Training spreads: what a shift of a server is.")
    unseen_servers: Limit = Field(
        default=Limit(0.2), description="Servers of the test period without a load in training."
    )
    duplicate_servers: Limit = Field(default=Limit(0, 0.5), description="Servers whose series is that of another one.")

    @model_validator(mode="before")
    @classmethod
    def _overlay(cls, given: Any) -> Any:
        """Complete limits of which a file gives one number only."""
        if not isinstance(given, dict):
            return given
        defaults = {to_camel(name): field.default for name, field in cls.model_fields.items()}
        return {
            name: {**asdict(defaults[name]), **value}
            if isinstance(value, dict) and isinstance(defaults.get(name), Limit)
            else value
            for name, value in given.items()
        }
