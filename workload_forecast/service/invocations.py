"""MLflow's scoring protocol, read without MLflow.

JSON with exactly one of ``dataframe_split``, ``dataframe_records``, ``instances`` and ``inputs``, and ``params``; or
CSV with a head line. As in the ``python_function``, the parameter ``start`` says that the rows are hourly load.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from workload_forecast.errors import WorkloadForecastError
from workload_forecast.schemas import FEATURE_NAMES, HORIZON_HOURS, HOURLY_LOAD, TEXT, TIMESTAMP
from workload_forecast.service import answers
from workload_forecast.service.bodies import read_hour, read_json
from workload_forecast.service.problems import Refused, invalid
from workload_forecast.service.rows import check_size, matrix
from workload_forecast.serving.forecaster import Answers, Forecaster
from workload_forecast.serving.history import HOUR
from workload_forecast.serving.saved_trees import Doubles

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
PARAMETERS = ("start", "hours", "servers", "load")

#: An empty field of a CSV, and pandas' own word for it.
_EMPTY = ("", "nan", "NaN", "null", "None")


@dataclass(frozen=True)
class Invocation:
    """Rows as columns of values, and the parameters."""

    columns: Mapping[str, Sequence[Any]]
    size: int
    start: datetime | None = None
    hours: int = HORIZON_HOURS
    servers: Sequence[str] = ()
    load: bool = False


def read_invocation(body: bytes, content_type: str, max_rows: int) -> Invocation:
    """Return what is asked.

    Raises:
        Refused: 400, 415 or 422.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/csv":
        return _csv(body, max_rows)
    if kind not in {"application/json", ""}:
        detail = f"Bodies of the type '{kind[:60]}' are not read: send application/json or text/csv."
        raise Refused(415, "wrong-content-type", detail)
    content = read_json(body)
    forms = [name for name in FORMS if name in content] if isinstance(content, dict) else []
    if len(forms) != 1 or set(content) - {*forms, "params"}:
        raise invalid(f"the body must be an object with exactly one of {', '.join(FORMS)}, and perhaps 'params'.")
    (form,) = forms
    columns, size = _split(content[form]) if form == "dataframe_split" else _loose(content[form], form)
    check_size(size, max_rows)
    return Invocation(columns, size, **_parameters(content.get("params") or {}))


def answer(asked: Invocation, forecaster: Forecaster, max_servers: int) -> tuple[Answers, list[dict[str, Any]]]:
    """Answer; the records have the columns of the ``python_function``.

    Raises:
        Refused: 422, the rows cannot be used.
    """
    classes = forecaster.scorer.classes
    try:
        if asked.start is None:
            features = _features(asked)
            found = forecaster.decide(features)
            return found, answers.columns(found, classes, forecaster.loads_of(features) if asked.load else None)
        history = _history(asked)
        servers = list(dict.fromkeys(asked.servers)) or _servers(history)
        if len(servers) > max_servers:
            raise invalid(f"{len(servers)} servers at once are too many: ask for up to {max_servers} at once.")
        prepared = forecaster.prepare(history, asked.start, asked.hours, servers=servers)
        found = forecaster.decide_prepared(prepared, servers, asked.start, asked.hours)
        loads = forecaster.loads(prepared, servers, asked.start, asked.hours) if asked.load else None
    except WorkloadForecastError as problem:
        raise invalid(str(problem)[:1000]) from None
    keys = [(server, asked.start + number * HOUR) for server in servers for number in range(asked.hours)]
    records = answers.columns(found, classes, loads)
    pairs = zip(keys, records, strict=True)
    return found, [{"server": server, "hour": hour.isoformat(), **record} for (server, hour), record in pairs]


def _split(content: Any) -> tuple[dict[str, list[Any]], int]:
    where = "dataframe_split"
    if not isinstance(content, dict) or not {"data", "columns"} <= set(content) <= {"data", "columns", "index"}:
        raise invalid("must be an object with 'columns' and 'data', and perhaps 'index'.", where)
    names, rows = content["columns"], content["data"]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(set(names)) < len(names):
        raise invalid("must be a list of different names.", f"{where}.columns")
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise invalid(f"must be a list of lists of {len(names)} values.", f"{where}.data")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}, len(rows)


