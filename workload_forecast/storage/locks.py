"""Locks between processes: a file that the system holds for them, free as soon as they are gone."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from workload_forecast.errors import EnvironmentProblem

#: What file systems answer that have no locks; on them processes are as they would be without this module.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}


class Lock:
    """Shared by those who use something, owned by the one who changes it.

    Args:
        path: of the lock's file, which is made and stays.
        waiting: makes the context in which somebody waits for others.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """

    def __init__(self, path: Path, waiting: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._waiting = waiting
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as problem:
            raise EnvironmentProblem(f"{path} cannot be written: {problem.strerror}.") from None

    def share(self) -> None:
        """Hold it with others, after the one that owns it."""
        self._take(fcntl.LOCK_SH)

    def own(self) -> None:
        """Hold it alone. One who shared it lets go first, so look again at what others may have changed."""
        self._take(fcntl.LOCK_EX)

    def _take(self, kind: int) -> None:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            with self._waiting():
                fcntl.flock(self._file, kind)
        except OSError as problem:
            if problem.errno not in _NO_LOCKS:
                raise

    def close(self) -> None:
        """Let go."""
        os.close(self._file)
