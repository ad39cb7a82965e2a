"""Settings of the generator: what is refused, and which files follow from what is accepted."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workload_forecast.errors import SettingsError
from workload_forecast.sessions.generator import PRESETS, GeneratorSettings
from workload_forecast.sessions.generator.settings import plan_files

GOOD = GeneratorSettings(date(2016, 6, 1), date(2016, 6, 30), servers=3, sessions_per_server_hour=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"end": date(2016, 5, 31)}, "end 2016-05-31 is before start 2016-06-01"),
        ({"start": date(1969, 12, 31)}, "between the years 1970 and 2100"),
        ({"servers": 0}, "servers is 0; it must be from 1 to 50,000"),
        ({"sessions_per_server_hour": 0.5}, "sessions_per_server_hour is 0.5; it must be from 1"),
        ({"sessions_per_server_hour": float("nan")}, "sessions_per_server_hour is nan"),
        ({"copies": 8}, "copies is 8; it must be from 1 to 7"),
        ({"dirt_rate": 1.1}, "dirt_rate is 1.1"),
        ({"dirt_rate": -0.1}, "dirt_rate is -0.1"),
        ({"seed": -1}, "seed is -1"),
        ({"layout": "sessions15"}, "layout 'sessions15' is unknown; choose one of sessions16, sessions17"),
        ({"servers": 50_000, "sessions_per_server_hour": 100}, "5,000,000 sessions an hour"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as raised:
        replace(GOOD, **change)
    assert words in str(raised.value)


def test_files_of_a_month_are_two_halves_in_as_many_copies_as_asked() -> None:
    paths = [plan.path for plan in plan_files(replace(GOOD, copies=7))]
    assert paths == [f"2016/06/{half}/{copy}/request.csv" for half in "ab" for copy in range(7)]


@given(st.dates(date(2000, 1, 1), date(2020, 1, 1)), st.integers(0, 400))
def test_files_cover_every_day_once_and_stay_within_their_half_month(start: date, extra: int) -> None:
    end = start + timedelta(days=extra)
    plans = plan_files(replace(GOOD, start=start, end=end))
    days = [plan.first + timedelta(days=k) for plan in plans for k in range((plan.last - plan.first).days + 1)]
    assert days == [start + timedelta(days=k) for k in range(extra + 1)]
    for plan in plans:
        assert (plan.first.year, plan.first.month) == (plan.last.year, plan.last.month)
        assert (plan.first.day <= 15) == (plan.last.day <= 15) == ("/a/" in plan.path)


def test_presets_have_the_promised_volume() -> None:
    assert 60e6 < PRESETS["small"].estimated_bytes < 120e6
    assert PRESETS["full_small"].estimated_bytes < 1.3e9  # an upper estimate: idle hours are not subtracted
    assert PRESETS["full_small"].copies == 7
    assert (PRESETS["full_small"].start, PRESETS["full_small"].end) == (date(2009, 1, 1), date(2016, 6, 30))
    assert 1.3e9 < PRESETS["original"].estimated_bytes < 1.8e9
    assert 0.8e12 < PRESETS["original_full"].estimated_bytes < 1.2e12
