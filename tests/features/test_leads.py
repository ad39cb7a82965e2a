"""Rows of several leads: against the oracle, against the 48-hour table, and blind to everything after their origin."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import narwhals as nw
import pytest

from tests import oracle
from tests.features.helpers import at, features, lead_rows, noisy, series
from tests.frames import Backend, Row, by_key
from workload_forecast.schemas import FEATURES, HORIZON_HOURS, LEAD

KEY = FEATURES.key


def test_every_origin_has_its_leads_as_far_as_the_grid_goes(light_backend: Backend) -> None:
    rows = noisy(120) + noisy(60, server="b")
    found = by_key(lead_rows(light_backend, rows, nw.col("hour_of_day") % 12 == 11), KEY)
    expected = {
        (server, at(hour), hour - origin)
        for server, hours in (("a", 120), ("b", 60))
        for origin in range(hours)
        if at(origin).hour % 12 == 11
        for hour in range(origin + 1, min(origin + HORIZON_HOURS + 1, hours))
    }
    assert found.keys() == expected


def test_rows_of_48_hours_are_those_of_the_feature_table(light_backend: Backend) -> None:
    rows = noisy(420, seed=1)
    found = [r for r in lead_rows(light_backend, rows, nw.col("hour_of_day") == 5) if r[LEAD] == HORIZON_HOURS]
    table = by_key(features(light_backend, rows), KEY)
    assert len(found) > 10
    assert all(row == table[row["server"], row["hour"], HORIZON_HOURS] for row in found)


def idle_at_night(hours: int) -> list[Row]:
    """Nothing from 20 to 8; by day 100, from the last two days on 200."""
    loads = {h: 0.0 if not 8 <= at(h).hour < 20 else 200.0 if h >= hours - 48 else 100.0 for h in range(hours)}
    return series(loads.__getitem__, range(hours))


@pytest.mark.parametrize("rows", [noisy(500, seed=2, observed=0.8), idle_at_night(500)], ids=["noisy", "idle at night"])
def test_the_expected_load_agrees_with_the_oracle(light_backend: Backend, rows: list[Row]) -> None:
    (hours,) = oracle.grid(rows, "unknown").values()
    expected = oracle.Expected({hour: row["total_load"] for hour, row in hours.items()})
    found = [row for row in lead_rows(light_backend, rows, nw.col("hour_of_day") == 23) if row["hour"] > at(440)]
    assert {row[LEAD] for row in found} == set(range(1, HORIZON_HOURS + 1))
    for row in found:
        hour, lead = row["hour"], row[LEAD]
        load, error = expected.at(hour, lead)
        assert load is not None
        assert row["expected_error"] == pytest.approx(error, rel=1e-9), (hour, lead)
        moved = max(0.0, load + expected.moved(hour, lead, error))
        assert row["expected_load"] == pytest.approx(moved, rel=1e-9), (hour, lead)
        assert row["total_load_last_same_hour"] == hours[hour - timedelta(hours=24 if lead <= 24 else 48)]["total_load"]


def test_hours_that_are_always_idle_are_expected_idle_when_the_days_get_busier(light_backend: Backend) -> None:
    found = features(light_backend, idle_at_night(500), extend_hours=HORIZON_HOURS)
    newest = {row["hour"].hour: row["expected_load"] for row in found if row["hour"] > at(499 + 24)}
    assert [newest[hour] for hour in (2, 3, 4, 5, 6)] == [0.0] * 5
    assert 100 < newest[12] < 200


def test_nothing_after_the_origin_enters_and_the_origin_does(light_backend: Backend) -> None:
    original, draw, origin = noisy(460, seed=3, observed=1.0), random.Random(3), at(400)

    def damaged(server: str, first: Any) -> list[Row]:
        return [
            row | {"server": server} | ({"total_load": draw.uniform(1000, 2000)} if row["hour"] >= first else {})
            for row in original
        ]

    rows = [*original, *damaged("after", origin + timedelta(hours=1)), *damaged("at", origin)]
    found = by_key(lead_rows(light_backend, rows, nw.col("hour") == origin), KEY)
    same = [name for name in FEATURES.columns if name not in {"server", "total_load"}]
    for lead in range(1, HORIZON_HOURS + 1):
        hour = origin + timedelta(hours=lead)
        before, after, touched = (found[server, hour, lead] for server in ("a", "after", "at"))
        assert all(before[name] == after[name] for name in same), lead
        assert before["expected_load"] != touched["expected_load"], lead
