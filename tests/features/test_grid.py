"""The complete grid."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.frames import Backend, Row, assert_same_rows
from tests.strategies import START, hourly_row, hourly_tables
from workload_forecast.errors import SettingsError
from workload_forecast.features.calendar import calendar_table
from workload_forecast.features.grid import complete_grid
from workload_forecast.schemas import CALENDAR, DOUBLE, HOURLY_LOAD, MEASURES, TEXT, TIMESTAMP, Table

GRID = Table("grid", {"server": TEXT, "hour": TIMESTAMP, **dict.fromkeys(MEASURES, DOUBLE)}, key=("server", "hour"))
WINDOW = calendar_table(START - timedelta(days=2), START + timedelta(days=200)).to_pylist()


def at(hours: int) -> datetime:
    return START + timedelta(hours=hours)


def grid(backend: Backend, rows: list[Row], calendar: list[Row] = WINDOW, **options: Any) -> list[Row]:
    return backend.run(complete_grid, (HOURLY_LOAD, rows), (CALENDAR, calendar), **options)


def loads(rows: list[Row], server: str = "a") -> dict[datetime, float | None]:
    return {row["hour"]: row["total_load"] for row in rows if row["server"] == server}


GAP = [hourly_row("a", at(5), 1.0), hourly_row("a", at(8), 2.0), hourly_row("b", at(6), 3.0)]


def test_a_gap_is_unknown(backend: Backend) -> None:
    found = grid(backend, GAP, missing_hours="unknown")
    assert loads(found) == {at(5): 1.0, at(6): None, at(7): None, at(8): 2.0}
    assert loads(found, "b") == {at(6): 3.0}


def test_a_gap_is_idle(backend: Backend) -> None:
    found = grid(backend, GAP, missing_hours="zero")
    assert loads(found) == {at(5): 1.0, at(6): 0.0, at(7): 0.0, at(8): 2.0}
    assert all(row[name] == 0.0 for row in found if row["hour"] == at(7) for name in MEASURES)


@pytest.mark.parametrize("missing_hours", ["unknown", "zero"])
def test_hours_beyond_a_server_s_last_one_are_always_unknown(backend: Backend, missing_hours: str) -> None:
    found = grid(backend, GAP, missing_hours=missing_hours, extend_hours=2)
    assert max(loads(found)) == at(10)
    assert [loads(found)[at(h)] for h in (8, 9, 10)] == [2.0, None, None]
    assert loads(found, "b") == {at(6): 3.0, at(7): None, at(8): None}
    assert all(row[name] is None for row in found if row["hour"] == at(9) for name in MEASURES)


def test_the_calendar_bounds_the_grid(light_backend: Backend) -> None:
    calendar = calendar_table(at(6), at(9)).to_pylist()
    found = grid(light_backend, GAP, calendar, missing_hours="unknown", extend_hours=48)
    assert sorted(loads(found)) == [at(6), at(7), at(8), at(9)]


def test_unknown_words_and_negative_extensions_are_errors(light_backend: Backend) -> None:
    with pytest.raises(SettingsError, match="missing_hours must be 'unknown' or 'zero', not 'idle'"):
        grid(light_backend, GAP, missing_hours="idle")
    with pytest.raises(SettingsError, match="extend_hours must be 0 or more, not -1"):
        grid(light_backend, GAP, missing_hours="zero", extend_hours=-1)


@settings(max_examples=40, deadline=None)
@given(rows=hourly_tables(), missing_hours=st.sampled_from(["unknown", "zero"]), extend_hours=st.integers(0, 50))
def test_agrees_with_the_oracle(light_backend: Backend, rows: list[Row], missing_hours: str, extend_hours: int) -> None:
    expected = [
        {"server": server, "hour": hour} | measures
        for server, hours in oracle.grid(rows, missing_hours, extend_hours).items()
        for hour, measures in hours.items()
    ]
    found = grid(light_backend, rows, missing_hours=missing_hours, extend_hours=extend_hours)
    assert_same_rows(found, expected, GRID, rel=0.0)
