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
from pathlib import Path
from typing import BinaryIO, cast

from workload_forecast.errors import DataError

_CHUNK_BYTES = 1 << 22

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
    """Return the number of non-empty lines of a file."""
    with open_binary(path) as stream:
        mark = stream.read(len(BOM_UTF8))
        lines, before = 0, b"\n" if mark == BOM_UTF8 else b"\n" + mark
        lines += _line_starts(before)
        before = before[-1:]
        while chunk := stream.read(_CHUNK_BYTES):
            lines += _line_starts(before + chunk)
            before = chunk[-1:]
    return lines


def _line_starts(chunk: bytes) -> int:
    """Count the places in ``chunk`` where an end of line is followed by anything but an end of line."""
    if b"\r" in chunk:
        chunk = chunk.replace(b"\r", b"\n")
    ends = chunk.count(b"\n") - chunk.endswith(b"\n")
    position, empty = chunk.find(b"\n\n"), 0
    while position >= 0:
        empty += 1
        position = chunk.find(b"\n\n", position + 1)
    return ends - empty
