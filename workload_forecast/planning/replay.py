"""What would have happened: a plan of the past, held against the loads that came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from workload_forecast.planning.packing import Profiles, overloads
from workload_forecast.planning.plan import SCALE_OUT
from workload_forecast.schemas import EXPECTED_LOAD, HORIZON_HOURS, LAST_SAME_HOUR, PRIMARY_MEASURE


@dataclass(frozen=True)
class Outcome:
    """What came of one plan.

    Attributes:
        servers: that were planned for.
        machines: that were needed.
        overloads: machine-hours above the capacity.
        avoidable: those of them that keeping every server on its machine would not have had.
        scale_outs: servers that were to get more machines.
        needed: of these, how many exceeded what a machine can take.
        missed: servers that exceeded it and were not to get more.
    """

    servers: int
    machines: int
    overloads: int
    avoidable: int
    scale_outs: int
    needed: int
    missed: int


def naive(forecast: pl.DataFrame, low: float, high: float) -> pl.DataFrame:
    """Return the forecast that says of each hour what the newest known load at that time of the day was.

    The usual errors stay as they are, so that both forecasts leave the same room.

    Args:
        forecast: :data:`~workload_forecast.schemas.FORECAST`.
        low, high: where the classes meet.
    """
    load = pl.col(LAST_SAME_HOUR)
    return forecast.with_columns(
        load.alias(EXPECTED_LOAD),
        probability_low=(load <= low).cast(pl.Float64),
        probability_high=(load > high).cast(pl.Float64),
    )


def outcome(plan: pl.DataFrame, actual: pl.DataFrame, capacity: float, usable: float) -> Outcome:
    """Hold a plan against the loads of its hours.

    Args:
        plan: :data:`~workload_forecast.schemas.CAPACITY_PLAN` of one origin.
        actual: columns ``server``, ``hour``, ``total_load`` of the plan's hours; an hour without a row had no load.
        capacity: of a machine.
        usable: what was to be used of it.
    """
    ordered = plan.sort("server")
    names = ordered["server"].to_list()
    at = {name: position for position, name in enumerate(names)}
    machine = np.array([at[name] for name in ordered["machine"]])
    loads = _matrix(actual, at)
    peaks = loads.max(axis=1, initial=0.0)
    scaled = (ordered["action"] == SCALE_OUT).to_numpy()
    found, kept = overloads(loads, machine, capacity), overloads(loads, np.arange(len(names)), capacity)
    return Outcome(
        servers=len(names),
        machines=len({*machine.tolist()}),
        overloads=found,
        avoidable=found - kept,
        scale_outs=int(scaled.sum()),
        needed=int((scaled & (peaks > usable)).sum()),
        missed=int((~scaled & (peaks > usable)).sum()),
    )


def trade_off(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return what plans save and what they cost, by how careful they are.

    Args:
        outcomes: a row a plan: ``forecast``, ``errors`` that were reckoned with, and the fields of :class:`Outcome`.

    Returns:
        By forecast and errors: ``machines_saved`` as a share of the machines; ``overloads`` that would not have been
        without the moves, as a share of the hours of the machines that were needed.
    """
    sums = pl.col("servers", "machines", "avoidable").sum()
    return (
        outcomes.group_by("forecast", "errors")
        .agg(sums)
        .sort("forecast", "errors")
        .select(
            "forecast",
            "errors",
            machines_saved=1 - pl.col("machines") / pl.col("servers"),
            overloads=pl.col("avoidable") / (pl.col("machines") * HORIZON_HOURS),
        )
    )


def saved_at(curve: pl.DataFrame, overload_share: float) -> float:
    """Return the greatest share of the machines that one forecast's plans save at a share of overloads.

    Between two points of the curve it is interpolated; NaN where all its plans have more overloads.

    Args:
        curve: rows of :func:`trade_off` of one forecast.
        overload_share: that may not be exceeded.
    """
    points = curve.sort("overloads", "machines_saved")
    found, best = points["overloads"].to_numpy(), points["machines_saved"].cum_max().to_numpy()
    last_of_equals = np.append(found[1:] > found[:-1], [True])  # of points with as many overloads, the best
    return float(np.interp(overload_share, found[last_of_equals], best[last_of_equals], left=np.nan))


def _matrix(actual: pl.DataFrame, at: dict[str, int]) -> Profiles:
    hours = {hour: position for position, hour in enumerate(actual["hour"].unique().sort())}
    loads = np.zeros((len(at), max(len(hours), 1)))
    for server, hour, load in actual.select("server", "hour", PRIMARY_MEASURE).drop_nulls().iter_rows():
        if server in at:
            loads[at[server], hours[hour]] = load
    return loads
