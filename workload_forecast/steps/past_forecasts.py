"""Forecasts that were made before: which there are of a version, and their tables, wherever these lie."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path

import mlflow
import narwhals as nw
import polars as pl
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from narwhals.exceptions import NarwhalsError

from workload_forecast.engines.batches import read_all
from workload_forecast.errors import DataError, SchemaError
from workload_forecast.schemas import FORECAST, HORIZON_HOURS, LOAD_QUANTILES, Frame, Table
from workload_forecast.serving.history import HOUR
from workload_forecast.steps.parts import Span
from workload_forecast.steps.published import Publication
from workload_forecast.steps.runs import TAG, Runs, parameter
from workload_forecast.storage.local import read_info
from workload_forecast.storage.locations import Location
from workload_forecast.storage.locks import Lock

_STEP = "forecast"

#: What earlier versions of the project wrote.
_WITHOUT_QUANTILES = Table(
    FORECAST.name,
    {name: dtype for name, dtype in FORECAST.columns.items() if name not in LOAD_QUANTILES},
    FORECAST.key,
    FORECAST.partition_by,
)


@dataclass(frozen=True)
class PastForecast:
    """A finished run of the forecast: the newest hour that it knew, its work's key, the folder that it wrote."""

    origin: datetime
    key: str
    folder: Path


def find_forecasts(version: ModelVersion, subset: str, hours: Span) -> list[PastForecast]:
    """Return the forecasts that a version made of some of these hours, by origin; of one origin the newest run alone.

    Args:
        version: that was asked.
        subset: of the servers that it was asked about (:attr:`~workload_forecast.config.Selection.subset`).
        hours: first and last one.
    """
    wanted = {"step": _STEP, "model_version": str(version.version)}
    conditions = [f"tags.`{TAG}{name}` = '{value}'" for name, value in wanted.items()]
    found = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=" and ".join([*conditions, "attributes.status = 'FINISHED'"]),
        order_by=["attributes.start_time ASC"],
        output_format="list",
    )
    ours = (
        run
        for run in found
        if parameter(run, "model") == version.name and run.data.tags.get(f"{TAG}subset", "") == subset
    )
    # a later run of the same origin takes the place of an earlier one
    past = {one.origin: one for one in map(_past, ours)}
    first, last = hours[0] - HORIZON_HOURS * HOUR, hours[1] - HOUR
    return [past[origin] for origin in sorted(past) if first <= origin <= last]


def _past(run: Run) -> PastForecast:
    tags = run.data.tags
    origin = datetime.strptime(tags[f"{TAG}origin"], "%Y-%m-%dT%H")
    return PastForecast(origin, tags[f"{TAG}key"], Path(tags[f"{TAG}result"]))


@dataclass
class ForecastTables:
    """Reads tables of past forecasts.

    Args:
        runs: of this process.
        place: where forecasts are published; None: nowhere.
    """

    runs: Runs
    place: Location | None

    @cached_property
    def _published(self) -> Publication | None:
        return Publication(self.place, self.runs.progress) if self.place else None

    def read(self, past: PastForecast) -> pl.DataFrame | None:
        """Return a forecast's table; None where it is neither on this machine nor published any more.

        Raises:
            DataError: it is there, but cannot be read.
        """
        own = self.runs.home / _STEP / past.key
        waiting = partial(self.runs.progress.stage, "monitor: wait for a run that writes this forecast")
        with closing(Lock(self.runs.home / "locks" / f"{_STEP}-{past.key}", waiting)) as lock:
            lock.share()
            here = [folder for folder in (past.folder, own) if read_info(folder)]
            if not here and self._published:
                lock.own()
                here = [own] if self._published.get(past.key, own) else []
            return _read(here[0] / FORECAST.name) if here else None


def _rows(folder: Path) -> Frame:
    try:
        return read_all(FORECAST, folder)
    except SchemaError:
        unknown = {name: nw.lit(None, FORECAST.columns[name]) for name in LOAD_QUANTILES}
        return FORECAST.select(read_all(_WITHOUT_QUANTILES, folder).with_columns(**unknown))


def _read(folder: Path) -> pl.DataFrame:
    try:
        table: pl.DataFrame = _rows(folder).collect("polars").to_native()
    except (OSError, NarwhalsError, pl.exceptions.PolarsError) as problem:
        first = str(problem).splitlines()[0][:300].rstrip(".")
        raise DataError(f"the forecast in {folder} cannot be read ({first}): remove the folder above it.") from None
    return table
