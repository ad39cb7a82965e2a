"""Input files brought to this machine, in batches that fit the cache: while one is read, the next is on its way."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path

from workload_forecast.storage.cache import Cache
from workload_forecast.storage.contract import Item, Store, Told, tell_nobody

#: Files on their way at once; each of them in several ranges.
_FILES = 4


def digest_of(items: Sequence[Item]) -> str:
    """Return a digest that changes whenever a file is added, removed, replaced, edited or touched.

    It is made of places, sizes and versions, which are ETags of blobs and, of local files, the file system's time
    stamps, among them the change time that no program can set back: reading a terabyte to find out that it is the same
    one would cost more than the answer is worth.
    """
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps((str(item.location), item.size, item.version)).encode())
    return digest.hexdigest()


class Staging:
    """Hands out files as local ones.

    Args:
        store: that has them.
        cache: where remote ones are kept; local ones stay where they are.
        told: hears of the bytes of each file, whether they were fetched or in the cache already.

    Attributes:
        fetched: bytes that came from the store.
    """

    def __init__(self, store: Store, cache: Cache, told: Told = tell_nobody) -> None:
        self._store, self._cache, self._told = store, cache, told
        self._lock = threading.Lock()
        self.fetched = 0

    @contextmanager
    def whole(self, items: Sequence[Item]) -> Iterator[list[Path]]:
        """Yield all files together, which stay until the block ends.

        Raises:
            EnvironmentProblem: they do not fit the cache together.
        """
        with ExitStack() as held:
            yield self._hold(held, items)

    def batches(self, items: Sequence[Item]) -> Generator[list[tuple[Item, Path]], None, None]:
        """Yield the files in batches, each of which may go when the next one is asked for.

        While one is worked on, the next one is fetched, if the cache has room for both.
        """
        parts = self._parts(items)
        with ThreadPoolExecutor(1, thread_name_prefix="batch") as pool, ExitStack() as last:
            coming: Future[tuple[ExitStack, list[Path]]] | None = None
            for number, part in enumerate(parts):
                held, paths = coming.result() if coming else self._held(part)
                with held:
                    after = parts[number + 1] if number + 1 < len(parts) else []
                    fits = _bytes(part) + _bytes(after) <= self._cache.limit_bytes
                    coming = pool.submit(self._held, after) if after and fits else None
                    if coming:
                        last.callback(_let_go, coming)
                    yield list(zip(part, paths, strict=True))

    def _parts(self, items: Sequence[Item]) -> list[list[Item]]:
        """Share files out, in order, to batches of at most half the cache; a larger file is a batch of its own."""
        parts: list[list[Item]] = []
        room = 0
        for item in items:
            size = 0 if item.location.is_local else item.size
            if not parts or size > room:
                parts.append([])
                room = self._cache.limit_bytes // 2
            parts[-1].append(item)
            room -= size
        return parts

    def _held(self, items: Sequence[Item]) -> tuple[ExitStack, list[Path]]:
        with ExitStack() as held:
            paths = self._hold(held, items)
            return held.pop_all(), paths

    def _hold(self, held: ExitStack, items: Sequence[Item]) -> list[Path]:
        """Fetch files into ``held``; the first error ends it after the files that are on their way."""
        with ThreadPoolExecutor(_FILES, thread_name_prefix="file") as pool:
            files = [pool.submit(self._one, item) for item in items]
            wait(files, return_when=FIRST_EXCEPTION)
            pool.shutdown(cancel_futures=True)
        there = [file.result() for file in files if not file.cancelled() and not file.exception()]
        for stack, _ in there:
            held.push(stack)
        for problem in (file.exception() for file in files if not file.cancelled()):
            if problem:
                raise problem
        return [path for _, path in there]

    def _one(self, item: Item) -> tuple[ExitStack, Path]:
        fetched = 0

        def told(count: int) -> None:
            nonlocal fetched
            fetched += count
            with self._lock:
                self.fetched += count
            self._told(count)

        with ExitStack() as held:
            path = held.enter_context(self._cache.hold(self._store, item, told))
            self._told(max(0, item.size - fetched))
            return held.pop_all(), path


def _bytes(items: Sequence[Item]) -> int:
    return sum(item.size for item in items)


def _let_go(coming: Future[tuple[ExitStack, list[Path]]]) -> None:
    """Free what was fetched for a batch that nobody asked for any more."""
    if not coming.cancel() and not coming.exception():
        coming.result()[0].close()
