"""Lines of local files as bytes: the reader's own count, apart from any engine.

A row of input is a line that is not empty. Lines end with LF, CR LF or CR, and a byte order mark at the start of a file
is not part of a line: this is what both engines' readers take.
"""

from __future__ import annotations

import gzip
import io
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from workload_forecast.errors import DataError

#: Small enough for a processor's cache, which the bytes go through several times.
_CHUNK_BYTES = 1 << 18

_LF, _CR = b"\n\r"

#: A longer line is cut when only the first lines of a file are looked at.
_LONGEST_LOOK = 1 << 16


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, unpacking ``.gz``.

    Raises:
        DataError: the file cannot be read or is not what its name says; the message names it.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield cast(BinaryIO, stream)
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"{path} cannot be read: {problem}. Fetch it again or take it out of dataFile.") from None


def first_lines(head: bytes, name: str, limit: int) -> list[str]:
    """Return up to ``limit`` lines from the start of a file; bytes that are not UTF-8 are replaced.

    Args:
        head: the first bytes of the file; the last line in it may be cut short.
        name: of the file, which tells whether it is packed.

    Raises:
        DataError: the file is not what its name says.
    """
    plain: BinaryIO = io.BytesIO(head)
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=plain)) if name.endswith(".gz") else plain
    lines: list[str] = []
    try:
        while len(lines) < limit and (line := stream.readline(_LONGEST_LOOK)):
            lines.append(line.decode("utf-8", errors="replace").rstrip("\r\n"))
    except EOFError:  # as far as the head goes
        pass
    except (OSError, zlib.error) as problem:
        raise DataError(f"{name} cannot be read: {problem}. Fetch it again or take it out of dataFile.") from None
    return lines


def count_lines(path: Path) -> int:
    """Return the number of non-empty lines of a file: of places where anything follows an end of line or the start.

    Raises:
        DataError: lines end with CR LF and with CR alone, too: DuckDB (1.5) loses lines of such a file, or first bytes.
    """
    lines, before, ends_with = 0, _LF, set[str]()
    with open_binary(path) as stream:
        head = stream.read(len(BOM_UTF8)).removeprefix(BOM_UTF8)
        for chunk in chain([head] if head else [], iter(partial(stream.read, _CHUNK_BYTES), b"")):
            data = np.frombuffer(bytes([before]) + chunk, dtype=np.uint8)
            line_feeds, returns = data == _LF, data == _CR
            if returns.any():
                ends_with |= {"CR LF"} if (returns[:-1] & line_feeds[1:]).any() else set()
                ends_with |= {"CR"} if (returns[:-1] & ~line_feeds[1:]).any() else set()
            if len(ends_with) > 1:
                raise DataError(
                    f"{path} mixes its ends of lines: some are CR LF, some CR alone, so that lines would be misread. "
                    "Write the file with one kind (`tr -d '\\r'`), or read it with the engine spark."
                )
            ends = line_feeds | returns
            lines += int(np.count_nonzero(ends[:-1] > ends[1:]))
            before = int(data[-1])
    return lines
