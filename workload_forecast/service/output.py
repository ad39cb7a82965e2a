"""Forecasts as text: a table for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from workload_forecast.schemas import CLASSES
from workload_forecast.service.client_answers import Forecast, forecast_rows, utc_text

_COLUMNS = (
    "server",
    "hour",
    "prediction",
    *(f"probability_{name}" for name in CLASSES),
    "confidence",
    "source",
    "model",
)
#: What stands above the columns of the table; the model stands below it.
_TITLES = ("server", "hour (UTC)", "class", *CLASSES, "confidence", "source")


def shown(forecasts: Iterable[Forecast], form: str) -> str:
    """Return one row an hour, as ``table``, ``json`` (a list of objects) or ``csv``, with a line's end at the end."""
    found = list(forecasts)
    if form == "table":
        return _table(found)
    rows = [{**row, "hour": utc_text(row["hour"])} for row in forecast_rows(found)]
    if form == "json":
        return json.dumps(rows, indent=1) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _table(forecasts: list[Forecast]) -> str:
    rows = [_TITLES, *(tuple(map(_cell, _COLUMNS[:-1], _values(row))) for row in forecast_rows(forecasts))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = range(3, 4 + len(CLASSES))
    lines = [
        "  ".join(text.rjust(width) if at in numbers else text.ljust(width) for at, (text, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    made = sorted({(forecast.model, forecast.newest) for forecast in forecasts})
    notes = [f"{model}, with what was known up to {newest:%Y-%m-%d %H:%M}" for model, newest in made]
    return "".join(f"{line.rstrip()}\n" for line in (*lines, "", *notes))


def _values(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in _COLUMNS[:-1]]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "hour":
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
