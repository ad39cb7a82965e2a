"""Forecasts as text: a table for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from workload_forecast.schemas import (
    CLASSES,
    EXPECTED_ERROR,
    EXPECTED_LOAD,
    LAST_SAME_HOUR,
    LOAD_NUMBERS,
    LOAD_QUANTILES,
)
from workload_forecast.service.client_answers import Forecast, forecast_rows, utc_text

#: What stands above the columns of the table; the model stands below it.
_TITLES = {
    "server": "server",
    "hour": "hour (UTC)",
    "prediction": "class",
    **{f"probability_{name}": name for name in CLASSES},
    "confidence": "confidence",
    "source": "source",
    LAST_SAME_HOUR: "same hour",
    EXPECTED_LOAD: "expected",
    EXPECTED_ERROR: "error",
    **{name: name.removeprefix("load_") for name in LOAD_QUANTILES},
}
_TEXTS = ("server", "hour", "prediction", "source")


def shown(forecasts: Iterable[Forecast], form: str) -> str:
    """Return one row an hour, as ``table``, ``json`` (a list of objects) or ``csv``, with a line's end at the end."""
    found = list(forecasts)
    if form == "table":
        return _table(found)
    rows = [{**row, "hour": utc_text(row["hour"])} for row in forecast_rows(found)]
    if form == "json":
        return json.dumps(rows, indent=1) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _table(forecasts: list[Forecast]) -> str:
    hours = forecast_rows(forecasts)
    names = [name for name in hours[0] if name in _TITLES]
    rows = [[_TITLES[name] for name in names], *([_cell(name, hour[name]) for name in names] for hour in hours)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    columns = list(zip(names, widths, strict=True))
    lines = [
        "  ".join(
            text.ljust(width) if name in _TEXTS else text.rjust(width)
            for text, (name, width) in zip(row, columns, strict=True)
        )
        for row in rows
    ]
    made = sorted({(forecast.model, forecast.newest) for forecast in forecasts})
    notes = [f"{model}, with what was known up to {newest:%Y-%m-%d %H:%M}" for model, newest in made]
    return "".join(f"{line.rstrip()}\n" for line in (*lines, "", *notes))


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "hour":
        return f"{value:%Y-%m-%d %H:%M}"
    if name in LOAD_NUMBERS:
        return f"{value:.5g}" if value < 1e5 else f"{value:.0f}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
