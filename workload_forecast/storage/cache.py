"""Blobs on local disk: each version fetched once, the least recently used ones out when the room is taken.

An entry is ``FOLDER/KEY/NAME`` with ``FOLDER/KEY.lock`` beside it, which every process that uses the entry holds
shared, and the one that fetches or removes it holds alone. The lock's modification time says when it was last used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.storage.contract import Item, Store, Told, tell_nobody
from workload_forecast.storage.gigabytes import gigabytes

#: The most that a cache may take, in GB; by default half of what is free on its disk.
VARIABLE = "WORKLOAD_FORECAST_CACHE_GB"


def open_cache(folder: Path, environment: Mapping[str, str] = os.environ) -> Cache:
    """Return the cache in a folder, with the room that the environment or the disk allows.

    Raises:
        SettingsError: the variable is not a number of gigabytes.
    """
    limit = gigabytes(VARIABLE, environment)
    if limit is not None:
        return Cache(folder, int(limit * 1e9))
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    taken = sum(_size(entry) for entry in folder.iterdir() if entry.is_dir()) if folder.exists() else 0
    return Cache(folder, (shutil.disk_usage(there).free + taken) // 2)


class Cache:
    """A folder of blobs that processes share.

    Args:
        folder: made when it is first needed.
        limit_bytes: for all entries together.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self.limit_bytes = folder, limit_bytes

    @contextmanager
    def hold(self, store: Store, item: Item, told: Told = tell_nobody) -> Iterator[Path]:
        """Yield a local file with the item's content, which stays at least until the block ends.

        A local item is its own file. ``told`` hears of bytes that are fetched, not of those that are there.

        Raises:
            DataError: see :meth:`~workload_forecast.storage.contract.Store.fetch`.
            EnvironmentProblem: the files in use leave no room for this one.
        """
        if item.location.is_local:
            yield item.location.as_path()
            return
        key = hashlib.sha256(f"{item.location}\n{item.version}".encode()).hexdigest()[:32]
        target = self._folder / key / _file_name(item)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._lock(key), os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as problem:
            raise EnvironmentProblem(f"{self._folder} cannot be written: {problem.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            while not _whole(target, item):
                # a change of lock gives the old one up first, so that no two wait for each other, and all may change
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not _whole(target, item):
                    with self._alone():
                        self._make_room(item, key)
                        target.parent.mkdir(exist_ok=True)
                        (target.parent / "size").write_text(str(item.size), encoding="utf-8")
                    store.fetch(item, target, told)
                fcntl.flock(lock, fcntl.LOCK_SH)
            os.utime(self._lock(key))
            yield target
        finally:
            os.close(lock)

    def _lock(self, key: str) -> Path:
        return self._folder / f"{key}.lock"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / "room.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_room(self, item: Item, own_key: str) -> None:
        """Remove entries that nobody holds, those unused for longest first, until the item fits."""
        sizes = {folder.name: _size(folder) for folder in self._folder.iterdir() if folder.is_dir()}
        sizes.pop(own_key, None)
        taken = sum(sizes.values())
        for key in sorted(sizes, key=self._last_use):
            if taken + item.size <= self.limit_bytes:
                return
            if self._remove(key):
                taken -= sizes[key]
        if taken + item.size > self.limit_bytes:
            raise EnvironmentProblem(
                f"{item.location} has {item.size} bytes, and files in use take {taken} of the {self.limit_bytes} that "
                f"cache {self._folder} may have: allow it more with {VARIABLE}."
            )

    def _last_use(self, key: str) -> float:
        try:
            return self._lock(key).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _remove(self, key: str) -> bool:
        """Remove an entry unless somebody holds it. Its lock stays: another process may have it open already."""
        with self._lock(key).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            shutil.rmtree(self._folder / key)
        return True


def _whole(target: Path, item: Item) -> bool:
    return target.is_file() and target.stat().st_size == item.size


def _size(folder: Path) -> int:
    """Return what an entry takes, or will take once it is fetched."""
    try:
        return int((folder / "size").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0


def _file_name(item: Item) -> str:
    """Return a name that tells readers the format and fits any file system."""
    name = item.location.name.encode()[-100:].decode(errors="ignore").lstrip(".")
    return f"blob-{name}"
