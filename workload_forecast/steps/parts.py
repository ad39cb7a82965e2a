"""The sessions in parts: some files each, reduced once and kept, so that a new file costs itself and not the history.

A part is found again by its files as they are, by the code that reads them and by what is asked of it. The window
counts only as far as it cuts into the part's own hours: one that grows by a day leaves all other days' parts alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa

from workload_forecast.engines.contract import Engine, Reduction, SessionFile
from workload_forecast.progress import Progress
from workload_forecast.schemas import REDUCED, Frame
from workload_forecast.sessions.cleaning import SERVER_DIGEST
from workload_forecast.sessions.reduction import account, hours_of, reduce_sessions
from workload_forecast.steps.provenance import code_digest
from workload_forecast.steps.session_files import SessionFiles
from workload_forecast.storage.cache import open_cache
from workload_forecast.storage.contract import Item
from workload_forecast.storage.local import is_draft, publish, read_info, write_info
from workload_forecast.storage.locks import Lock
from workload_forecast.storage.meter import Meter, in_units
from workload_forecast.storage.staging import Staging, digest_of

#: First and last hour, both included.
Span = tuple[datetime, datetime]

#: A part that no run has used for so long is removed.
KEPT_DAYS = 30

#: What decides, of the package, what a part holds.
_CODE = ("engines", "schemas.py", "sessions", "storage/lines.py", "steps/parts.py", "steps/session_files.py")


@dataclass(frozen=True)
class Recipe:
    """What is asked of the sessions: see :func:`~workload_forecast.sessions.cleaning.with_disposition`."""

    layout: str
    first: datetime
    last: datetime
    servers: Sequence[str] = ()
    sample: float = 1.0

    def reduction(self, engine: Engine, names: Mapping[str, str]) -> Reduction:
        """Return what lines are reduced by; ``names`` of the files where the engine knows them as something else."""
        reduce = partial(reduce_sessions, first=self.first, last=self.last, servers=self.servers, sample=self.sample)

        def reduction(raw: Frame) -> Frame:
            # only the engine can tell which server is in a sample
            return _named(reduce(raw if self.sample == 1 else engine.with_digest(raw, "server", SERVER_DIGEST)))

        def _named(reduced: Frame) -> Frame:
            if not names:
                return reduced
            table = pa.table({"path": list(names), "name": list(names.values())})
            named = reduced.join(engine.from_arrow(table), left_on="file", right_on="path", how="left")
            return named.with_columns(file=nw.col("name"))

        return reduction

    def cut(self, hours: Span | None) -> tuple[datetime | None, datetime | None] | None:
        """Return where the window cuts into hours, at either end, or None if it holds none of them.

        Rows of these hours come out alike by all windows that cut them alike.
        """
        if hours is None:
            return (None, None)
        first, end = hours[0], hours[1] + timedelta(hours=1)
        if self.last < first or self.first >= end:
            return None
        return (self.first if self.first > first else None, self.last if self.last < end - _SECOND else None)


_SECOND = timedelta(seconds=1)  # starts have no fraction of it


@dataclass(frozen=True)
class Part:
    """Some files, reduced.

    Attributes:
        id: equal for parts of equal rows, whichever run made them.
        folder: of the table :data:`~workload_forecast.schemas.REDUCED`.
        counts: see :func:`~workload_forecast.sessions.reduction.account`.
        hours: that its used rows lie between; None if it has none.
        bytes: of its files.
        reused: whether an earlier run has made it.
    """

    id: str
    folder: Path
    counts: Mapping[str, int]
    hours: Span | None
    bytes: int
    reused: bool


@dataclass
class Parts:
    """The parts of some files; those that are not there yet are made.

    Args:
        folder: where they are kept.
        files: to be read.
        engine: that reads them.
        own: of this process, which looks at what they were reduced to: a tenth of their bytes.
        recipe: what is asked of them.
        progress: is told.

    Attributes:
        fetched: bytes that were moved to this machine.
    """

    folder: Path
    files: SessionFiles
    engine: Engine
    own: Engine
    recipe: Recipe
    progress: Progress
    fetched: int = field(default=0, init=False)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, init=False)

    def read(self) -> list[Part]:
        """Return the parts of all files, in the order of their files.

        Raises:
            DataError: a file has changed since it was found, or cannot be read.
            EnvironmentProblem: it cannot be fetched, or the disk has no room.
        """
        chunks = self.files.chunks()
        found = [self._find(chunk) for chunk in chunks]
        missing = [chunk for chunk, part in zip(chunks, found, strict=True) if part is None]
        made = iter(self._make_all(missing) if missing else ())
        return [part or next(made) for part in found]

    def _make_all(self, chunks: Sequence[Sequence[Item]]) -> list[Part]:
        files, size = sum(map(len, chunks)), sum(map(_bytes, chunks))
        way, meter, done = self.files.way(self.engine), Meter(size), Meter(size)
        what = f"{files:,} file{'s' if files > 1 else ''}, {in_units(size)}"
        if way != "local":
            self.progress.say(f"etl: {what}, {way} from {self.files.pattern.fixed_prefix}")
        staging = Staging(self.files.store, open_cache(self.files.cache), meter)
        handed = self.files.hand_out(self.engine, chunks, staging)
        fetching = way == "fetched"
        percent = meter.percent if fetching else self._percent(done, chunks)
        with self.progress.stage("etl: read sessions", percent) as stage:
            stage.detail = meter if fetching else f"({what})"
            # what is fetched may go when the next is asked for, so only one can be worked on
            parts = _each(partial(self._make, done), chunks, handed, 1 if fetching else self.engine.reductions)
        self.fetched = staging.fetched
        return parts

    def _percent(self, done: Meter, chunks: Sequence[Sequence[Item]]) -> Callable[[], float | None]:
        """Of one chunk, the engine knows; of several, how many are done."""
        return self.engine.progress if len(chunks) == 1 else done.percent

    def _make(self, done: Meter, chunk: Sequence[Item], paths: Sequence[str]) -> Part:
        """Reduce some files, unless another process has done it meanwhile."""
        key, recipe = self._key(chunk), self.recipe
        lock = Lock(self.folder / f"{key}.lock")
        try:
            lock.own()
            part = self._find(chunk)
            if part is None:
                layouts = self.files.layouts(chunk, recipe.layout)
                sources = [SessionFile(path, layouts[item]) for item, path in zip(chunk, paths, strict=True)]
                places = {path: str(item.location) for item, path in zip(chunk, paths, strict=True)}
                names = {path: place for path, place in places.items() if path != place}
                window = f"{recipe.first:%Y%m%d%H%M%S}-{recipe.last:%Y%m%d%H%M%S}"
                with publish(self.folder / key / window) as draft:
                    table = draft / REDUCED.name
                    rows = self.engine.reduce_sessions(sources, recipe.reduction(self.engine, names), table)
                    self.files.require_unchanged(chunk)
                    with self._one_at_a_time:
                        reduced = self.own.read_table(REDUCED, table)
                        hours = hours_of(reduced)
                        counts = account(reduced, rows)
                    write_info(draft, {"window": (recipe.first, recipe.last), "hours": hours, "counts": counts})
                part = self._part(chunk, self.folder / key / window, hours, counts, reused=False)
        finally:
            lock.close()
        done(_bytes(chunk))
        return part

    def _find(self, chunk: Sequence[Item]) -> Part | None:
        """Return the part of some files, if it is there and the window cuts it as it did then."""
        folder = self.folder / self._key(chunk)
        for there in folder.iterdir() if folder.is_dir() else ():
            info = None if is_draft(there) else read_info(there)
            if info is None:
                continue
            hours = span_of(info["hours"])
            then = Recipe("", *_times(info["window"]))
            if then.cut(hours) == self.recipe.cut(hours):
                os.utime(there)  # or it would be removed after a while
                return self._part(chunk, there, hours, info["counts"], reused=True)
        return None

    def _part(
        self, chunk: Sequence[Item], folder: Path, hours: Span | None, counts: Mapping[str, int], *, reused: bool
    ) -> Part:
        cut, used = self.recipe.cut(hours), None
        if hours and cut and counts["rows_used"]:
            used = (max(hours[0], cut[0] or hours[0]), min(hours[1], cut[1] or hours[1]))
        ends = "/".join(str(end or "") for end in cut) if cut else "none"
        return Part(f"{self._key(chunk)} {ends}", folder / REDUCED.name, counts, used, _bytes(chunk), reused)

    def _key(self, chunk: Sequence[Item]) -> str:
        recipe = self.recipe
        asked = [self.engine.name, recipe.layout, list(recipe.servers), recipe.sample]
        parts = [code_digest(*_CODE), digest_of(chunk), *asked]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def remove_old(self, now: float | None = None) -> None:
        """Remove the parts that nobody has used for :data:`KEPT_DAYS` days."""
        oldest = (now or time.time()) - KEPT_DAYS * 86_400
        for folder in [*self.folder.glob("*/*/")]:
            with suppress(FileNotFoundError):
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)


def totals(parts: Iterable[Part]) -> dict[str, int]:
    """Return the sums of the parts' counts."""
    sums: dict[str, int] = {}
    for part in parts:
        for name, number in part.counts.items():
            sums[name] = sums.get(name, 0) + number
    return sums


def _each(
    work: Callable[[Sequence[Item], list[str]], Part],
    chunks: Sequence[Sequence[Item]],
    handed: Iterable[list[str]],
    at_once: int,
) -> list[Part]:
    if at_once == 1 or len(chunks) == 1:
        return list(map(work, chunks, handed))
    with ThreadPoolExecutor(at_once, thread_name_prefix="part") as pool:
        return list(pool.map(work, chunks, handed))  # the first error cancels what has not begun


def _bytes(items: Sequence[Item]) -> int:
    return sum(item.size for item in items)


def _times(texts: Sequence[Any]) -> Span:
    first, last = (datetime.fromisoformat(str(text)) for text in texts)
    return first, last


def span_of(texts: Sequence[Any] | None) -> Span | None:
    """Return a span as it was before it was written as JSON."""
    return _times(texts) if texts else None
