"""Local files: finding the input and publishing results whole."""

from __future__ import annotations

import glob
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workload_forecast.errors import DataError, EnvironmentProblem

#: Written last into a result's folder; a folder without it is not a result.
INFO_FILE = "info.json"

_DRAFT = ".draft-"


def find_files(pattern: str) -> list[Path]:
    """Return the files that match a glob (``**`` allowed), sorted.

    Raises:
        DataError: no file matches.
    """
    # not Path.glob, which takes no absolute pattern
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207
    # a pattern with two ** finds a file once for every way to share the folders out between them
    files = sorted({Path(name).absolute() for name in names if Path(name).is_file()})
    if not files:
        raise DataError(
            f"no file matches dataFile '{pattern}' (looked from {Path.cwd()}): correct it or put data there."
        )
    return files


@contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write a result into; on success it takes the place of ``folder`` in one rename.

    A reader sees the old result or the new one, never half of one. What crashed runs left behind is removed.

    Raises:
        EnvironmentProblem: the place cannot be written, or the disk is full.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(folder)
        draft = _draft(folder)
        draft.mkdir()
    except OSError as problem:
        raise EnvironmentProblem(f"results cannot be written to {folder.parent}: {problem.strerror}.") from None
    try:
        yield draft
        if folder.exists():
            old = _draft(folder)
            folder.rename(old)
            draft.rename(folder)
            shutil.rmtree(old)
        else:
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Mark the result in ``folder`` as complete and say what it is."""
    (folder / INFO_FILE).write_text(json.dumps(info, indent=2, default=str) + "\n", encoding="utf-8")


def read_info(folder: Path) -> dict[str, Any] | None:
    """Return what :func:`write_info` wrote, or None if there is no complete result in ``folder``."""
    try:
        info: dict[str, Any] = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info


def is_draft(folder: Path) -> bool:
    """Return whether :func:`publish` is at work on a folder, or was when it died."""
    return _DRAFT in folder.name


def _draft(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{_DRAFT}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _remove_orphans(folder: Path) -> None:
    """Remove the drafts of runs on this machine that are no longer alive."""
    for draft in folder.parent.glob(f"{glob.escape(folder.name)}{_DRAFT}{glob.escape(socket.gethostname())}-*-*"):
        process = int(draft.name.rsplit("-", 2)[1])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            shutil.rmtree(draft, ignore_errors=True)
        except PermissionError:
            continue  # alive, and somebody else's
