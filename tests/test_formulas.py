from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workload_forecast import formulas
from workload_forecast.schemas import FEATURE_NAMES

NUMBERS = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


@given(low=NUMBERS, high=NUMBERS)
def test_numbers_that_were_written_are_found_again_bit_for_bit(low: float, high: float) -> None:
    text = formulas.written(formulas.REFERENCE, {"low": low, "high": high})
    assert formulas.numbers_in(formulas.REFERENCE, text) == {"low": low, "high": high}
    assert formulas.numbers_in(formulas.MIXTURE_MARGINS, text) is None


def test_a_number_that_stands_twice_must_be_the_same() -> None:
    text = formulas.written(formulas.REFERENCE, {"low": 1, "high": 2})
    assert text.count("1.0D") > 1
    for changed in (text.replace("(1.0D", "(3.0D", 1), text + " ", text.replace("2.0D -", "2.0.0D -")):
        assert formulas.numbers_in(formulas.REFERENCE, changed) is None


@pytest.mark.parametrize(
    ("name", "load", "scale"),
    [
        ("total_load_lag_730h", True, False),
        ("total_load_mean_1d", True, False),
        ("total_load_same_hour_mean_7d", True, False),
        ("expected_load", True, False),
        ("expected_error", False, True),
        ("total_load_std_7d", False, True),
        ("megabytes_transferred_mean_1d", False, False),
        ("observed_hours_7d", False, False),
        ("lead_hours", False, False),
    ],
)
def test_what_is_a_load_and_what_a_spread_of_loads(name: str, load: bool, scale: bool) -> None:
    assert name in FEATURE_NAMES
    assert (formulas.is_load(name), formulas.is_scale(name)) == (load, scale)
