"""The newest hourly load, from where the ETL left it into the exchange, cut to what forecasts can reach."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
from mlflow.entities import Run

from workload_forecast.config import EVERY_SERVER, Settings
from workload_forecast.errors import DataError, SchemaError, SettingsError
from workload_forecast.progress import Progress
from workload_forecast.schemas import HOURLY_LOAD, PRIMARY_MEASURE
from workload_forecast.service.exchange import Exchange, ServedHistory
from workload_forecast.serving.history import UNUSED
from workload_forecast.steps.published import Publication, place_of
from workload_forecast.steps.results import finished_runs, result_of
from workload_forecast.steps.runs import EFFECTIVE
from workload_forecast.steps.served_model import scratch_in
from workload_forecast.storage.locations import parse_location

#: What is kept before the newest hour. The features of an hour reach 795 hours back, so that every start of the last
#: four weeks, and the two days to come, can be forecast as from the whole history.
KEPT = timedelta(days=31 + 31)


@dataclass(frozen=True)
class Found:
    """An hourly load that is there.

    Attributes:
        key: another one for another content.
        fetch: brings it to a folder below the given one, and returns that.
    """

    key: str
    fetch: Callable[[Path], Path]


@dataclass(frozen=True)
class HistorySource:
    """Brings the newest hourly load into the exchange, when it is another one than before.

    Attributes:
        exchange: to put it into.
        settings: of the profile whose ETL makes it.
        home: of the results on this machine.
        folder: with hourly load as Parquet, instead of what the ETL made.
        progress: is told of a new one.
    """

    exchange: Exchange
    settings: Settings
    home: Path
    folder: Path | None
    progress: Progress

    def look(self) -> None:
        """Look for it, and take what is new.

        Raises:
            DataError: there is none, or it cannot be used.
            EnvironmentProblem: the storage does not answer.
            MlflowException: the tracking store does not answer.
        """
        found = self._find()
        note = None
        with suppress(SettingsError):  # a note that is none is replaced
            note = self.exchange.history()
        if note and note.key == found.key and (self.exchange.folder / note.path).is_file():
            return
        with scratch_in(self.exchange) as scratch:
            file = scratch / "hourly_load.parquet"
            oldest, newest = cut(found.fetch(scratch / "found"), file)
            fetched = datetime.now(timezone.utc).isoformat(timespec="seconds")
            history = ServedHistory(found.key, oldest.isoformat(), newest.isoformat(), fetched)
            self.exchange.put_history(history, file)
        self.progress.say(f"follower: hourly load up to {newest} is handed to the service")

    def _find(self) -> Found:
        if self.folder:
            return in_folder(self.folder)
        found = published(self.settings, self.progress) or in_runs(self.settings, self.home)
        if found is None:
            place = place_of(self.settings, "etl", subset="")
            where = f"nothing is published at {place}, and " if place else ""
            raise DataError(
                f"no hourly load: {where}no finished etl run of {self.settings.duration} with these settings has its "
                "result on this machine. Run the etl (-e etl), or name a folder with --history."
            )
        return found


def in_folder(folder: Path) -> Found:
    """Return what is in a folder of Parquet files."""
    stats = [(file, file.stat()) for file in _parquet(folder)]
    text = "\n".join(f"{file} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}" for file, stat in stats)
    return Found(f"folder-{hashlib.sha256(text.encode()).hexdigest()[:32]}", partial(_there, folder))


def _there(folder: Path, _target: Path) -> Path:
    """Nothing has to be brought from a folder of this machine."""
    return folder


def published(settings: Settings, progress: Progress) -> Found | None:
    """Return what the profile's container holds, or None where there is no container, or nothing in it."""
    place = place_of(settings, "etl", subset="")
    publication = Publication(place, progress) if place else None
    return Found(publication.key, partial(_download, publication)) if publication and publication.key else None


def _download(publication: Publication, target: Path) -> Path:
    if not publication.get(publication.key, target, HOURLY_LOAD.name):
        raise DataError(f"{publication.place} was replaced while it was fetched; the new one is fetched next time.")
    return target


def in_runs(settings: Settings, home: Path) -> Found | None:
    """Return the result of the newest finished ETL with these settings that is on this machine, or None."""
    for run in finished_runs("etl"):
        found = result_of(run, home) if _matches(run, settings) else None
        if found:
            return Found(found.key, partial(_there, found.folder / HOURLY_LOAD.name))
    return None


