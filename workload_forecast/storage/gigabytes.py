"""Limits of memory and disk, as the environment gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from workload_forecast.errors import SettingsError


def gigabytes(variable: str, environment: Mapping[str, str]) -> float | None:
    """Return the gigabytes (10⁹ bytes) that a variable holds; None where it is not set.

    Raises:
        SettingsError: it is not a positive number.
    """
    given = environment.get(variable, "")
    if not given:
        return None
    try:
        number = float(given)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise SettingsError(f"{variable}='{given}' is not a number of gigabytes: set it to one like 50.")
    return number
