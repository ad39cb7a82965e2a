"""Features of an hourly load on disk: made by this process where they are few, by the engine's machines where not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import narwhals as nw
import pyarrow as pa

from workload_forecast.engines.batches import from_arrow, ranges, read_all, read_batches, write_batch
from workload_forecast.engines.contract import Engine
from workload_forecast.progress import Progress
from workload_forecast.schemas import FEATURES, HOURLY_LOAD, Frame
from workload_forecast.steps.changes import HOUR
from workload_forecast.steps.parts import Span

#: Rows that one batch of servers has: about half a gigabyte while they are made.
BATCH_ROWS = 150_000

#: Rows up to which even an engine of many machines leaves them to this process: half a minute of two cores, which is
#: about what Spark takes to plan them and to compile them.
OWN_ROWS = 4_000_000

#: Makes rows of :data:`FEATURES` of hourly load; the function given makes its small tables frames of the same kind.
Build = Callable[[Frame, Callable[[pa.Table], Frame]], Frame]


@dataclass(frozen=True)
class StoredLoad:
    """The hourly load in a folder.

    Args:
        engine: that can read it, too.
        folder: of the table; it has a row at least.
    """

    engine: Engine
    folder: Path

    @cached_property
    def lives(self) -> Mapping[str, Span]:
        """The first and the last hour of each server."""
        hour = nw.col("hour")
        spans = read_all(HOURLY_LOAD, self.folder).group_by("server").agg(first=hour.min(), last=hour.max())
        return {server: (first, last) for server, first, last in spans.collect("polars").rows()}

    @property
    def ends(self) -> Span:
        """The first and the last hour of all."""
        return min(first for first, _ in self.lives.values()), max(last for _, last in self.lives.values())

    def write_features(
        self, build: Build, hours: Span, path: Path, progress: Progress, *, stage: str, rows_an_hour: float = 1.0
    ) -> int:
        """Write :data:`FEATURES` into the folder ``path``, made anew; return the number of rows.

        Args:
            build: what is to be written.
            hours: that ``build`` makes rows of, and those that they look back on.
            path: of the table.
            progress: is told, under the name ``stage``.
            stage: ``step: what``.
            rows_an_hour: that ``build`` makes of a server's hour.
        """
        rows = {name: round(number * rows_an_hour) for name, number in self._hours(hours).items()}
        if self.engine.distributed and sum(rows.values()) > OWN_ROWS:
            with progress.stage(stage, self.engine.progress) as shown:
                made = build(self.engine.read_table(HOURLY_LOAD, self.folder), self.engine.from_arrow)
                written = self.engine.write_table(made, FEATURES, path)
                shown.detail = f"({written:,} rows)"
            return written
        path.mkdir(parents=True)
        written, done = 0, 0.0
        with progress.stage(stage, lambda: done) as shown:
            for number, (batch, percent) in enumerate(read_batches(HOURLY_LOAD, self.folder, ranges(rows, BATCH_ROWS))):
                written += write_batch(build(batch, from_arrow), FEATURES, path, number)
                done = percent
            shown.detail = f"({written:,} rows)"
        return written

    def _hours(self, within: Span) -> dict[str, int]:
        """How many hours each server has within others; those that have none are left out."""
        cut = {name: (max(first, within[0]), min(last, within[1])) for name, (first, last) in self.lives.items()}
        return {name: (last - first) // HOUR + 1 for name, (first, last) in cut.items() if first <= last}
