"""Local folders as a store."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from workload_forecast.errors import DataError, EnvironmentProblem
from workload_forecast.storage.contract import Item, Told, tell_nobody
from workload_forecast.storage.local import find_files
from workload_forecast.storage.locations import Location
from workload_forecast.storage.published import FileMissing, PublishedFolders

_CHUNK_BYTES = 1 << 20


class LocalStore(PublishedFolders):
    """See :class:`~workload_forecast.storage.contract.Store`."""

    def find(self, pattern: Location) -> list[Item]:
        """See the contract."""
        return sorted((_item(path) for path in find_files(pattern.path)), key=lambda item: item.location.path)

    def files(self, folder: Location) -> list[Item]:
        """See the contract."""
        items = []
        for path in sorted(folder.as_path().rglob("*"), key=str):
            try:
                if path.is_file():
                    items.append(_item(path))
            except FileNotFoundError:  # a writer has just replaced it
                continue
        return items

    def fetch(self, item: Item, target: Path, told: Told = tell_nobody) -> None:
        """Copy the file; see the contract."""
        source, part = item.location.as_path(), target.with_name(f"{target.name}.part")
        try:
            with _reading(item) as stream, part.open("wb") as copy:
                while chunk := stream.read(_CHUNK_BYTES):
                    copy.write(chunk)
                    told(len(chunk))
            part.replace(target)
        except OSError as problem:
            raise EnvironmentProblem(f"{source} cannot be copied to {target}: {problem.strerror}.") from None
        finally:
            part.unlink(missing_ok=True)

    def head(self, item: Item, size: int) -> bytes:
        """See the contract."""
        try:
            with _reading(item) as stream:
                return stream.read(size)
        except OSError as problem:
            raise DataError(f"{item.location} cannot be read: {problem.strerror}.") from None

    def _put(self, source: Path, location: Location, md5: bytes) -> None:  # noqa: ARG002 — the manifest has a better one
        target = location.as_path()
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source, draft)
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)

    def _write(self, location: Location, content: bytes) -> None:
        target = location.as_path()
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        with _writing(target):
            draft.write_bytes(content)
            draft.replace(target)

    def _read(self, location: Location) -> bytes | None:
        try:
            return location.as_path().read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise EnvironmentProblem(f"{location} cannot be read: {problem.strerror}.") from None

    def _remove(self, location: Location, folder: Location) -> None:
        path, top = location.as_path(), folder.as_path()
        with _writing(path):
            path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == top:
                break
            try:
                parent.rmdir()
            except OSError:  # not empty yet, or gone
                break

    @contextmanager
    def _hold(self, location: Location) -> Iterator[Callable[[], None]]:
        path = location.as_path()
        draft = path.with_name(f".{path.name}")
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            mark = os.open(draft, os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(mark, fcntl.LOCK_EX)
            draft.rename(path)  # so that nobody sees the mark before it is held
        try:
            yield lambda: None  # the system's lock is not lost while the process lives
        finally:
            path.unlink(missing_ok=True)
            os.close(mark)

    def _held(self, location: Location) -> bool:
        try:
            with location.as_path().open("r+b") as mark:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


@contextmanager
def _reading(item: Item) -> Iterator[BinaryIO]:
    """Open a file that must be, and stay, the one that was found."""
    source = item.location.as_path()
    try:
        with source.open("rb") as stream:
            yield stream
        if _item(source).version != item.version:
            raise DataError(f"{source} has changed since it was found: run it again.")
    except FileNotFoundError:
        raise FileMissing(f"{source} is not there any more: run it again.") from None


def _item(path: Path) -> Item:
    stat = path.stat()
    version = f"{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"
    return Item(Location(str(path)), stat.st_size, version)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise EnvironmentProblem(f"{path} cannot be written: {problem.strerror}.") from None
