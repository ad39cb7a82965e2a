"""The session files of a run, wherever they are: found, looked into, and read by the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from workload_forecast.config import Settings
from workload_forecast.engines.contract import Engine
from workload_forecast.errors import DataError
from workload_forecast.sessions.inputs import busiest_servers, layout_of
from workload_forecast.sessions.layouts import DETECTION_LINES, Layout
from workload_forecast.storage.cache import open_cache
from workload_forecast.storage.contract import Item, Store
from workload_forecast.storage.lines import first_lines
from workload_forecast.storage.locations import Location, parse_location
from workload_forecast.storage.meter import in_units
from workload_forecast.storage.staging import Staging, chunks_of, digest_of
from workload_forecast.storage.stores import open_store

#: Lines of the first file among which the busiest servers are looked for, and the bytes that hold so many.
_SAMPLE_LINES, _SAMPLE_BYTES = 20_000, 4 << 20
#: The same for a file's layout.
_LAYOUT_BYTES = 1 << 16
#: What is read at once, but for larger files: enough to keep all cores busy, and little to do again.
_CHUNK_BYTES = 256 << 20
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

    def layouts(self, items: Sequence[Item], declared: str) -> dict[Item, Layout]:
        """Return the files' layouts: the declared one, or what the first lines of each look like."""

        def look(item: Item) -> Layout:
            return layout_of(self._first_lines(item, _LAYOUT_BYTES, DETECTION_LINES), declared)

        if declared != "auto":
            return dict.fromkeys(items, layout_of((), declared))
        with ThreadPoolExecutor(_LOOKS) as pool:
            return dict(zip(items, pool.map(look, items), strict=True))

    def busiest_servers(self, declared: str) -> tuple[str, ...]:
        """Return the busiest servers among the first lines of the first file.

        Raises:
            DataError: there are none.
        """
        first = self.items[0]
        layout = self.layouts([first], declared)[first]
        servers = busiest_servers(self._first_lines(first, _SAMPLE_BYTES, _SAMPLE_LINES), layout)
        if not servers:
            raise DataError(
                f"debug=FILTER_IP found no server in the first lines of {first.location}: "
                "name debugServers in the config."
            )
        return servers

    def chunks(self) -> list[list[Item]]:
        """Share the files out to chunks that are read at once; fetched ones leave room for the next in the cache."""
        room = _CHUNK_BYTES if self.pattern.is_local else min(_CHUNK_BYTES, open_cache(self.cache).limit_bytes // 4)
        return chunks_of(self.items, room)

    def way(self, engine: Engine) -> str:
        """Return how the engine reads the files: ``local``, ``in place`` or ``fetched``."""
        if self.pattern.is_local:
            return "local"
        return "in place" if self._url(engine) else "fetched"

    def hand_out(self, engine: Engine, chunks: Sequence[Sequence[Item]], staging: Staging) -> Iterator[list[str]]:
        """Yield, for each chunk, what the engine reads its files by.

        In place where it can; else they are fetched, and may go when the next chunk is asked for.

        Raises:
            EnvironmentProblem: a file cannot be fetched, or the disk has no room.
        """
        url = "" if self.pattern.is_local else self._url(engine)
        if self.pattern.is_local or not url:
            yield from (list(map(str, paths)) for paths in staging.chunks(chunks))
        else:
            position = self.pattern.fixed_prefix.hadoop_urls().index(url)
            yield from ([item.location.hadoop_urls()[position] for item in chunk] for chunk in chunks)

    def require_unchanged(self, chunk: Sequence[Item]) -> None:
        """Look at files again that were read.

        Raises:
            DataError: one is not what it was when it was found.
        """
        now = {item.location: item for item in self.store.find(self.pattern)}
        if any(now.get(item.location) != item for item in chunk):
            raise DataError(f"files of {self.pattern} changed while they were read: run again when they are complete.")

    def __str__(self) -> str:
        """Return how much it is."""
        number = len(self.items)
        return f"{number:,} file{'s' if number > 1 else ''}, {in_units(self.bytes)}"

    def _url(self, engine: Engine) -> str:
        """Return how the engine itself reaches the folder of the files; empty if it does not."""
        return engine.reads_in_place(self.pattern.fixed_prefix.hadoop_urls())

    def _first_lines(self, item: Item, size: int, limit: int) -> list[str]:
        return first_lines(self.store.head(item, size), str(item.location), limit)
