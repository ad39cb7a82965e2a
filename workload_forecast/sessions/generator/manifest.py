"""The record of what was generated, beside the data: ``manifest.json``, written last."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from workload_forecast.errors import DataError
from workload_forecast.sessions.generator.dirt import IMPUTED, KINDS
from workload_forecast.sessions.generator.settings import GeneratorSettings

MANIFEST_NAME = "manifest.json"
#: Raised whenever the same settings give other bytes than before.
GENERATOR_VERSION = 1


@dataclass(frozen=True)
class FileRecord:
    """One file: path below the root, lines, bytes on disk, and how many lines (numbers, for ``imputed``) are bad."""

    path: str
    rows: int
    bytes: int
    dirt: dict[str, int]


@dataclass(frozen=True)
class Manifest:
    """What was generated. Equal settings and versions mean equal bytes."""

    settings: GeneratorSettings
    files: tuple[FileRecord, ...]
    version: int = GENERATOR_VERSION

    @property
    def rows(self) -> int:
        """Return the lines of all files, bad ones included."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Return the bytes of all files on disk."""
        return sum(file.bytes for file in self.files)

    @property
    def dirt(self) -> dict[str, int]:
        """Return the count of every kind of dirt over all files: lines, and broken numbers for ``imputed``."""
        total = Counter[str]()
        for file in self.files:
            total.update(file.dirt)
        return {kind: total[kind] for kind in KINDS}

    @property
    def quarantined_rows(self) -> int:
        """Return the lines that cannot be used."""
        return sum(count for kind, count in self.dirt.items() if kind != IMPUTED)

    def to_json(self) -> str:
        """Return the text of the manifest file."""
        settings = {name: str(v) if isinstance(v, date) else v for name, v in asdict(self.settings).items()}
        content = {
            "generator_version": self.version,
            "settings": settings,
            "rows": self.rows,
            "bytes": self.bytes,
            "dirt": self.dirt,
            "files": [asdict(file) for file in self.files],
        }
        return json.dumps(content, indent=1) + "\n"


def read_manifest(root: Path) -> Manifest | None:
    """Return the manifest of the sessions below ``root``, or None if there is none: not generated, or not finished.

    Raises:
        DataError: the file is there, but is not a manifest.
    """
    path = root / MANIFEST_NAME
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        settings = dict(content["settings"])
        settings.update({name: date.fromisoformat(settings[name]) for name in ("start", "end")})
        return Manifest(
            GeneratorSettings(**settings),
            tuple(FileRecord(**file) for file in content["files"]),
            int(content["generator_version"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a manifest of generated sessions ({error}). Move it away or choose another folder."
        ) from error


def write_text_whole(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees either all of it or what was there before."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
