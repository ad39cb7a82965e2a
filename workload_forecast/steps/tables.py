"""The ETL's tables, made of parts, and as much as possible of an earlier result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import narwhals as nw
import pyarrow as pa

from workload_forecast.config import Settings
from workload_forecast.engines.contract import Engine
from workload_forecast.features.build import LOOK_BACK_HOURS, build_features
from workload_forecast.features.calendar import calendar_table
from workload_forecast.progress import Progress
from workload_forecast.schemas import FEATURES, HOURLY_LOAD, QUARANTINE, REDUCED, Frame, Table
from workload_forecast.sessions.reduction import quarantine
from workload_forecast.steps.changes import (
    HOUR,
    Earlier,
    hourly_load,
    month_of,
    months_to_make,
    renewed_load,
    take_over,
    touched,
)
from workload_forecast.steps.parts import Part, Span
from workload_forecast.steps.stored_load import StoredLoad

#: Of reduced sessions, up to which even an engine of many machines leaves the hourly load to this process: a second or
#: two of two cores, and less than planning takes there.
OWN_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Tables:
    """Writes quarantine, hourly load and features into ``folder``.

    Args:
        engine: that has reduced the sessions.
        own: of this process.
        settings: of the step.
        folder: of the tables.
        progress: is told.
    """

    engine: Engine
    own: Engine
    settings: Settings
    folder: Path
    progress: Progress

    def make(self, parts: Sequence[Part], earlier: Earlier | None) -> tuple[dict[str, Any], dict[str, int]]:
        """Write all tables.

        Args:
            parts: of the sessions; at least one of them has used rows.
            earlier: a result of the same recipe, of which what has not changed is taken over.

        Returns:
            ``first_hour``, ``last_hour`` and number of ``servers`` of the hourly load; and the rows of each table.
        """
        engine = self.engine if self.engine.distributed and _bytes(parts) > OWN_BYTES else self.own
        spans = touched(earlier.parts, parts) if earlier else []
        load = renewed_load(engine, parts, earlier, spans) if earlier else hourly_load(engine, parts)
        bad = [part for part in parts if part.counts["rows_quarantined"]] or parts[:1]
        broken = quarantine(engine.read_table(REDUCED, *(part.folder for part in bad)))
        rows = {
            QUARANTINE.name: self._write(engine, broken, QUARANTINE),
            HOURLY_LOAD.name: self._write(engine, load, HOURLY_LOAD),
        }
        stored = StoredLoad(self.engine, self.folder / HOURLY_LOAD.name)
        rows[FEATURES.name] = self._features(stored, earlier, spans)
        return {"first_hour": stored.ends[0], "last_hour": stored.ends[1], "servers": len(stored.lives)}, rows

    def _features(self, load: StoredLoad, earlier: Earlier | None, spans: Sequence[Span]) -> int:
        path, ends = self.folder / FEATURES.name, load.ends
        made: Span | None = (month_of(ends[0])[0], month_of(ends[1])[1])
        if earlier:
            before = StoredLoad(self.engine, earlier.folder / HOURLY_LOAD.name)
            made = months_to_make(before.lives, load.lives, spans)
        rows = 0
        if made and made[0] <= ends[1] and made[1] >= ends[0]:
            rows = self._write_features(load, made)
        taken = take_over(earlier, path, made, ends) if earlier else 0
        if taken:
            rows = _count(self.own.read_table(FEATURES, path))
        mlflow.log_metrics({"feature_months": len([*path.glob("*/*/")]), "feature_months_reused": taken})
        return rows

    def _write_features(self, load: StoredLoad, made: Span) -> int:
        """Write those of some months, made on a grid that begins as long before them as a feature looks back."""
        ends = load.ends
        first, last = max(ends[0], made[0] - LOOK_BACK_HOURS * HOUR), min(ends[1], made[1])
        calendar, missing = calendar_table(first, last), self.settings.missing_hours

        def build(hourly: Frame, frame: Callable[[pa.Table], Frame]) -> Frame:
            rows = build_features(hourly, frame(calendar), missing_hours=missing)
            return rows.filter(nw.col("hour") >= made[0]) if made[0] > ends[0] else rows

        path, stage = self.folder / FEATURES.name, f"etl: write {FEATURES.name}"
        return load.write_features(build, (first, last), path, self.progress, stage=stage)

    def _write(self, engine: Engine, frame: Frame, table: Table) -> int:
        with self.progress.stage(f"etl: write {table.name}", engine.progress) as stage:
            rows = engine.write_table(frame, table, self.folder / table.name)
            stage.detail = f"({rows:,} rows)"
        return rows


def _bytes(parts: Sequence[Part]) -> int:
    return sum(file.stat().st_size for part in parts for file in part.folder.rglob("*.parquet"))


def _count(frame: Frame) -> int:
    return int(frame.select(nw.len()).collect("pyarrow").item())
