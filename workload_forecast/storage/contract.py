"""What every place that holds data can do: local folders and Azure alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from workload_forecast.storage.locations import Location

#: Called with each number of bytes that have arrived.
Told = Callable[[int], None]


def tell_nobody(_: int) -> None:
    """Ignore what is told."""


@dataclass(frozen=True)
class Item:
    """A file as it was when it was found.

    Attributes:
        location: of the file itself; glob characters in it are part of its name.
        size: in bytes.
        version: changes whenever the file does: a blob's ETag; time stamps and inode of a local file.
        md5: of its content, where the service knows it.
    """

    location: Location
    size: int
    version: str
    md5: bytes | None = None


@dataclass(frozen=True)
class PublishedFile:
    """A file of a published folder: path relative to the folder, size in bytes, digest in hexadecimal digits."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a published folder consists of; it is written last, and readers take nothing that it does not name.

    Attributes:
        generation: names this publication among those of the same location.
        files: all of them, sorted by path.
        info: what the publisher says of it, as JSON.
    """

    generation: str
    files: tuple[PublishedFile, ...]
    info: Mapping[str, Any]

    @property
    def size(self) -> int:
        """All files together, in bytes."""
        return sum(file.size for file in self.files)


class Store(Protocol):
    """A place that holds files. Every method raises errors that name the location and the remedy, never a secret.

    Raises:
        DataError: what is there is missing, damaged, or changed while it was read.
        EnvironmentProblem: the place cannot be reached or used.
    """

    def find(self, pattern: Location) -> list[Item]:
        """Return the files that match a glob (``**`` allowed), sorted by path; at least one.

        Raises:
            DataError: none does.
        """
        ...

    def files(self, folder: Location) -> list[Item]:
        """Return every file below a folder, hidden ones too, sorted by path; none where there is no such folder."""
        ...

    def fetch(self, item: Item, target: Path, told: Told = tell_nobody) -> None:
        """Copy a file to a local path, which appears whole or not at all; a copy that was cut short is resumed.

        Raises:
            DataError: the file is not the one that was found any more, or arrives damaged.
        """
        ...

    def head(self, item: Item, size: int) -> bytes:
        """Return the first ``size`` bytes of a file, or all that it has.

        Raises:
            DataError: as for :meth:`fetch`.
        """
        ...

    def put(self, path: Path, location: Location) -> None:
        """Copy a local file there, over what is there; it appears whole or not at all."""
        ...

    def put_folder(self, folder: Path, location: Location, info: Mapping[str, Any] | None = None) -> Manifest:
        """Publish a local folder: data first, manifest last; then remove what it replaces and what dead writers left.

        Readers see the old publication until the new one is whole. Of two writers the later one's stays.
        """
        ...

    def get_folder(self, location: Location, target: Path, told: Told = tell_nobody, part: str = "") -> Manifest:
        """Copy what is published at a location to a local folder, which it replaces in one rename.

        Args:
            location: of the publication.
            target: the local folder.
            told: hears of the bytes.
            part: a folder or file of the publication, if not all of it is wanted.

        Raises:
            DataError: nothing is published there, or it has no such part.
        """
        ...

    def read_manifest(self, location: Location) -> Manifest | None:
        """Return the manifest of what is published at a location, or None."""
        ...

    def delete(self, location: Location) -> None:
        """Remove what is published at a location; other files there stay."""
        ...
