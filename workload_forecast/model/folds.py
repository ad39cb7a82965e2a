"""Rolling-origin folds: several splits of one period, each trained on the past and judged on what came next.

The folds' test periods lie end to end at the end of the period, oldest first, and every fold trains on all rows before
its own test period less the gap. Each is a :class:`~workload_forecast.model.split.TimeSplit`, so that whatever trains
on a split trains on a fold. Times are UTC without a zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import narwhals as nw

from workload_forecast.config import DEFAULT_FOLD_TEST_HOURS, DEFAULT_FOLD_TRAINING_HOURS, DEFAULT_FOLDS
from workload_forecast.errors import SettingsError
from workload_forecast.model.split import TimeSplit
from workload_forecast.schemas import HORIZON_HOURS

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class FoldPlan:
    """How a period is cut into folds.

    Raises:
        SettingsError: a number is not a whole one, or out of range.
    """

    folds: int = DEFAULT_FOLDS
    test_hours: int = (
        DEFAULT_FOLD_TEST_HOURS  #: of each fold; where there is room, whole weeks judge every weekday equally often
    )
    gap_hours: int = HORIZON_HOURS  #: between the last hour that is trained on and the first one that is judged
    minimum_training_hours: int = DEFAULT_FOLD_TRAINING_HOURS  #: that the first, shortest, training period must have

    def __post_init__(self) -> None:
        floors = {"folds": 1, "test_hours": 1, "gap_hours": HORIZON_HOURS, "minimum_training_hours": 1}
        for name, least in floors.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise SettingsError(f"{name}={value!r} of the folds must be a whole number.")
            if value < least:
                why = " (the horizon: newer loads are not known when a fold is judged)" if name == "gap_hours" else ""
                raise SettingsError(f"{name}={value} of the folds must be {least} or more{why}.")


def rolling_folds(training_from: datetime, to: datetime, plan: FoldPlan | None = None) -> tuple[TimeSplit, ...]:
    """Cut a period into folds.

    Args:
        training_from: first hour of the period, and of every fold's training.
        to: last moment of the period, inclusive as in :class:`TimeSplit`; the last fold is judged up to its hour.
        plan: number, length and gap.

    Returns:
        One split a fold, the oldest first. A ``to`` is the last hour that is judged, inclusive.

    Raises:
        SettingsError: a time carries a zone, ``training_from`` is no full hour, or the period is too short; the
            message says for how many folds it is long enough.
    """
    plan = plan or FoldPlan()
    for name, moment in (("training_from", training_from), ("to", to)):
        if moment.tzinfo is not None:
            raise SettingsError(f"{name}={moment} carries a time zone; give UTC without a zone.")
    if training_from != _full_hour(training_from):
        raise SettingsError(f"training_from={training_from} must be a full hour, because the tables are hourly.")
    end = _full_hour(to) + _HOUR
    _require_room(training_from, end, plan)
    length = timedelta(hours=plan.test_hours)
    starts = [end - length * back for back in range(plan.folds, 0, -1)]
    return tuple(TimeSplit(training_from, start, start + length - _HOUR, plan.gap_hours) for start in starts)


def folds_before_test(split: TimeSplit, plan: FoldPlan | None = None) -> tuple[TimeSplit, ...]:
    """Cut a training period into folds, for choosing among models without a look at the test period.

    The last hour that is judged is the last one that the final model is trained on: neither the test period nor the gap
    before it is used.

    Raises:
        SettingsError: as for :func:`rolling_folds`.
    """
    return rolling_folds(split.training_from, split.training_to - _HOUR, plan)


def in_training(split: TimeSplit) -> nw.Expr:
    """Whether a row belongs to the training period, for any frame."""
    return (nw.col("hour") >= split.training_from) & (nw.col("hour") < split.training_to)


def in_test(split: TimeSplit) -> nw.Expr:
    """Whether a row belongs to the test period, for any frame."""
    return (nw.col("hour") >= split.test_from) & (nw.col("hour") <= split.to)


def _full_hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _require_room(first: datetime, end: datetime, plan: FoldPlan) -> None:
    available = (end - first) // _HOUR
    spent = plan.gap_hours + plan.minimum_training_hours
    if available >= spent + plan.folds * plan.test_hours:
        return
    possible = max(available - spent, 0) // plan.test_hours
    remedy = (
        f"ask for {possible} or fewer, or for shorter ones" if possible else "take a longer period or shorter folds"
    )
    raise SettingsError(
        f"{plan.folds} folds of {plan.test_hours} hours do not fit: the period from {first} to {end - _HOUR} has "
        f"{max(available, 0)} hours, of which {plan.minimum_training_hours} are for training and {plan.gap_hours} for "
        f"the gap; {remedy}."
    )
