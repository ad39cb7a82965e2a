from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from workload_forecast.errors import SettingsError
from workload_forecast.model.split import TimeSplit

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TRAINING, TEST, TO = datetime(2016, 6, 1), datetime(2016, 6, 29), datetime(2016, 6, 30, 23, 59, 59)


@pytest.mark.parametrize(
    ("training_from", "test_from", "to", "gap", "message"),
    [
        (TRAINING.replace(tzinfo=timezone.utc), TEST, TO, 48, "training_from=.* carries a time zone"),
        (TRAINING, TEST, datetime(2016, 6, 28), 48, "test period is empty"),
        (TEST - timedelta(hours=48), TEST, TO, 48, "leaves no hour for training"),
        (TRAINING, TEST, TO, 47, "shorter than the horizon of 48 hours"),
    ],
)
def test_contradictory_dates_are_refused(
    training_from: datetime, test_from: datetime, to: datetime, gap: int, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        TimeSplit(training_from, test_from, to, gap)


@pytest.mark.spark
@pytest.mark.parametrize("stored_as", ["timestamp", "timestamp_ntz"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_rows_fall_into_their_split_whatever_the_machines_time_zone(
    spark: SparkSession, stored_as: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {
        "2016-05-31 23:00:00": None,
        "2016-06-01 00:00:00": "train",
        "2016-06-26 23:00:00": "train",  # the last one that is 48 hours before the first test hour, or more
        "2016-06-27 00:00:00": None,
        "2016-06-28 23:00:00": None,
        "2016-06-29 00:00:00": "test",
        "2016-06-30 23:00:00": "test",
        "2016-07-01 00:00:00": None,
    }
    frame = spark.createDataFrame([(text,) for text in expected], "text string")
    frame = frame.select("text", frame["text"].cast(stored_as).alias("hour"))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        rows = frame.select("text", TimeSplit(TRAINING, TEST, TO).column()).collect()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert {row["text"]: row["split"] for row in rows} == expected
