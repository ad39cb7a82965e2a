"""Who waits for whom."""

from __future__ import annotations

import errno
import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.storage.locks import Lock


class Waiting:
    """Notes that somebody waits."""

    def __init__(self) -> None:
        self.began, self.over = threading.Event(), threading.Event()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.began.set()
        yield
        self.over.set()


@pytest.mark.parametrize(("first", "second"), [("own", "share"), ("own", "own"), ("share", "own")])
def test_owning_waits_for_all_and_all_wait_for_the_owner(tmp_path: Path, first: str, second: str) -> None:
    waiting = Waiting()
    one, other = Lock(tmp_path / "locks" / "x"), Lock(tmp_path / "locks" / "x", waiting)
    getattr(one, first)()
    thread = threading.Thread(target=getattr(other, second))
    thread.start()
    assert waiting.began.wait(20)
    assert not waiting.over.is_set()
    one.close()
    thread.join(20)
    assert waiting.over.is_set()
    other.close()


def test_those_who_share_do_not_wait(tmp_path: Path) -> None:
    waiting = Waiting()
    locks = [Lock(tmp_path / "x", waiting) for _ in range(3)]
    for lock in locks:
        lock.share()
    assert not waiting.began.is_set()
    for lock in locks[1:]:
        lock.close()
    locks[0].own()  # a lock that was let go is in nobody's way
    assert not waiting.began.is_set()
    locks[0].close()


def test_a_file_system_without_locks_is_used_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    lock = Lock(tmp_path / "x")
    lock.share()
    lock.own()
    lock.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match=r"file/x cannot be written"):
        Lock(tmp_path / "file" / "x")
