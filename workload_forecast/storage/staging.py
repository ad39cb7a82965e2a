"""Input files shared out to chunks, and brought to this machine: while a chunk is read, the next is on its way."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
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


def chunks_of(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Share files out, in order, to chunks of about ``size`` bytes, or of one larger file.

    A file ends a chunk by what its own name says, as likely as it is large. So a file that is added or removed changes
    the chunk that it is in and few beside it; all others stay as they were.
    """
    chunks: list[list[Item]] = []
    room = 0
    for item in items:
        if not room or item.size > room:
            chunks.append([])
            room = 2 * size
        chunks[-1].append(item)
        digest = hashlib.sha256(str(item.location).encode()).digest()
        room = 0 if int.from_bytes(digest[:6], "big") * size < item.size << 48 else room - item.size
    return chunks


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

    def chunks(self, chunks: Sequence[Sequence[Item]]) -> Generator[list[Path], None, None]:
        """Yield each chunk's files, which may go when the next chunk is asked for.

        While one is worked on, the next one is fetched, if the cache has room for both.

        Raises:
            EnvironmentProblem: a chunk does not fit the cache.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="chunk") as pool, ExitStack() as last:
            coming: Future[tuple[ExitStack, list[Path]]] | None = None
            for number, chunk in enumerate(chunks):
                held, paths = coming.result() if coming else self._held(chunk)
                with held:
                    after = chunks[number + 1] if number + 1 < len(chunks) else []
                    fits = _bytes(chunk) + _bytes(after) <= self._cache.limit_bytes
                    coming = pool.submit(self._held, after) if after and fits else None
                    if coming:
                        last.callback(_let_go, coming)
                    yield paths

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
