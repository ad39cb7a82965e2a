"""Small feature tables with the structure of real ones, made in memory with numpy alone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workload_forecast.schemas import FEATURES, HORIZON_HOURS, LAG_HOURS, MEASURES, TRAILING_HOURS

START = datetime(2016, 6, 1)


def feature_table(servers: int, days: int, seed: int = 7, unobserved: float = 0.01) -> pd.DataFrame:
    """``servers * days * 24`` rows from :data:`START`, sorted by server and hour, in the schema of the feature table.

    Loads have a scale, a daily and a weekly cycle for each server, autocorrelated noise and unobserved hours.
    """
    random = np.random.default_rng(seed)
    hours = pd.Series(pd.date_range(START, periods=days * 24, freq="h", unit="us"))
    frames = [_one_server(f"10.0.0.{number:03d}", hours, random, unobserved) for number in range(servers)]
    return pd.concat(frames, ignore_index=True)[list(FEATURES.columns)]


def _one_server(server: str, hours: pd.Series, random: np.random.Generator, unobserved: float) -> pd.DataFrame:
    n = len(hours)
    at = np.arange(n)
    noise = np.zeros(n)
    for i in range(1, n):
        noise[i] = 0.7 * noise[i - 1] + random.normal(0, 0.25)
    level, phase, amplitude = random.uniform(150, 450), random.uniform(0, 24), random.uniform(0.2, 0.9)
    daily = 1 + amplitude * np.sin((at + phase) / 24 * 2 * np.pi)
    weekend = np.where(hours.dt.weekday >= 5, 0.7, 1.0)
    load = pd.Series(level * daily * weekend * np.exp(noise * 0.6))
    load[random.random(n) < unobserved] = np.nan
    data: dict[str, object] = {"server": server, "hour": hours, "total_load": load, **_calendar(hours)}
    for lag in LAG_HOURS:
        data[f"total_load_lag_{lag}h"] = load.shift(lag)
    for measure in MEASURES:
        values = load.shift(HORIZON_HOURS) * (1.0 if measure == "total_load" else random.uniform(0.1, 3))
        for name, width in TRAILING_HOURS.items():
            data[f"{measure}_mean_{name}"] = values.rolling(width, min_periods=1).mean()
    week = load.shift(HORIZON_HOURS).rolling(168, min_periods=1)
    same_hour = pd.concat([load.shift(HORIZON_HOURS + 24 * day) for day in range(7)], axis=1)
    data |= {
        "total_load_std_7d": week.std(),
        "total_load_min_7d": week.min(),
        "total_load_max_7d": week.max(),
        "total_load_same_hour_mean_7d": same_hour.mean(axis=1),
        "observed_hours_7d": week.count().astype("float64"),
        "total_load_last_same_hour": load.shift(HORIZON_HOURS),
        "expected_load": same_hour.mean(axis=1),
        "expected_error": 0.3 * week.std(),
        "lead_hours": pd.Series(HORIZON_HOURS, index=load.index),
    }
    return pd.DataFrame(data)


def _calendar(hours: pd.Series) -> dict[str, pd.Series]:
    iso = hours.dt.isocalendar()
    clock = hours.dt.hour
    integers = {
        "hour_of_day": clock,
        "weekday": iso.day,
        "day_of_month": hours.dt.day,
        "week_of_year": iso.week,
        "month": hours.dt.month,
        "year": hours.dt.year,
        "is_us_holiday": hours.dt.strftime("%m-%d") == "07-04",
        "is_business_hour": clock.between(8, 17),
        "is_morning": clock.between(6, 8),
    }
    days = (hours - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
    return {**{name: values.astype("int64") for name, values in integers.items()}, "trend_days": days}


def write_parquet(table: pd.DataFrame, folder: Path, files: int = 1) -> Path:
    """Write the table as ``files`` Parquet files; unknown values become nulls, hours are without a zone."""
    folder.mkdir(parents=True)
    for number in range(files):
        part = table.iloc[number::files]
        pq.write_table(pa.Table.from_pandas(part, preserve_index=False), folder / f"part-{number}.parquet")
    return folder
