"""What an engine must do. Everything else is written once, over the lazy frames that an engine hands out.

An engine opens the session (database or Spark), reads the input files, reads and writes tables. Adding one means
one module here, one line in :mod:`workload_forecast.engines` and one subclass of the conformance suite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from workload_forecast.schemas import Frame, Table
from workload_forecast.sessions.layouts import Layout

#: Maps the raw lines (:data:`~workload_forecast.schemas.RAW_SESSIONS`) to :data:`~workload_forecast.schemas.REDUCED`.
Reduction = Callable[[Frame], Frame]

#: Longer lines are quarantined with the reason ``line_too_long``, which bounds a reader's memory.
LONGEST_LINE_BYTES = 1_000_000


@dataclass(frozen=True)
class SessionFile:
    """One input file and the layout it is read with.

    ``path`` is an absolute local path or, where :meth:`Engine.reads_in_place` says so, a URL.
    """

    path: str
    layout: Layout


class Engine(Protocol):
    """One way to run the project's frames. Use it as a context manager: leaving it frees what it holds."""

    name: str
    #: How many calls of :meth:`reduce_sessions` may run at once, in threads, to keep its cores busy.
    reductions: int

    @property
    def distributed(self) -> bool:
        """Whether other machines than this one work for it."""

    def reads_in_place(self, urls: Sequence[str]) -> str:
        """Return the first of several URLs of one folder that this engine can list itself, or an empty text."""

    def reduce_sessions(self, files: Sequence[SessionFile], reduction: Reduction, path: Path) -> int:
        """Read every line of the files once and write what ``reduction`` makes of them to the new folder ``path``.

        Returns:
            The number of non-blank lines that were read. It is counted apart from the reduction, so that the accounting
            identity can catch a lost row.

        Raises:
            DataError: a file cannot be read (missing, denied, broken compression); the message names it.
            EnvironmentProblem: memory or disk do not suffice.
        """

    def read_table(self, table: Table, *paths: Path) -> Frame:
        """Return what is stored of ``table`` in one folder or several, lazily, checked against its schema."""

    def write_table(self, frame: Frame, table: Table, path: Path) -> int:
        """Write ``frame`` as Parquet files under the folder ``path`` (made anew) and return the number of rows.

        The caller owns swapping the folder into place.
        """

    def from_arrow(self, data: pa.Table) -> Frame:
        """Return a small in-memory table as a frame of this engine."""

    def with_digest(self, frame: Frame, column: str, name: str) -> Frame:
        """Return the frame with a column ``name``: the MD5 of the text in ``column``, as 32 lower-case digits.

        Taken of the text in UTF-8, and so the same by every engine; Narwhals has no such function. Null stays null.
        """

    def progress(self) -> float | None:
        """Return the percentage of the running work that is done, from any thread; None if nobody can tell."""

    def versions(self) -> Mapping[str, str]:
        """Return the names and versions of the libraries that do this engine's work."""


#: Opens an engine; ``options`` are the engine's own settings (memory limit, Spark configuration).
EngineFactory = Callable[[Mapping[str, Any]], AbstractContextManager[Engine]]