def _loose(content: Any, form: str) -> tuple[dict[str, list[Any]], int]:
    """Records, or (``instances``, ``inputs``) an object of columns."""
    if isinstance(content, dict) and form != "dataframe_records":
        sizes = {len(values) if isinstance(values, list) else -1 for values in content.values()}
        if len(sizes) > 1 or -1 in sizes:
            raise invalid("an object of columns must hold lists of the same length.", form)
        return content, next(iter(sizes), 0)
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise invalid("must be a list of objects, a row each.", form)
    names = list(content[0]) if content else []
    known = set(names)
    for number, row in enumerate(content):
        if row.keys() != known:
            raise invalid("must have the same names as the first row.", f"{form}.{number}")
    return {name: [row[name] for row in content] for name in names}, len(content)


def _csv(body: bytes, max_rows: int) -> Invocation:
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise Refused(400, "bad-request", f"The body is not CSV in UTF-8: {problem}.") from None
    if not lines:
        raise invalid("the body is empty: send a line with the names of the columns, then the rows.")
    names, *rows = lines
    rows = [row for row in rows if row]
    if len(set(names)) < len(names):
        raise invalid("the first line must hold different names.")
    check_size(len(rows), max_rows)
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise invalid(f"has {len(row)} fields, the first line {len(names)}.", f"rows.{number}")
    return Invocation({name: [_number(row[i]) for row in rows] for i, name in enumerate(names)}, len(rows))


def _number(text: str) -> float | str | None:
    if text in _EMPTY:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _parameters(params: Any) -> dict[str, Any]:
    if not isinstance(params, dict) or not set(params) <= set(PARAMETERS):
        raise invalid(f"must be an object with some of {', '.join(PARAMETERS)}.", "params")
    start, hours = params.get("start", ""), params.get("hours", HORIZON_HOURS)
    servers = params.get("servers", [])
    if not isinstance(start, str):
        raise invalid("must be a text like 2016-07-01T00:00:00Z.", "params.start")
    if type(hours) is not int or not 1 <= hours <= HORIZON_HOURS:
        raise invalid(f"must be a whole number from 1 to {HORIZON_HOURS}.", "params.hours")
    load = params.get("load", False)
    if type(load) is not bool:
        raise invalid("must be true or false.", "params.load")
    if not isinstance(servers, list) or not all(isinstance(name, str) for name in servers):
        raise invalid("must be a list of texts.", "params.servers")
    return {"start": read_hour(start) if start else None, "hours": hours, "servers": servers, "load": load}


def _features(asked: Invocation) -> Doubles:
    missing = [name for name in FEATURE_NAMES if name not in asked.columns]
    if missing:
        found = ", ".join(list(asked.columns)[:60])[:600]
        raise invalid(f"the feature rows lack the column(s) {', '.join(missing)}; found: {found or 'none'}.")
    columns = (asked.columns[name] for name in FEATURE_NAMES)
    return matrix(list(zip(*columns, strict=True)), FEATURE_NAMES, "rows")


def _servers(history: pl.DataFrame) -> list[str]:
    return sorted(set(history["server"].drop_nulls())) if "server" in history.columns else []


def _history(asked: Invocation) -> pl.DataFrame:
    """The rows as hourly load; columns that it does not have are left aside, missing ones the forecaster names."""
    series = {}
    for name, values in asked.columns.items():
        dtype = HOURLY_LOAD.columns.get(name)
        if dtype is None:
            continue
        right = str if dtype in {TEXT, TIMESTAMP} else (int, float)
        if not all(value is None or (isinstance(value, right) and not isinstance(value, bool)) for value in values):
            raise invalid("must hold texts." if right is str else "must hold numbers or nulls.", name)
        if dtype == TIMESTAMP:
            hours = [None if value is None else read_hour(value) for value in values]
            series[name] = pl.Series(name, hours, dtype=pl.Datetime("us"))
        else:
            series[name] = pl.Series(name, values, dtype=pl.String if dtype == TEXT else pl.Float64, strict=False)
    if not series:
        return pl.DataFrame(schema={"server": pl.String})
    return pl.DataFrame(series)
