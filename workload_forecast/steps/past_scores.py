"""A version's past forecasts, read one after the other and scored by the loads that came."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import narwhals as nw
import polars as pl
from mlflow.entities.model_registry import ModelVersion

from workload_forecast.config import Settings, Thresholds
from workload_forecast.model.load_summary import LoadSummary, summarise_loads
from workload_forecast.model.split import TimeSplit
from workload_forecast.monitoring.scoring import merge, score, tally
from workload_forecast.schemas import FEATURES, HORIZON_HOURS, HOURLY_LOAD, PRIMARY_MEASURE, Frame
from workload_forecast.serving.history import HOUR
from workload_forecast.steps.forecast import load_forecaster
from workload_forecast.steps.parts import Span
from workload_forecast.steps.past_forecasts import ForecastTables, find_forecasts
from workload_forecast.steps.published import place_of
from workload_forecast.steps.runs import Result, Runs
from workload_forecast.steps.stored_load import StoredLoad


@dataclass(frozen=True)
class Watch:
    """A version, and the hours in which its forecasts are looked at.

    Nothing that it was trained on is in them, nor the 48 hours after that, as in its training's test.
    """

    version: ModelVersion
    cuts: Thresholds
    trained: Span  #: its training: the first hour, and the first that is no longer in it
    hours: Span  #: the first one and the last one of the data; empty where the first is the later

    @property
    def empty(self) -> bool:
        """Whether the data ends before there is anything to look at."""
        return self.hours[1] < self.hours[0]

    @property
    def split(self) -> TimeSplit:
        """The training as it was, and these hours in the place of its test."""
        gap = (self.hours[0] - self.trained[1]) // HOUR
        return TimeSplit(self.trained[0], *self.hours, gap_hours=gap)


@dataclass
class Scored:
    """What has come of the forecasts that were found."""

    counts: pl.DataFrame | None = None  #: tally of the scored rows; None: there is none
    forecasts: int = 0  #: that were read
    rows: int = 0  #: that they have in the hours looked at
    gone: list[datetime] = field(default_factory=list)  #: origins of those whose tables are nowhere any more
    newest: datetime | None = None  #: origin of those that were read


def watch(runs: Runs, version: ModelVersion, etl: Result, days: int) -> Watch:
    """Look at the last days of the data, as far as the version was not trained on them.

    Raises:
        ModelError: the version cannot be used.
    """
    facts = load_forecaster(version).scorer.facts
    newest = StoredLoad(runs.engine("duckdb"), etl.folder / HOURLY_LOAD.name).ends[1]
    first = max(facts.training_to + HORIZON_HOURS * HOUR, newest - (24 * days - 1) * HOUR)
    cuts = Thresholds(facts.low, facts.high)
    return Watch(version, cuts, (facts.training_from, facts.training_to), (first, newest))


def score_past(runs: Runs, settings: Settings, etl: Result, watched: Watch) -> Scored:
    """Score every forecast that the version made of these hours.

    An hour counts as often as it was forecast. One without a load is not scored: in a server's life it is a load of 0
    or unknown, by the settings' ``missingHours``, as in training; after it there is none.

    Raises:
        DataError: a forecast is there, but cannot be read.
    """
    found = Scored()
    if watched.empty:
        return found
    subset = etl.info["subset"]
    tables = ForecastTables(runs, place_of(settings, "forecast", subset=subset))
    inside = nw.col("hour").is_between(*watched.hours)
    loads = _features(runs, etl).filter(inside).select("server", "hour", PRIMARY_MEASURE)
    with runs.progress.stage("monitor: score past forecasts") as stage:
        actual: pl.DataFrame = loads.collect("polars").to_native()
        for past in find_forecasts(watched.version, subset, watched.hours):
            table = tables.read(past)
            if table is None:
                found.gone.append(past.origin)
                continue
            rows = table.filter(pl.col("hour").is_between(*watched.hours))
            known = score(rows, actual, watched.cuts)
            found.forecasts, found.rows, found.newest = found.forecasts + 1, found.rows + len(rows), past.origin
            if len(known):
                counts = tally(known)
                found.counts = counts if found.counts is None else merge([found.counts, counts])
            stage.detail = f"({found.forecasts:,} forecasts, {found.rows:,} rows)"
    return found


def loads_of(runs: Runs, etl: Result, watched: Watch) -> LoadSummary:
    """Summarise the loads of the version's training, as far as the data still has it, and of the hours looked at."""
    with runs.progress.stage("monitor: compare the loads with the training's"):
        return summarise_loads(_features(runs, etl), watched.split, watched.cuts)


def _features(runs: Runs, etl: Result) -> Frame:
    return runs.engine("duckdb").read_table(FEATURES, etl.folder / FEATURES.name)
