"""Made-up fleets: any number of servers, some of them unknown, with names that nobody should have."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from workload_forecast.report.columns import Fleet
from workload_forecast.report.facts import Facts, Score
from workload_forecast.schemas import CAPACITY_PLAN, CLASSES, FORECAST, LOAD_QUANTILES

START = datetime(2016, 7, 1)
HOUR = timedelta(hours=1)
LOW, HIGH = 40.0, 80.0

#: What a server may be called: markup, a property of every JavaScript object, the library's own little markup.
HOSTILE = ("</script><img src=x onerror=alert(1)>", "__proto__", '<b>"bold"</b> & <a href="javascript:alert(1)">x</a>')

REASONS = {"in_use": "not low with enough confidence", "shares": "fits beside <another>", "exceeds": "its peak exceeds"}


@dataclass(frozen=True)
class Made:
    """A fleet, and the loads that it was made of, by server: the week before and the expected 48 hours."""

    fleet: Fleet
    week: dict[str, list[float | None]] = field(default_factory=dict)
    expected: dict[str, list[float | None]] = field(default_factory=dict)


def class_of(load: float) -> str:
    return "low" if load <= LOW else "medium" if load <= HIGH else "high"


def names(number: int) -> list[str]:
    return [*HOSTILE, *(f"10.0.{n // 250}.{n % 250}" for n in range(number - len(HOSTILE)))]


def made_up(servers: int = 8, seed: int = 1) -> Made:
    """The last server is one of which nothing is known; of every third an hour of the week is missing."""
    chance = np.random.default_rng(seed)
    called = sorted(names(servers))
    day = 1 + np.sin(np.arange(168 + 48) * np.pi / 12)
    loads = 60 * chance.random((servers, 1)) * day + 10 * chance.random((servers, 216))
    week: dict[str, list[float | None]] = {name: row[:168].tolist() for name, row in zip(called, loads, strict=True)}
    expected: dict[str, list[float | None]] = {
        name: row[168:].tolist() for name, row in zip(called, loads, strict=True)
    }
    expected[called[-1]] = [None] * 48
    for name in called[::3]:
        week[name][100] = None
    return Made(_fleet(called, week, expected), week, expected)


def _fleet(called: list[str], week: dict[str, Any], expected: dict[str, Any]) -> Fleet:
    rows = [(name, hour, load) for name in called for hour, load in enumerate(expected[name])]
    said = [None if load is None else class_of(load) for _, _, load in rows]
    forecast = {
        "server": [name for name, _, _ in rows],
        "hour": [START + hour * HOUR for _, hour, _ in rows],
        "lead_hours": [hour + 1 for _, hour, _ in rows],
        "prediction": said,
        **{f"probability_{name}": [None if one is None else float(one == name) for one in said] for name in CLASSES},
        "confidence": [None if one is None else 1.0 for one in said],
        "source": ["none" if one is None else "model" for one in said],
        "total_load_last_same_hour": [load for _, _, load in rows],
        "expected_load": [load for _, _, load in rows],
        "expected_error": [None if load is None else load / 10 for _, _, load in rows],
        **dict.fromkeys(LOAD_QUANTILES),
        "model_version": "7",
        "origin": "2016-06-30T23",
    }
    history = [(name, START + (n - 168) * HOUR, load) for name in called for n, load in enumerate(week[name])]
    seen = [row for row in history if row[2] is not None]
    past = pl.DataFrame(seen, schema=["server", "hour", "total_load"], orient="row")
    table = pl.DataFrame(forecast).cast({"hour": pl.Datetime("us")}).select(*FORECAST.columns)
    return Fleet(table.sample(fraction=1, shuffle=True, seed=3), _plan(called, expected), past)


def _plan(called: list[str], expected: dict[str, Any]) -> pl.DataFrame:
    rows = []
    for name in called:
        known = [load for load in expected[name] if load is not None]
        peak = max(known, default=None)
        scaled, moved = (peak or 0) > 110, bool(known) and (peak or 0) < LOW
        rows.append(
            {
                "server": name,
                "action": "scale_out" if scaled else "consolidate" if moved else "keep",
                "machine": called[0] if moved else name,
                "reason": "exceeds" if scaled else "shares" if moved else "in_use",
                "confidence": 0.75 if known else None,
                "peak_load": peak,
                "peak_hour": START + known.index(peak) * HOUR if peak is not None else None,
                "machines_missing": 2 if scaled else 0,
                "origin": "2016-06-30T23",
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None).select(*CAPACITY_PLAN.columns)


def facts(**changes: Any) -> Facts:
    given: dict[str, Any] = {
        "model": "fleet <7>",
        "low": LOW,
        "high": HIGH,
        "reasons": REASONS,
        "test": (Score("macro-F1", 0.8, 0.79, 0.75), Score("accuracy", 0.81, None, 0.76)),
        "naive": "same_hour_mean_7d",
        "card": {"Algorithm": "same-hour <mixture>"},
        "limits": ("Nothing is known of <releases>.",),
    }
    return Facts(**{**given, **changes})
