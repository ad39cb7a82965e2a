"""Quantiles of the load that is to come, in numbers: in 90 of 100 hours the load is at most ``load_p90``.

Loads lie around the expected one, by a number of the server's usual errors. Which number holds how many of the hours
is counted in the last days of a training (``model/measured_quantiles.py``): the distances that forecasts of the same
kind had lately, in units that make servers alike, and no assumption about their distribution (split conformal
prediction, locally weighted; Lei et al., *Distribution-free predictive inference for regression*, 2018). The compiled
model carries the numbers, whatever its algorithm: expected load and usual error are features, not answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workload_forecast.schemas import LOAD_LEVELS, LOAD_QUANTILES

Doubles = npt.NDArray[np.float64]

#: What the share of hours is called whose load was not above a quantile; for each level.
BELOW = tuple(f"load_below_p{level}" for level in LOAD_LEVELS)


@dataclass(frozen=True)
class LoadQuantiles:
    """How far loads lie from the expected one. Without factors nothing was counted, and every quantile is unknown."""

    #: Added to every usual error, in units of the load: what an idle server did once is not a thousand errors.
    least_error: float = 0.0
    #: For each of :data:`~workload_forecast.schemas.LOAD_LEVELS`: errors to add to the expected load; never falling.
    factors: tuple[float, ...] = ()

    def of(self, expected: Doubles, error: Doubles) -> dict[str, Doubles]:
        """Return the quantiles of loads.

        Args:
            expected: load of each row; NaN: unknown.
            error: the usual one of each row's server; NaN: unknown.

        Returns:
            For each of :data:`~workload_forecast.schemas.LOAD_QUANTILES` a number a row, in the unit of the load and
            not below 0; NaN where load or error is unknown.
        """
        factors = self.factors or (np.nan,) * len(LOAD_LEVELS)
        unit = error + self.least_error
        return {
            name: np.maximum(expected + factor * unit, 0.0)
            for name, factor in zip(LOAD_QUANTILES, factors, strict=True)
        }

    def errors(self, level: int) -> float | None:
        """How many usual errors above the expected load a quantile lies, not below 0; None: nothing was counted."""
        return max(self.factors[LOAD_LEVELS.index(level)], 0.0) if self.factors else None

    @property
    def problems(self) -> list[str]:
        """What cannot be right."""
        factors = np.array(self.factors)
        right = not self.factors or (len(factors) == len(LOAD_LEVELS) and (np.diff(factors) >= 0).all())
        possible = np.isfinite(factors).all() and np.isfinite(self.least_error) and self.least_error >= 0
        return [] if right and possible else [f"load quantiles {self.factors}, {self.least_error}"]
