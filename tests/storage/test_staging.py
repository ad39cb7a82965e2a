"""Files in chunks: all of them, once, within the room, the next one on its way."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.test_cache import Remote, blob
from workload_forecast.errors import DataError, EnvironmentProblem
from workload_forecast.storage.cache import Cache
from workload_forecast.storage.contract import Item, Told, tell_nobody
from workload_forecast.storage.local_store import LocalStore
from workload_forecast.storage.locations import parse_location
from workload_forecast.storage.staging import Staging, chunks_of, digest_of


def taken(folder: Path) -> int:
    """Bytes of the cache's files; the next batch is on its way meanwhile, so that files and folders may vanish."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith("blob-"):
                with contextlib.suppress(FileNotFoundError):
                    size += os.stat(os.path.join(parent, name)).st_size  # noqa: PTH116, PTH118 - as os.walk goes
    return size


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 100), min_size=1, max_size=12), limit=st.integers(100, 500))
def test_every_file_comes_once_and_never_more_than_there_is_room_for(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    items = [blob(f"{number}.csv", size) for number, size in enumerate(sizes)]
    told: list[int] = []
    staging = Staging(Remote(), Cache(folder, limit), told.append)
    seen = []
    chunks = chunks_of(items, limit // 4)
    for chunk, paths in zip(chunks, staging.chunks(chunks), strict=True):
        assert [path.stat().st_size for path in paths] == [item.size for item in chunk]
        assert taken(folder) <= limit
        seen += chunk
    assert seen == items
    assert sum(told) == staging.fetched == sum(sizes)


def test_the_next_chunk_is_on_its_way_while_one_is_worked_on(tmp_path: Path) -> None:
    remote = Remote()
    chunks = Staging(remote, Cache(tmp_path, 200)).chunks([[blob("1")], [blob("2")], [blob("3")]])
    next(chunks)
    for _ in range(500):
        if "2" in remote.fetched:
            break
        threading.Event().wait(0.01)
    assert remote.fetched == ["1", "2"]
    chunks.close()
    assert (tmp_path / "room.lock").exists()
    assert Cache(tmp_path, 100).hold(remote, blob("4")).__enter__().exists(), "what nobody asked for was let go"


def test_what_is_in_the_cache_is_told_but_not_fetched(tmp_path: Path) -> None:
    told: list[int] = []
    for fetched in (300, 0):
        staging = Staging(Remote(), Cache(tmp_path, 1000), told.append)
        assert [len(paths) for paths in staging.chunks([[blob("1"), blob("2"), blob("3")]])] == [3]
        assert staging.fetched == fetched
    assert sum(told) == 600


def test_a_chunk_must_fit(tmp_path: Path) -> None:
    items = [blob("1"), blob("2"), blob("3")]
    (paths,) = Staging(Remote(), Cache(tmp_path, 300)).chunks([items])
    assert [path.name for path in paths] == ["blob-1", "blob-2", "blob-3"]
    with pytest.raises(EnvironmentProblem, match="WORKLOAD_FORECAST_CACHE_GB"):
        list(Staging(Remote(), Cache(tmp_path / "other", 299)).chunks([items]))


@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=60), size=st.integers(50, 200))
def test_a_chunk_is_small_or_one_large_file(sizes: list[int], size: int) -> None:
    items = [blob(f"{number}.csv", length) for number, length in enumerate(sizes)]
    chunks = chunks_of(items, size)
    assert [item for chunk in chunks for item in chunk] == items
    assert all(sum(item.size for item in chunk) <= 2 * size or len(chunk) == 1 for chunk in chunks)


def test_one_file_more_leaves_almost_all_chunks_as_they_were() -> None:
    items = [blob(f"{number:05}.csv", 10) for number in range(2_000)]
    before = chunks_of(items, 100)
    after = chunks_of([*items[:777], blob("00776a.csv", 10), *items[777:]], 100)
    changed = [chunk for chunk in after if chunk not in before]
    assert len(changed) <= 8
    assert 150 < len(before) < 500


class Broken(LocalStore):
    """The second file cannot be had."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def fetch(self, item: Item, target: Path, told: Told = tell_nobody) -> None:
        self.asked.append(item.location.name)
        if item.location.name == "2":
            raise DataError("2 is broken")
        target.write_bytes(b"x" * item.size)
        told(item.size)


def test_the_first_error_ends_it(tmp_path: Path) -> None:
    store = Broken()
    items = [blob(str(number), 10) for number in range(1, 100)]
    with pytest.raises(DataError, match="2 is broken"):
        list(Staging(store, Cache(tmp_path, 10_000)).chunks([items]))
    assert len(store.asked) < 90


def test_local_files_stay_where_they_are(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"x" * 100)
    store = LocalStore()
    items = store.find(parse_location(str(tmp_path / "*")))
    staging = Staging(store, Cache(tmp_path / "cache", 10))
    assert list(staging.chunks([items])) == [[tmp_path / "a", tmp_path / "b"]]
    assert staging.fetched == 0
    assert not (tmp_path / "cache").exists()


def test_the_digest_sees_every_change(tmp_path: Path) -> None:
    one, two = tmp_path / "1.csv", tmp_path / "2.csv"

    def digest(pattern: str = "*.csv") -> str:
        return digest_of(LocalStore().find(parse_location(str(tmp_path / pattern))))

    one.write_text("abc")
    two.write_text("def")
    seen = [digest()]
    assert digest() == seen[0]
    stamp = one.stat()
    one.write_text("abd")
    os.utime(one, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # same size, and the time set back
    seen.append(digest())
    two.touch()
    seen += [digest(), digest("1.csv")]
    replacement = tmp_path / "new"
    replacement.write_text("abd")
    replacement.rename(one)
    seen.append(digest())
    assert len(set(seen)) == len(seen)
