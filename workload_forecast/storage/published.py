"""Folders published whole: how a result changes in one step where files can only be written one by one.

Below a location lie ``manifest.json``, ``data-GENERATION/…`` for the publication it names, and, while somebody
publishes, ``writer-GENERATION``, which is held (locked, leased) as long as that writer lives.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from workload_forecast.errors import DataError
from workload_forecast.storage.contract import Item, Manifest, PublishedFile, Told, tell_nobody
from workload_forecast.storage.local import publish
from workload_forecast.storage.locations import Location

MANIFEST = "manifest.json"
_FORMAT = 1
_OURS = re.compile(r"(?:data|writer)-(\d{8}T\d{6}-[0-9a-f]{8})(?:/|$)")
#: How often a reader starts again because the publication was replaced under its hands.
_ATTEMPTS = 5
_CHUNK_BYTES = 1 << 20


class FileMissing(DataError):
    """A file that was there a moment ago is not any more."""


class PublishedFolders(ABC):
    """The part of a store that publishes, over the few things that each kind of place has to bring."""

    def put(self, path: Path, location: Location) -> None:
        """See :class:`~workload_forecast.storage.contract.Store`."""
        self._put(path, location, digests(path)[1])

    def put_folder(self, folder: Path, location: Location, info: Mapping[str, Any] | None = None) -> Manifest:
        """See :class:`~workload_forecast.storage.contract.Store`."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if not paths:
            raise DataError(f"{folder} holds no files: nothing was published at {location}.")
        generation = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        data = location.join(f"data-{generation}")
        with self._hold(location.join(f"writer-{generation}")) as still_held:
            files = []
            for path in paths:
                name = path.relative_to(folder).as_posix()
                sha256, md5 = digests(path)
                self._put(path, data.join(name), md5)
                files.append(PublishedFile(name, path.stat().st_size, sha256))
            manifest = Manifest(generation, tuple(files), dict(info or {}))
            content = {"format": _FORMAT, **asdict(manifest)}
            still_held()
            self._write(location.join(MANIFEST), json.dumps(content, indent=1, default=str).encode())
        self._sweep(location)
        return manifest

    def get_folder(self, location: Location, target: Path, told: Told = tell_nobody, part: str = "") -> Manifest:
        """See :class:`~workload_forecast.storage.contract.Store`."""
        seen = ""
        for _ in range(_ATTEMPTS):
            manifest = self.read_manifest(location)
            if manifest is None:
                raise DataError(f"nothing is published at {location}: run the step that publishes it, or correct it.")
            if manifest.generation == seen:
                break
            seen = manifest.generation
            try:
                with publish(target.absolute()) as draft:
                    self._get(_parts(manifest, part, location), location.join(f"data-{seen}"), draft, told)
            except FileMissing:
                continue  # a newer publication may have replaced it
            return manifest
        raise DataError(f"{location} lacks files that its {MANIFEST} names: publish it again.")

    def read_manifest(self, location: Location) -> Manifest | None:
        """See :class:`~workload_forecast.storage.contract.Store`."""
        content = self._read(location.join(MANIFEST))
        return None if content is None else _parse(content, location)

    def delete(self, location: Location) -> None:
        """See :class:`~workload_forecast.storage.contract.Store`."""
        self._remove(location.join(MANIFEST), location)
        self._sweep(location)

    def _get(self, files: Mapping[str, PublishedFile], data: Location, draft: Path, told: Told) -> None:
        there = {item.location.below(data): item for item in self.files(data)}
        for name, file in files.items():
            target = draft.joinpath(*name.split("/"))
            if file.path not in there:
                raise FileMissing(f"{data.join(file.path)} is missing.")
            target.parent.mkdir(parents=True, exist_ok=True)
            self.fetch(there[file.path], target, told)
            if digests(target)[0] != file.sha256:
                raise DataError(f"{data.join(file.path)} is not what was published: publish it again.")

    def _sweep(self, location: Location) -> None:
        """Remove publications that no manifest names and no living writer holds.

        The order matters: what is listed first and not held afterwards is either published by the time the manifest
        is read, or nobody's.
        """
        items = [
            (item, match[1]) for item in self.files(location) if (match := _OURS.match(item.location.below(location)))
        ]
        held = {name for name in {name for _, name in items} if self._held(location.join(f"writer-{name}"))}
        manifest = self.read_manifest(location)
        keep = held | ({manifest.generation} if manifest else set())
        for item, generation in reversed(items):
            if generation not in keep:
                self._remove(item.location, location)

    @abstractmethod
    def fetch(self, item: Item, target: Path, told: Told = tell_nobody) -> None:
        """See :class:`~workload_forecast.storage.contract.Store`."""

    @abstractmethod
    def files(self, folder: Location) -> list[Item]:
        """See :class:`~workload_forecast.storage.contract.Store`."""

    @abstractmethod
    def _put(self, source: Path, location: Location, md5: bytes) -> None:
        """Copy a local file there."""

    @abstractmethod
    def _write(self, location: Location, content: bytes) -> None:
        """Write a small file in one step."""

    @abstractmethod
    def _read(self, location: Location) -> bytes | None:
        """Return a small file's content, or None where there is none."""

    @abstractmethod
    def _remove(self, location: Location, folder: Location) -> None:
        """Remove a file below ``folder``, if it is there, and the folders in between that become empty."""

    @abstractmethod
    def _hold(self, location: Location) -> AbstractContextManager[Callable[[], None]]:
        """Hold a mark that is free as soon as this process is gone; yield what raises if it was lost meanwhile."""

    @abstractmethod
    def _held(self, location: Location) -> bool:
        """Whether a living writer holds the mark."""


def digests(path: Path) -> tuple[str, bytes]:
    """Return a file's SHA-256 in hexadecimal digits and its MD5, which is all that the service keeps."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.digest()


def _parts(manifest: Manifest, part: str, location: Location) -> dict[str, PublishedFile]:
    """Return the files below a part by their path in it; a part that is a file goes by its name."""
    if not part:
        return {file.path: file for file in manifest.files}
    found = {file.path[len(part) + 1 :]: file for file in manifest.files if file.path.startswith(f"{part}/")}
    found.update({part.rpartition("/")[2]: file for file in manifest.files if file.path == part})
    if not found:
        names = ", ".join(sorted({file.path.partition("/")[0] for file in manifest.files}))
        raise DataError(f"what is published at {location} has no '{part}': it has {names}.")
    return found


def _parse(content: bytes, location: Location) -> Manifest:
    try:
        fields = json.loads(content)
        if fields["format"] != _FORMAT:
            raise DataError(
                f"{location.join(MANIFEST)} has format {fields['format']}, this version reads {_FORMAT}: "
                "update workload-forecast."
            )
        files = tuple(PublishedFile(_inside(f["path"]), int(f["size"]), str(f["sha256"])) for f in fields["files"])
        return Manifest(str(fields["generation"]), files, dict(fields["info"]))
    except (ValueError, KeyError, TypeError) as problem:
        raise DataError(f"{location.join(MANIFEST)} is not a manifest ({problem!r}): publish it again.") from None


def _inside(path: str) -> str:
    """Return a path that a manifest names, unless it leads out of the folder that it is about."""
    if ".." in path.split("/") or path.startswith("/"):
        raise ValueError(f"'{path}' leads out of the folder")
    return path
