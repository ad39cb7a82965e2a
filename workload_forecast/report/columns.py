"""A fleet's forecast, plan and last week as columns of numbers, packed for the page's script (``data.js``).

Packed are, one behind the other::

    4 bytes   length of the head, little-endian
    head      JSON in UTF-8, filled up with spaces to a multiple of 4
    arrays    little-endian, each filled up to a multiple of 4; head["arrays"][name] is [type, offset, length]

Ten thousand servers are two and a half million loads. A load is stored as a whole number of units, the unit being a
:data:`LEVELS`-th of the server's greatest load: finer than any screen, and half of what a float takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workload_forecast.errors import DataError
from workload_forecast.schemas import CLASSES, EXPECTED_ERROR, EXPECTED_LOAD, PRIMARY_MEASURE

#: Hours before the forecast whose load is shown.
HISTORY_HOURS = 168

#: Units of a server's greatest load; and what stands for an unknown load, class or hour.
LEVELS = 4_095
UNKNOWN_LOAD, UNKNOWN_CLASS, UNKNOWN_HOUR = 65_535, len(CLASSES), 255

HOUR = timedelta(hours=1)

Columns = dict[str, npt.NDArray[Any]]
Loads = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fleet:
    """What the page shows of the servers.

    Attributes:
        forecast: :data:`~workload_forecast.schemas.FORECAST` of one origin, each server with the same hours.
        plan: :data:`~workload_forecast.schemas.CAPACITY_PLAN` for it.
        history: ``server``, ``hour``, ``total_load`` of the hours before it; others than the last week are left out.
        idle_from: the hour from which on an hour without a row was an idle one, by server; of a server that is not
            named it is unknown.
    """

    forecast: pl.DataFrame
    plan: pl.DataFrame
    history: pl.DataFrame
    idle_from: Mapping[str, datetime] = field(default_factory=dict)


def pack_fleet(fleet: Fleet, facts: Mapping[str, Any]) -> bytes:
    """Return the packed columns of a fleet.

    Args:
        fleet: the tables.
        facts: what else the head is to say, in JSON's types.

    Raises:
        DataError: the forecast is empty or not of one origin with the same hours for each server, or the plan is one
            of other servers.
    """
    forecast, plan = fleet.forecast.sort("server", "hour"), fleet.plan.sort("server")
    servers, hours = forecast["server"].unique(maintain_order=True), forecast["hour"].unique().sort()
    whole = len(forecast) == len(servers) * len(hours) and forecast["hour"].to_list() == [*hours] * len(servers)
    if forecast.is_empty() or not whole or forecast["origin"].n_unique() != 1 or not servers.equals(plan["server"]):
        raise DataError("a report needs the forecast and the plan of one origin and the same servers. Forecast again.")
    shape, start = (len(servers), len(hours)), hours[0]
    history = _last_week(fleet, servers, start)
    expected, error = (_matrix(forecast, name, shape) for name in (EXPECTED_LOAD, EXPECTED_ERROR))
    unit, steps = _in_units({"history": history, "expected": expected, "error": error})
    answered, sources = _codes(forecast["source"])
    actions, action_names = _codes(plan["action"])
    reasons, reason_names = _codes(plan["reason"])
    columns = {
        "classes": _codes(forecast["prediction"], CLASSES)[0],
        "answered": answered,
        **steps,
        "unit": unit.astype(np.float32),
        "action": actions,
        "reason": reasons,
        "machine": plan["machine"].cast(pl.Enum(servers)).to_physical().to_numpy().astype(np.uint32),
        "confidence": plan["confidence"].cast(pl.Float32).fill_null(float("nan")).to_numpy(),
        "peak": plan["peak_load"].cast(pl.Float32).fill_null(float("nan")).to_numpy(),
        "peakHour": (plan["peak_hour"] - start).dt.total_hours().fill_null(UNKNOWN_HOUR).to_numpy().astype(np.uint8),
        "missing": plan["machines_missing"].to_numpy().astype(np.uint32),
    }
    words = {"classNames": CLASSES, "sources": sources, "actions": action_names, "reasons": reason_names}
    sizes = {"hours": len(hours), "historyHours": HISTORY_HOURS, "start": f"{start.isoformat()}Z"}
    return pack({**facts, **words, **sizes, "servers": servers.to_list()}, columns)


def pack(head: Mapping[str, Any], columns: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return head and columns as one piece, see above."""
    places, parts, offset = {}, [], 0
    for name, values in columns.items():
        data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        places[name] = [values.dtype.name, offset, values.size]
        parts.append(data + bytes(-len(data) % 4))
        offset += len(parts[-1])
    text = json.dumps({**head, "arrays": places}, allow_nan=False, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([len(text).to_bytes(4, "little"), text, *parts])


def _last_week(fleet: Fleet, servers: pl.Series, start: datetime) -> Loads:
    """Servers × :data:`HISTORY_HOURS`, what is not known is NaN."""
    first = start - HISTORY_HOURS * HOUR
    places = pl.DataFrame({"server": servers}).with_row_index("row")
    rows = fleet.history.filter(pl.col("hour") >= first, pl.col("hour") < start).join(places, on="server")
    loads = np.full((len(servers), HISTORY_HOURS), np.nan)
    loads[rows["row"].to_numpy(), (rows["hour"] - first).dt.total_hours().to_numpy()] = rows[PRIMARY_MEASURE].to_numpy()
    since = [(fleet.idle_from[name] - first) // HOUR if name in fleet.idle_from else HISTORY_HOURS for name in servers]
    idle = np.isnan(loads) & (np.arange(HISTORY_HOURS) >= np.array(since)[:, np.newaxis])
    return np.where(idle, 0.0, loads)


def _matrix(rows: pl.DataFrame, name: str, shape: tuple[int, int]) -> Loads:
    return np.asarray(rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy().reshape(shape))


def _in_units(loads: Mapping[str, Loads]) -> tuple[npt.NDArray[np.float64], Columns]:
    """Return each server's unit, and its loads as numbers of it; a load below 0 is none, as in the plan."""
    known = {name: np.where(np.isfinite(values), np.maximum(values, 0.0), np.nan) for name, values in loads.items()}
    greatest = np.max([np.nan_to_num(values).max(axis=1) for values in known.values()], axis=0)
    unit = np.where(greatest > 0, greatest, 1.0) / LEVELS
    steps = {name: np.rint(values / unit[:, np.newaxis]) for name, values in known.items()}
    return unit, {name: np.nan_to_num(values, nan=UNKNOWN_LOAD).astype(np.uint16) for name, values in steps.items()}


def _codes(values: pl.Series, words: tuple[str, ...] = ()) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Return each word's position among the words, by default those that occur, and these; a null is one behind."""
    words = words or tuple(values.drop_nulls().unique().sort())
    codes = values.cast(pl.Enum(words)).to_physical().fill_null(len(words))
    return codes.to_numpy().astype(np.uint8), words
