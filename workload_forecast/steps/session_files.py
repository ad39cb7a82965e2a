"""The session files of a run, wherever they are: found, looked into, and read by the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import narwhals as nw
import pyarrow as pa

from workload_forecast.config import Settings
from workload_forecast.engines.contract import Engine, Reduced, Reduction, SessionFile
from workload_forecast.errors import DataError
from workload_forecast.progress import Progress
from workload_forecast.schemas import Frame
from workload_forecast.sessions.inputs import busiest_servers, layout_of
from workload_forecast.sessions.layouts import DETECTION_LINES, Layout
from workload_forecast.sessions.reduction import combine_reduced
from workload_forecast.storage.cache import open_cache
from workload_forecast.storage.contract import Item, Store
from workload_forecast.storage.lines import first_lines
from workload_forecast.storage.locations import Location, parse_location
from workload_forecast.storage.meter import Meter, in_units
from workload_forecast.storage.staging import Staging, digest_of
from workload_forecast.storage.stores import open_store

#: Lines of the first file among which the busiest servers are looked for, and the bytes that hold so many.
_SAMPLE_LINES, _SAMPLE_BYTES = 20_000, 4 << 20
#: The same for a file's layout.
_LAYOUT_BYTES = 1 << 16
#: Files that are looked into at once.
_LOOKS = 8


@dataclass(frozen=True)
class SessionFiles:
    """The files that a glob matches, as they were when it was looked for them. Make it with :meth:`find`."""

    pattern: Location
    store: Store
    items: Sequence[Item]
    cache: Path

    @classmethod
    def find(cls, settings: Settings, home: Path) -> SessionFiles:
        """Return the files that ``settings.data_file`` matches.

        Args:
            settings: with the glob, and the account of an ``az://`` form.
            home: of the results, where fetched files are cached.

        Raises:
            DataError: no file matches.
            EnvironmentProblem: the place cannot be reached.
        """
        pattern = parse_location(settings.data_file, settings.storage_account)
        store = open_store(pattern)
        return cls(pattern, store, store.find(pattern), home / "cache")

    @property
    def bytes(self) -> int:
        """All files together."""
        return sum(item.size for item in self.items)

    @cached_property
    def digest(self) -> str:
        """Changes with every file; see :func:`~workload_forecast.storage.staging.digest_of`."""
        return digest_of(self.items)

    def layouts(self, declared: str) -> dict[Item, Layout]:
        """Return each file's layout: the declared one, or what its first lines look like."""

        def look(item: Item) -> Layout:
            return layout_of(self._first_lines(item, _LAYOUT_BYTES, DETECTION_LINES), declared)

        if declared != "auto":
            return dict.fromkeys(self.items, layout_of((), declared))
        with ThreadPoolExecutor(_LOOKS) as pool:
            return dict(zip(self.items, pool.map(look, self.items), strict=True))

    def busiest_servers(self, layouts: Mapping[Item, Layout]) -> tuple[str, ...]:
        """Return the busiest servers among the first lines of the first file.

        Raises:
            DataError: there are none.
        """
        first = self.items[0]
        servers = busiest_servers(self._first_lines(first, _SAMPLE_BYTES, _SAMPLE_LINES), layouts[first])
        if not servers:
            raise DataError(
                f"debug=FILTER_IP found no server in the first lines of {first.location}: "
                "name debugServers in the config."
            )
        return servers

    @contextmanager
    def reduce(
        self, engine: Engine, layouts: Mapping[Item, Layout], reduction: Reduction, progress: Progress
    ) -> Iterator[Reading]:
        """Read all files once, in place where the engine can, else through the cache; yield what became of them.

        What the engine may have to come back for stays until the block ends.

        Raises:
            DataError: a file has changed since it was found, or cannot be read.
            EnvironmentProblem: it cannot be fetched, or the disk has no room.
        """
        paths, meter, names = self._in_place(engine), Meter(self.bytes), dict[str, str]()
        staging = Staging(self.store, open_cache(self.cache), meter)

        def files(batch: Iterable[tuple[Item, str]]) -> list[SessionFile]:
            found = list(batch)
            names.update({path: str(item.location) for item, path in found if path != str(item.location)})
            return [SessionFile(path, layouts[item]) for item, path in found]

        with ExitStack() as held:
            batches = [paths.items()] if paths else self._staged(engine, staging, held)
            way = "fetched" if not paths else "local" if self.pattern.is_local else "in place"
            if way != "local":
                progress.say(f"etl: {self}, {way} from {self.pattern.fixed_prefix}")
            with progress.stage("etl: read sessions", engine.progress if paths else meter.percent) as stage:
                stage.detail = f"({self})" if paths else meter
                reduced = engine.reduce_sessions(map(files, batches), reduction, combine_reduced)
            self._require_unchanged()
            yield Reading(reduced, way, staging.fetched, names)

    def _staged(self, engine: Engine, staging: Staging, held: ExitStack) -> Iterator[Iterable[tuple[Item, str]]]:
        """Yield batches of fetched files; where the engine may come back for them, one that ``held`` keeps."""
        if engine.reads_once:
            for batch in staging.batches(self.items):
                yield [(item, str(path)) for item, path in batch]
        else:
            paths = held.enter_context(staging.whole(self.items))
            yield zip(self.items, map(str, paths), strict=True)

    def __str__(self) -> str:
        """Return how much it is."""
        number = len(self.items)
        return f"{number:,} file{'s' if number > 1 else ''}, {in_units(self.bytes)}"

    def _in_place(self, engine: Engine) -> dict[Item, str] | None:
        """Return what the engine itself reads each file by, or None if it cannot."""
        if self.pattern.is_local:
            return {item: item.location.path for item in self.items}
        urls = self.pattern.fixed_prefix.hadoop_urls()
        url = engine.reads_in_place(urls)
        return {item: item.location.hadoop_urls()[urls.index(url)] for item in self.items} if url else None

    def _first_lines(self, item: Item, size: int, limit: int) -> list[str]:
        return first_lines(self.store.head(item, size), str(item.location), limit)

    def _require_unchanged(self) -> None:
        now = {item.location: item for item in self.store.find(self.pattern)}
        if any(now.get(item.location) != item for item in self.items):
            raise DataError(f"files of {self.pattern} changed while they were read: run again when they are complete.")


@dataclass(frozen=True)
class Reading:
    """What the files were reduced to.

    Attributes:
        reduced: the engine's result.
        way: ``local``, ``in place`` or ``fetched``.
        fetched: bytes that were moved for it; less than the files have where some were in the cache already.
        names: of the files, by what the engine knows them as, where that is something else.
    """

    reduced: Reduced
    way: str
    fetched: int
    names: Mapping[str, str]

    def with_names(self, frame: Frame, engine: Engine) -> Frame:
        """Return a frame with the column ``file``, in which it says where each file really is."""
        if not self.names:
            return frame
        table = pa.table({"path": list(self.names), "name": list(self.names.values())})
        named = frame.join(engine.from_arrow(table), left_on="file", right_on="path", how="left")
        return named.with_columns(file=nw.col("name"))
