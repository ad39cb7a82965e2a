"""The load model behind the synthetic sessions: classes, cycles, lifetimes, and independence of window and rate."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workload_forecast.sessions.generator import PRESETS
from workload_forecast.sessions.generator.fleet import Fleet, Load, _faded
from workload_forecast.sessions.generator.rows import draw_sessions
from workload_forecast.sessions.generator.texts import digit_texts, number_texts

JUNE, DAYS = date(2016, 6, 1), 30


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet(PRESETS["small"].seed, PRESETS["small"].servers)


@pytest.fixture(scope="module")
def june(fleet: Fleet) -> Load:
    return fleet.load(JUNE, DAYS, 0)


def hourly_peaks(load: Load) -> np.ndarray:
    return np.where(load.active, load.peak, 0)


def classes(load: Load) -> np.ndarray:
    return np.asarray(np.digitize(hourly_peaks(load), [100, 500], right=True))


def test_the_small_preset_fills_all_three_classes(june: Load) -> None:
    shares = np.bincount(classes(june).ravel(), minlength=3) / june.peak.size
    assert np.all((shares > 0.2) & (shares < 0.45)), shares


def test_the_small_full_preset_fills_all_three_classes_over_the_years_and_in_the_test_month() -> None:
    small = PRESETS["full_small"]
    fleet = Fleet(small.seed, small.servers)
    years = [classes(fleet.load(date(year, 3, 1), 10, 0)) for year in range(2009, 2017)]
    for hours in (np.concatenate(years), classes(fleet.load(JUNE, DAYS, 0))):
        shares = np.bincount(hours.ravel(), minlength=3) / hours.size
        assert np.all((shares > 0.15) & (shares < 0.55)), shares


def test_the_future_follows_from_the_past_but_not_exactly(june: Load) -> None:
    found = classes(june)
    same_as_two_days_ago = (found[48:] == found[:-48]).mean()
    assert 0.65 < same_as_two_days_ago < 0.9
    assert (found[1:] == found[:-1]).mean() > same_as_two_days_ago + 0.05  # noise is autocorrelated


def test_load_has_daily_cycles_with_phases_of_their_own(fleet: Fleet, june: Load) -> None:
    by_hour = np.log(june.peak).reshape(DAYS, 24, fleet.servers).mean(axis=0)
    assert np.median(np.ptp(by_hour, axis=0)) > 0.8
    assert len(set(by_hour.argmax(axis=0).tolist())) >= 5


def test_weekends_and_federal_holidays_are_quieter() -> None:
    load = Fleet(42, 200).load(date(2016, 6, 27), 14, 0)
    by_day = np.log(load.peak).reshape(14, 24, 200).mean(axis=(1, 2))
    monday, saturday, fourth_of_july, tuesday = by_day[0], by_day[5], by_day[7], by_day[8]
    assert saturday < monday - 0.1
    assert fourth_of_july < min(monday, tuesday) - 0.2


def test_servers_appear_and_disappear_and_some_are_idle(june: Load) -> None:
    present = june.active.reshape(DAYS, 24, -1).any(axis=1).astype(int)
    # three days without a session at either side of the change: not just an idle server
    appears = [(present[k : k + 3].sum(axis=0) == 0) & (present[k + 3] == 1) for k in range(DAYS - 3)]
    leaves = [(present[k] == 1) & (present[k + 1 : k + 4].sum(axis=0) == 0) for k in range(DAYS - 3)]
    assert np.any(appears)
    assert np.any(leaves)
    share_active = june.active.mean(axis=0)
    assert np.any((share_active > 0.05) & (share_active < 0.6))
    assert np.mean(share_active > 0.97) > 0.5


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 20), st.integers(1, 10), st.integers(1, 9))
def test_any_window_and_any_smaller_fleet_give_the_same_load(offset: int, days: int, servers: int) -> None:
    whole = Fleet(5, 9).load(date(2015, 12, 20), 31, 2)
    part = Fleet(5, servers).load(date(2015, 12, 20) + timedelta(days=offset), days, 2)
    hours = slice(offset * 24, (offset + days) * 24)
    np.testing.assert_array_equal(part.peak, whole.peak[hours, :servers])
    np.testing.assert_array_equal(part.active, whole.active[hours, :servers])
    np.testing.assert_array_equal(part.slots, whole.slots[hours, :servers])


def test_noise_is_the_recursion_of_an_ar1_process() -> None:
    draws = np.random.default_rng(0).standard_normal((1, 400))
    state, expected = 0.0, []
    for draw in draws[0]:
        state = 0.9 * state + np.sqrt(1 - 0.9**2) * draw
        expected.append(state)
    np.testing.assert_allclose(_faded(draws, 0.9, 150)[0], expected[150:], atol=1e-5)


@pytest.mark.parametrize("rate", [1, 3, 40])
def test_the_hourly_peak_does_not_depend_on_the_number_of_sessions(fleet: Fleet, rate: float) -> None:
    load = fleet.load(JUNE, 2, 0)
    sessions = draw_sessions(fleet, load, range(6, 30), rate, np.random.default_rng(1))
    sums: dict[tuple[int, int], float] = {}
    for start, server, value in zip(sessions.start, sessions.server, sessions.load, strict=True):
        sums[int(start) // 300, int(server)] = sums.get((int(start) // 300, int(server)), 0.0) + value
    peaks: dict[tuple[int, int], float] = {}
    for (slot, server), total in sums.items():
        peaks[slot // 12, server] = max(peaks.get((slot // 12, server), 0.0), total)
    active = {(hour, server) for hour in range(6, 30) for server in range(fleet.servers) if load.active[hour, server]}
    assert set(peaks) == active
    for (hour, server), peak in peaks.items():
        assert peak == pytest.approx(load.peak[hour, server])


def test_the_rate_is_the_mean_number_of_sessions_of_an_active_hour() -> None:
    fleet = Fleet(42, 390)
    load = fleet.load(JUNE, 7, 0)
    sessions = draw_sessions(fleet, load, range(7 * 24), 37, np.random.default_rng(1))
    assert len(sessions.start) / load.active.sum() == pytest.approx(37, rel=0.1)
    assert np.all(np.diff(sessions.start) >= 0)


@given(st.lists(st.floats(0, 2e6), min_size=1, max_size=50))
def test_number_texts_are_within_a_thousandth_of_the_number(values: list[float]) -> None:
    heads = number_texts(np.array(values))
    for value, head in zip(values, heads.tolist(), strict=True):
        for tail in (digit_texts()[0], digit_texts()[999]):
            expected = min(value, 999_900)
            assert float(head + tail) == pytest.approx(expected, rel=0.001, abs=0.001 + 1e-9)
        assert len(head) <= 7
