"""The capacity plan: what to do with each server, and why.

===============  ==============================================================================================
action           when
===============  ==============================================================================================
``consolidate``  the server is expected to be low with enough confidence, and another machine has room for it in
                 every hour; ``machine`` is that machine
``scale_out``    its expected peak exceeds what a machine can take, with enough confidence that it is high then;
                 ``machines_missing`` says how many machines' worth is missing
``keep``         all others; ``reason`` says why
===============  ==============================================================================================

What is reckoned with in an hour is the expected load and a number of its usual errors, for a machine with several
servers those of their sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from workload_forecast.errors import DataError, ModelError
from workload_forecast.load_quantiles import LoadQuantiles
from workload_forecast.plan_limits import PlanLimits
from workload_forecast.planning.packing import Profiles, fewest_machines, pack
from workload_forecast.schemas import CAPACITY_PLAN, EXPECTED_ERROR, EXPECTED_LOAD

Flags = npt.NDArray[np.bool_]

CONSOLIDATE, KEEP, SCALE_OUT = "consolidate", "keep", "scale_out"

REASONS = {
    "shares": "expected to be low; its load fits beside another server's in every hour",
    "hosts": "other servers can move to it",
    "no_room": "expected to be low, but no other machine has room in every hour",
    "in_use": "not low with enough confidence",
    "pinned": "must keep its machine, by the settings",
    "unknown": "too little is known of it",
    "exceeds": "its expected peak exceeds what a machine can take",
    "may_exceed": "its expected peak exceeds what a machine can take, but not with enough confidence",
}


@dataclass(frozen=True)
class Plan:
    """A plan and what it amounts to.

    Attributes:
        table: :data:`~workload_forecast.schemas.CAPACITY_PLAN`, by server.
        capacity: of a machine, as it was reckoned with.
        machines: that are needed after the moves, of as many as there are servers.
        fewest: that could be needed at least, if every server could move.
        missing: machines' worth that is missing.
    """

    table: pl.DataFrame
    capacity: float
    machines: int
    fewest: int
    missing: int


@dataclass(frozen=True)
class _Fleet:
    """A forecast as arrays: servers by name, and servers × hours; what is not known is NaN."""

    servers: npt.NDArray[np.str_]
    hours: npt.NDArray[np.datetime64]
    loads: Profiles  #: that are expected
    errors: Profiles  #: of these, that are reckoned with
    low: Profiles
    high: Profiles

    @property
    def reckoned(self) -> Profiles:
        """What one server by itself needs room for."""
        return self.loads + self.errors

    @property
    def unknown(self) -> Flags:
        """Of which servers too little is known."""
        return np.asarray(np.isnan(self.loads).any(axis=1) | np.isnan(self.low).any(axis=1))


def with_quantile(limits: PlanLimits, quantiles: LoadQuantiles) -> PlanLimits:
    """Return limits in which the quantile that is wanted, if any, is a number of errors.

    Args:
        limits: of the settings.
        quantiles: that the model carries.

    Raises:
        ModelError: a quantile is wanted, and the model knows of none.
    """
    if limits.quantile is None:
        return limits
    errors = quantiles.errors(limits.quantile)
    if errors is None:
        raise ModelError(
            f"planning.quantile={limits.quantile} asks for what the model does not know: its training counted no "
            "quantiles. Train again and promote the new version, or give planning.errors instead."
        )
    return limits.model_copy(update={"errors": errors})


def make_plan(forecast: pl.DataFrame, limits: PlanLimits, greatest_load: float) -> Plan:
    """Plan for the servers of one forecast.

    Args:
        forecast: :data:`~workload_forecast.schemas.FORECAST` of one origin: each server with the same hours.
        limits: of the settings, by :func:`with_quantile`.
        greatest_load: of an hour, that any server had; the capacity of a machine where the limits name none.

    Raises:
        DataError: the forecast is empty, or is not of one origin with the same hours for each server; or the capacity
            is unknown.
    """
    fleet = _read(forecast, limits.errors)
    capacity = limits.machine_capacity or greatest_load
    if not capacity > 0:
        raise DataError("no server ever had a load, so a machine's capacity is unknown: set planning.machineCapacity.")
    usable = capacity * (1 - limits.margin)
    too_much = fleet.reckoned > usable  # which no unknown load is
    exceeds = too_much.any(axis=1)
    low, high = np.nan_to_num(fleet.low.mean(axis=1)), _mean_where(fleet.high, too_much)
    likely_low, likely_high = low >= limits.minimum_confidence, high >= limits.minimum_confidence
    pinned = np.isin(fleet.servers, limits.pinned)
    machine = _pack_groups(fleet, usable, likely_low & ~pinned & ~fleet.unknown & ~exceeds, limits)
    moved, scaled = machine != np.arange(len(machine)), exceeds & likely_high
    hosts = np.isin(np.arange(len(machine)), machine[moved])
    reason = np.select(
        [fleet.unknown, moved, scaled, exceeds, hosts, pinned, likely_low],
        ["unknown", "shares", "exceeds", "may_exceed", "hosts", "pinned", "no_room"],
        "in_use",
    )
    peaks = np.nan_to_num(fleet.reckoned)
    missing = np.where(scaled, np.ceil(np.round(peaks.max(axis=1) / usable, 9)) - 1, 0).astype(np.int64)
    known = pl.when(pl.col("reason") != "unknown")
    table = pl.DataFrame(
        {
            "server": fleet.servers,
            "action": np.select([moved, scaled], [CONSOLIDATE, SCALE_OUT], KEEP),
            "machine": fleet.servers[machine],
            "reason": reason,
            "confidence": np.where(exceeds, high, low),
            "peak_load": peaks.max(axis=1),
            "peak_hour": fleet.hours[peaks.argmax(axis=1)],
            "machines_missing": missing,
        }
    ).with_columns(known.then(pl.col("confidence", "peak_load", "peak_hour")), origin=pl.lit(forecast["origin"][0]))
    known_ones = ~fleet.unknown
    fewest = fewest_machines(fleet.loads[known_ones], fleet.errors[known_ones], usable) + int(fleet.unknown.sum())
    return Plan(table.select(*CAPACITY_PLAN.columns), capacity, len({*machine.tolist()}), fewest, int(missing.sum()))


def _read(forecast: pl.DataFrame, errors: float) -> _Fleet:
    rows = forecast.sort("server", "hour")
    servers, hours = rows["server"].unique(maintain_order=True), rows["hour"].unique().sort()
    whole = rows["server"].len() == len(servers) * len(hours) and (rows["hour"].to_list() == [*hours] * len(servers))
    if rows.is_empty() or not whole or rows["origin"].n_unique() != 1:
        raise DataError("a plan needs the forecast of one origin, with the same hours for each server. Forecast again.")
    names = (EXPECTED_LOAD, EXPECTED_ERROR, "probability_low", "probability_high")
    load, error, low, high = (rows[name].to_numpy().reshape(len(servers), len(hours)) for name in names)
    allowed = errors * np.nan_to_num(error)
    return _Fleet(servers.to_numpy().astype(str), hours.to_numpy(), np.maximum(load, 0.0), allowed, low, high)


def _pack_groups(fleet: _Fleet, usable: float, movable: Flags, limits: PlanLimits) -> npt.NDArray[np.int64]:
    """Pack the servers of each group by themselves; nobody joins a server of which too little is known."""
    group_of = {server: group for group, named in limits.groups.items() for server in named}
    groups = np.array([group_of.get(server, "") for server in fleet.servers.tolist()])
    loads = np.where(fleet.unknown[:, np.newaxis], np.inf, fleet.loads)
    machine = np.arange(len(groups))
    for group in sorted({*groups.tolist()}):
        own = np.flatnonzero(groups == group)
        machine[own] = own[pack(loads[own], fleet.errors[own], usable, movable[own])]
    return machine


def _mean_where(values: Profiles, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The mean of each row's chosen values, 0 where none is chosen."""
    sums = np.where(chosen, np.nan_to_num(values), 0.0).sum(axis=1)
    return np.asarray(sums / np.maximum(chosen.sum(axis=1), 1))
