"""The formulas of the models, as Spark SQL: the pipeline is made of them, and the compiler knows them again.

A formula is the statement of an ``SQLTransformer``. Numbers that a model brings stand in it as ``{name}``;
:func:`written` puts them in and :func:`numbers_in` takes them out again. Every formula reads *known* columns: the ones
where :data:`UNKNOWN` stands for null and NaN. ``serving/kinds.py`` computes the same in numpy, operation by operation.

The distribution around a forecast load is Laplace's, F, whose scale is the server's own recent error: with the forecast
peak p and the spread s, P(low) = F((low - p) / s) and P(high) = F((p - high) / s), because 1 - F(x) = F(-x).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from workload_forecast.schemas import EXPECTED_ERROR, EXPECTED_LOAD

#: What stands for an unknown value: no load, megabyte or count is negative.
UNKNOWN = -1.0

WEEKLY_MEAN = "total_load_mean_7d"

#: Keeps the error of an idle server from being 0.
LEAST_SPREAD = 1e-9

#: Probabilities that differ by less are the same: which class is named must not hang on the last bit of an ``exp``.
SAME = 1e-12

#: Features that are spreads of the load that is forecast.
_SCALES = ("total_load_std_7d", EXPECTED_ERROR)


def known(name: str) -> str:
    """The column in which :data:`UNKNOWN` stands for an unknown value of a feature."""
    return f"known_{name}"


def is_scale(name: str) -> bool:
    """Whether a feature is a spread of loads."""
    return name in _SCALES


def is_load(name: str) -> bool:
    """Whether a feature is a load of the measure that is forecast: a lag, a mean, an extreme."""
    return name.startswith(("total_load_", EXPECTED_LOAD)) and not is_scale(name)


def statement(*columns: str) -> str:
    """The statement that adds columns to all that are there."""
    return f"SELECT *, {', '.join(columns)} FROM __THIS__"


#: Where there is no expected load at all: the middle, and a spread as wide as the middle class. Close to even odds.
REFERENCE = statement(
    f"CASE WHEN {known(EXPECTED_LOAD)} = {UNKNOWN}D THEN ({{low}}D + {{high}}D) / 2.0D"
    f" ELSE {known(EXPECTED_LOAD)} END AS reference",
    f"CASE WHEN {known(EXPECTED_LOAD)} = {UNKNOWN}D THEN {{high}}D - {{low}}D"
    f" ELSE greatest({known(EXPECTED_ERROR)}, 0.0D) + {LEAST_SPREAD}D END AS spread",
)

_MARGINS = (
    "nanvl(({{low}}D - {peak}) / spread, 0.0D) AS below",
    "nanvl(({peak} - {{high}}D) / spread, 0.0D) AS above",
)
MIXTURE_MARGINS = statement(*(text.format(peak="reference") for text in _MARGINS))
CORRECTED_MARGINS = statement(*(text.format(peak="(reference + spread * correction)") for text in _MARGINS))

_TAIL = "CASE WHEN {x} < 0.0D THEN 0.5D * exp({x}) ELSE 1.0D - 0.5D * exp(-{x}) END"
TAILS = statement(
    f"{_TAIL.format(x='below')} AS probability_low",
    f"{_TAIL.format(x='above')} AS probability_high",
)

#: From the shares of rows above the lower and above the upper threshold, each estimated on its own.
ORDERED = statement(
    "1.0D - least(greatest(above_low, 0.0D), 1.0D) AS probability_low",
    "least(greatest(least(above_high, above_low), 0.0D), 1.0D) AS probability_high",
)

REST = statement("greatest(1.0D - probability_low - probability_high, 0.0D) AS probability_medium")

#: The class with the greatest probability times weight; of several, the first.
DECISION = statement(
    "CASE WHEN {weight_low}D * probability_low >= greatest({weight_medium}D * probability_medium,"
    f" {{weight_high}}D * probability_high) - {SAME}D THEN 0.0D"
    f" WHEN {{weight_medium}}D * probability_medium >= {{weight_high}}D * probability_high - {SAME}D THEN 1.0D"
    " ELSE 2.0D END AS class_index"
)

PROBABILITIES = ("probability_low", "probability_medium", "probability_high")


def fill(names: Iterable[str]) -> str:
    """Known columns of features. nanvl: a pandas frame brings its unknowns as NaN, a table as nulls."""
    return statement(*(f"coalesce(nanvl(CAST({n} AS DOUBLE), {UNKNOWN}D), {UNKNOWN}D) AS {known(n)}" for n in names))


def relative(names: Iterable[str]) -> str:
    """Loads as distances to the expected one, and spreads, in units of the spread; unknown ones as 0: as expected."""
    columns = []
    for name in names:
        if is_load(name) or is_scale(name):
            distance = f"({known(name)} - reference)" if is_load(name) else known(name)
            columns.append(
                f"CASE WHEN {known(name)} = {UNKNOWN}D THEN 0.0D ELSE {distance} / spread END AS relative_{name}"
            )
    return statement(*columns)


def linear(names: Iterable[str]) -> str:
    """What a linear model can take for an unknown value: the weekly mean for a load, 0 for anything else."""
    columns = []
    for name in names:
        instead = f"greatest({known(WEEKLY_MEAN)}, 0.0D)" if is_load(name) else "0.0D"
        columns.append(f"CASE WHEN {known(name)} = {UNKNOWN}D THEN {instead} ELSE {known(name)} END AS linear_{name}")
    return statement(*columns)


def relative_inputs(inputs: Sequence[str]) -> list[str]:
    """The inputs of the relative vector, for those of the plain one."""
    names = [column.removeprefix("known_") for column in inputs]
    return [f"relative_{n}" if is_load(n) or is_scale(n) else c for c, n in zip(inputs, names, strict=True)]


def linear_inputs(inputs: Iterable[str]) -> list[str]:
    """The inputs of the linear vector, for those of the plain one."""
    return [f"linear_{c.removeprefix('known_')}" if c.startswith("known_") else c for c in inputs]


def written(formula: str, numbers: Mapping[str, float]) -> str:
    """A formula with its numbers, which SQL reads as the same 64-bit numbers."""
    return formula.format(**{name: repr(float(number)) for name, number in numbers.items()})


def numbers_in(formula: str, text: str) -> dict[str, float] | None:
    """The numbers of a written formula; None where the text is not that formula."""
    pattern, seen = "", set[str]()
    for part in re.split(r"(\{\w+\})", formula):
        name = part.strip("{}")
        if part.startswith("{"):
            pattern += f"(?P={name})" if name in seen else rf"(?P<{name}>-?\d[\d.e+-]*)"
            seen.add(name)
        else:
            pattern += re.escape(part)
    match = re.fullmatch(pattern, text)
    return {name: float(number) for name, number in match.groupdict().items()} if match else None
