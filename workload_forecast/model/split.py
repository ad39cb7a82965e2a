"""Training period and test period, a horizon apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from workload_forecast.errors import SettingsError
from workload_forecast.schemas import HORIZON_HOURS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

SPLIT = "split"
TRAIN, TEST = "train", "test"
SPLITS = (TRAIN, TEST)


@dataclass(frozen=True)
class TimeSplit:
    """Training: ``training_from <= hour < test_from - gap_hours``; test: ``test_from <= hour <= to`` (UTC, no zone).

    The gap keeps every load that a training row is labelled with at least a horizon away from the first test hour: in
    operation nothing newer is known when that hour is predicted.

    Raises:
        SettingsError: the dates are not in order, carry a zone, or leave no hour for training.
    """

    training_from: datetime
    test_from: datetime
    to: datetime
    gap_hours: int = HORIZON_HOURS

    def __post_init__(self) -> None:
        for name in ("training_from", "test_from", "to"):
            if getattr(self, name).tzinfo is not None:
                raise SettingsError(f"{name}={getattr(self, name)} carries a time zone; give UTC without a zone.")
        if self.gap_hours < HORIZON_HOURS:
            raise SettingsError(
                f"gap_hours={self.gap_hours} is shorter than the horizon of {HORIZON_HOURS} hours: "
                "training would see loads that are not known yet when the first test hour is predicted."
            )
        if self.to < self.test_from:
            raise SettingsError(f"to={self.to} lies before test_from={self.test_from}: the test period is empty.")
        if self.training_to <= self.training_from:
            raise SettingsError(
                f"training_from={self.training_from} leaves no hour for training: the training period ends "
                f"{self.gap_hours} hours before test_from={self.test_from}. Start earlier or test later."
            )

    @property
    def training_to(self) -> datetime:
        """First hour that is no longer trained on."""
        return self.test_from - timedelta(hours=self.gap_hours)

    def column(self, hour: str = "hour") -> Column:
        """``train`` or ``test`` for every row, null for rows of neither (before, after, or in the gap)."""
        from pyspark.sql import functions as F  # dates alone, as in folds and checks, need no Spark

        at = F.col(hour)
        training = (at >= literal(self.training_from)) & (at < literal(self.training_to))
        test = (at >= literal(self.test_from)) & (at <= literal(self.to))
        return F.when(training, TRAIN).when(test, TEST).alias(SPLIT)


def newest(training: DataFrame, split: TimeSplit, days: int) -> DataFrame:
    """The training rows of the last days that are trained on."""
    from pyspark.sql import functions as F

    return training.filter(F.col("hour") >= literal(split.training_to - timedelta(days=days)))


def literal(moment: datetime) -> Column:
    """A moment in UTC as Spark's ``timestamp_ntz``."""
    from pyspark.sql import functions as F

    # Not lit(moment): that reads a datetime without a zone in the time zone of the machine, not in UTC.
    return F.lit(moment.isoformat(sep=" ")).cast("timestamp_ntz")
