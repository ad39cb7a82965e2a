"""Each version once, within the room that is allowed."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from workload_forecast.errors import DataError, EnvironmentProblem
from workload_forecast.storage.cache import Cache
from workload_forecast.storage.contract import Item, Told, tell_nobody
from workload_forecast.storage.local_store import LocalStore
from workload_forecast.storage.locations import Location, parse_location


class Remote(LocalStore):
    """Blobs of which only the fetching matters here."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.fail = False

    def fetch(self, item: Item, target: Path, told: Told = tell_nobody) -> None:
        self.fetched.append(item.location.name)
        if self.fail:
            raise DataError("the line broke")
        target.write_bytes(item.version.encode()[:1] * item.size)
        told(item.size)


def blob(name: str, size: int = 100, version: str = "1") -> Item:
    return Item(Location(name, "data", "https://acc.blob.core.windows.net"), size, version)


@pytest.fixture
def remote() -> Remote:
    return Remote()


def use(cache: Cache, remote: Remote, item: Item) -> bytes:
    with cache.hold(remote, item) as path:
        return path.read_bytes()


def test_an_unchanged_blob_is_fetched_once(tmp_path: Path, remote: Remote) -> None:
    cache = Cache(tmp_path / "cache", 1000)
    told: list[int] = []
    for _ in range(3):
        with cache.hold(remote, blob("a/x.csv.gz"), told.append) as path:
            assert path.read_bytes() == b"1" * 100
            assert path.name.endswith("x.csv.gz")
    assert use(Cache(tmp_path / "cache", 1000), remote, blob("a/x.csv.gz")) == b"1" * 100
    assert remote.fetched == ["x.csv.gz"]
    assert told == [100]


def test_a_changed_blob_is_fetched_again(tmp_path: Path, remote: Remote) -> None:
    cache = Cache(tmp_path / "cache", 1000)
    assert use(cache, remote, blob("x", version="1")) == b"1" * 100
    assert use(cache, remote, blob("x", version="2")) == b"2" * 100
    assert len(remote.fetched) == 2


def test_the_least_recently_used_goes_first(tmp_path: Path, remote: Remote) -> None:
    cache = Cache(tmp_path / "cache", 300)
    for number, name in enumerate("abc"):
        use(cache, remote, blob(name))
        for lock in (tmp_path / "cache").glob("*.lock"):  # file systems keep time coarsely
            os.utime(lock, (lock.stat().st_atime - 10, lock.stat().st_mtime - 10)) if number < 2 else None
    use(cache, remote, blob("a"))
    use(cache, remote, blob("d"))
    assert used(tmp_path) <= 300

    remote.fetched.clear()
    for name in "acd":
        use(cache, remote, blob(name))
    assert remote.fetched == []
    use(cache, remote, blob("b"))
    assert remote.fetched == ["b"]


def test_what_is_in_use_stays_and_too_much_is_an_error(tmp_path: Path, remote: Remote) -> None:
    cache = Cache(tmp_path / "cache", 250)
    with ExitStack() as stack:
        paths = [stack.enter_context(cache.hold(remote, blob(name))) for name in "ab"]
        with pytest.raises(EnvironmentProblem, match="files in use take 200 of the 250"):
            use(cache, remote, blob("c"))
        assert all(path.exists() for path in paths)
        assert stack.enter_context(cache.hold(remote, blob("a"))) == paths[0]
    assert use(cache, remote, blob("c"))
    with pytest.raises(EnvironmentProblem, match="allow it more"):
        use(cache, remote, blob("big", size=251))


def test_a_fetch_that_failed_is_tried_again(tmp_path: Path, remote: Remote) -> None:
    cache, remote.fail = Cache(tmp_path / "cache", 250), True
    with pytest.raises(DataError, match="line broke"):
        use(cache, remote, blob("a"))
    remote.fail = False
    assert use(cache, remote, blob("a")) == b"1" * 100


def test_several_at_once_fetch_it_once(tmp_path: Path, remote: Remote) -> None:
    results: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda name: results.append(use(Cache(tmp_path / "cache", 1000), remote, blob(name))),
            args=(name,),
        )
        for name in "abcabcabc"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(remote.fetched) == ["a", "b", "c"]
    assert results == [b"1" * 100] * 9


def test_a_local_file_is_its_own_copy(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    [item] = LocalStore().find(parse_location(str(tmp_path / "x")))
    with Cache(tmp_path / "cache", 1).hold(LocalStore(), item) as path:
        assert path == tmp_path / "x"
    assert not (tmp_path / "cache").exists()


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "cache").glob("*/blob-*"))