def _matches(run: Run, settings: Settings) -> bool:
    """Whether a run did the ETL of the settings; where they name no data, whatever stood in for it."""
    params = {"sample": "1", **run.data.params}  # before there were samples, runs took all servers
    wanted: dict[str, Any] = settings.model_dump(mode="json", include={"duration", "training_from", "to"})
    wanted |= {"debug": EVERY_SERVER.debug, "sample": EVERY_SERVER.share}
    if not settings.synthetic:
        wanted["data_file"] = str(parse_location(settings.data_file, settings.storage_account))
    return all(params.get(EFFECTIVE + name, params.get(name)) == value for name, value in wanted.items())


def cut(folder: Path, target: Path) -> tuple[datetime, datetime]:
    """Write what forecasts can reach of the hourly load in a folder to one Parquet file.

    Kept are the last :data:`KEPT` and, of each server that was seen in that time, the last row before: it says that the
    server was already there, which an hour without a row means something else without. Rows without a load are left
    out, as the forecaster leaves them out.

    Returns:
        First and last hour of what was kept, not counting those single rows before.

    Raises:
        SchemaError: a column is missing or of another kind.
        DataError: no rows, or several of a server and hour.
    """
    load = _typed(pl.scan_parquet(_parquet(folder)), folder).filter(pl.col(PRIMARY_MEASURE).is_finite())
    try:
        newest = load.select(pl.col("hour").max()).collect(engine="streaming").item()
        if newest is None:
            raise DataError(f"the hourly load in {folder} has no rows with a load: run the etl again.")
        recent, older = load.filter(pl.col("hour") > newest - KEPT), load.filter(pl.col("hour") <= newest - KEPT)
        last = older.group_by("server").agg(pl.col("hour").max())
        before = older.join(last, on=["server", "hour"], how="semi")
        before = before.join(recent.select("server").unique(), on="server", how="semi")
        pl.concat([recent, before]).sink_parquet(target, compression="zstd")
        _check(target, folder)
        kept = pl.scan_parquet(target).filter(pl.col("hour") > newest - KEPT)
        return kept.select(pl.col("hour").min()).collect().item(), newest
    except (pl.exceptions.PolarsError, nw.exceptions.NarwhalsError) as problem:
        raise DataError(f"the hourly load in {folder} cannot be read: {str(problem).splitlines()[0]}.") from None


def _typed(rows: pl.LazyFrame, folder: Path) -> pl.LazyFrame:
    try:
        found = rows.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as problem:
        raise DataError(f"the hourly load in {folder} cannot be read: {str(problem).splitlines()[0]}.") from None
    hour = found.get("hour")
    if hour is not None and (not isinstance(hour, pl.Datetime) or hour.time_zone is not None):
        raise SchemaError(f"the column 'hour' in {folder} must hold times in UTC without a zone, not {hour}.")
    whole = rows.with_columns(pl.lit(0).alias(name) for name in UNUSED if name not in found)
    typed: pl.LazyFrame = HOURLY_LOAD.select(nw.from_native(whole)).to_native()
    return typed


def _check(file: Path, folder: Path) -> None:
    """Refuse what the forecaster would refuse, while the one before it is still served."""
    keys = pl.scan_parquet(file).select("server", "hour")
    counts = keys.select(
        unknown=pl.any_horizontal(pl.col("server", "hour").is_null()).sum(),
        part=(pl.col("hour") != pl.col("hour").dt.truncate("1h")).sum(),
        twice=pl.len() - pl.struct("server", "hour").n_unique(),
    )
    unknown, part, twice = counts.collect(engine="streaming").row(0)
    for rows, what in ((unknown, "without server or hour"), (part, "of no whole hour"), (twice, "twice")):
        if rows:
            raise DataError(f"the hourly load in {folder} has {rows} rows {what}: give one row a server and hour.")


def _parquet(folder: Path) -> list[Path]:
    files = sorted(_files(folder)) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder} holds no Parquet files: name a folder with the table hourly_load.")
    return files


def _files(folder: Path) -> Iterator[Path]:
    """Parquet files, without what Spark and others leave beside them or have not finished."""
    for file in folder.rglob("*.parquet"):
        if not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts):
            yield file
