from __future__ import annotations

from datetime import datetime, timedelta, timezone

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workload_forecast.config import load_settings
from workload_forecast.errors import SettingsError
from workload_forecast.model.folds import FoldPlan, folds_before_test, in_test, in_training, rolling_folds
from workload_forecast.model.split import TimeSplit

START = datetime(2016, 6, 1)
HOUR = timedelta(hours=1)


def hours_of(frame: pl.DataFrame, rows: nw.Expr) -> list[datetime]:
    return list(nw.from_native(frame).filter(rows)["hour"].to_list())


def grid(hours: int) -> pl.DataFrame:
    return pl.DataFrame({"hour": [START + HOUR * i for i in range(hours)]}, schema={"hour": pl.Datetime("us")})


PLANS = st.builds(
    FoldPlan,
    folds=st.integers(1, 6),
    test_hours=st.integers(1, 60),
    gap_hours=st.integers(48, 100),
    minimum_training_hours=st.integers(1, 80),
)


@given(PLANS, st.integers(0, 30), st.integers(0, 3599))
@settings(max_examples=60, deadline=None)
def test_folds_never_see_what_they_are_judged_on(plan: FoldPlan, spare: int, seconds: int) -> None:
    used = plan.minimum_training_hours + plan.gap_hours + plan.folds * plan.test_hours + spare
    to = START + HOUR * (used - 1) + timedelta(seconds=seconds)  # anywhere in the last hour
    rows = grid(used + 10)
    splits = rolling_folds(START, to, plan)
    assert len(splits) == plan.folds
    judged: list[datetime] = []
    for split in splits:
        fitted, tested = hours_of(rows, in_training(split)), hours_of(rows, in_test(split))
        origin = tested[0]
        assert len(tested) == plan.test_hours
        assert len(fitted) >= plan.minimum_training_hours
        assert fitted[0] == START
        assert fitted[-1] < origin - HOUR * plan.gap_hours  # the newest is older than the origin less the gap …
        assert fitted[-1] == origin - HOUR * (plan.gap_hours + 1)  # … and nothing more is given away
        judged += tested
    assert len(set(judged)) == len(judged)  # disjoint
    assert judged == sorted(judged)  # oldest fold first, end to end
    assert judged[-1] == START + HOUR * (used - 1)


@given(PLANS, st.integers(48, 90))
@settings(max_examples=40, deadline=None)
def test_folds_for_tuning_stay_before_the_test_period_and_its_gap(plan: FoldPlan, gap: int) -> None:
    used = plan.minimum_training_hours + plan.gap_hours + plan.folds * plan.test_hours
    test_from = START + HOUR * (used + gap)
    split = TimeSplit(START, test_from, test_from + HOUR * 100, gap)
    last = folds_before_test(split, plan)[-1]
    assert last.to == test_from - HOUR * (gap + 1)
    assert hours_of(grid(used + gap + 50), in_test(last) & in_training(split)) == hours_of(
        grid(used + gap + 50), in_test(last)
    )


def test_a_fold_is_a_split_with_its_dates() -> None:
    plan = FoldPlan(folds=2, test_hours=24, minimum_training_hours=24)
    assert rolling_folds(START, datetime(2016, 6, 10, 23, 59, 59), plan) == (
        TimeSplit(START, datetime(2016, 6, 9), datetime(2016, 6, 9, 23), 48),
        TimeSplit(START, datetime(2016, 6, 10), datetime(2016, 6, 10, 23), 48),
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"folds": 0}, "folds=0 of the folds must be 1 or more"),
        ({"test_hours": 0}, "test_hours=0 .* 1 or more"),
        ({"gap_hours": 47}, "gap_hours=47 .* 48 or more .*horizon"),
        ({"minimum_training_hours": 0}, "minimum_training_hours=0 .* 1 or more"),
        ({"folds": 2.5}, "folds=2.5 .* whole number"),
        ({"folds": True}, "folds=True .* whole number"),
    ],
)
def test_a_plan_out_of_range_is_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FoldPlan(**wrong)


@pytest.mark.parametrize(
    ("training_from", "to", "message"),
    [
        (START.replace(tzinfo=timezone.utc), START, "training_from=.* carries a time zone"),
        (START, START.replace(tzinfo=timezone.utc), "to=.* carries a time zone"),
        (START + timedelta(minutes=5), START + HOUR * 999, "must be a full hour"),
        (
            START,
            START + HOUR * (336 + 48 + 3 * 72 - 2),
            "3 folds of 72 hours .* has 599 hours, .* ask for 2 or fewer",
        ),
        (START, START + HOUR * 400, "take a longer period"),
        (START, START - HOUR * 400, "has 0 hours"),
    ],
)
def test_a_period_that_does_not_hold_the_folds_is_refused(training_from: datetime, to: datetime, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        rolling_folds(training_from, to)


def test_the_default_folds_fit_the_shortest_profile_and_hold_every_weekday() -> None:
    profile = load_settings("ONE_MONTH")
    split = TimeSplit(profile.training_from, profile.test_from, profile.to)
    rows = grid(24 * 30)
    judged = [hour for fold in folds_before_test(split) for hour in hours_of(rows, in_test(fold))]
    assert {hour.isoweekday() for hour in judged} == set(range(1, 8))
