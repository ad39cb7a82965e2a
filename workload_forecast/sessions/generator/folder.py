"""The folder that the files go to: whose files lie there, is there room, what has to go first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from workload_forecast.errors import DataError, EnvironmentProblem
from workload_forecast.sessions.generator.manifest import MANIFEST_NAME, read_manifest, write_text_whole
from workload_forecast.sessions.generator.settings import GeneratorSettings, plan_files

#: Lists the files of a run that has begun; it tells an unfinished run's files from somebody else's.
MARKER_NAME = ".generating.json"
_PATTERN = "[0-9][0-9][0-9][0-9]/[0-9][0-9]/[ab]/[0-9]/request.csv*"
#: Part of the disk that is never filled.
_RESERVE = 0.02


def part_of(path: Path) -> Path:
    """Return the hidden name under which ``path`` is written until it is whole."""
    return path.with_name(f".{path.name}.part")


def begin(root: Path, settings: GeneratorSettings) -> None:
    """Make ``root`` ready: remove the manifest and the files of an earlier run, and mark the new one as begun.

    Raises:
        DataError: sessions lie there that the generator has not written; they are left alone.
        EnvironmentProblem: there is not enough room on the disk.
    """
    owned = _owned(root)
    strangers = sorted({str(path.relative_to(root)) for path in root.glob(_PATTERN)} - owned)
    if strangers:
        raise DataError(
            f"{root} holds sessions that this generator has not written ({strangers[0]}; {len(strangers)} in all). "
            "Nothing was changed. Choose an empty folder for the generated sessions."
        )
    old = [path for name in owned for path in (root / name, part_of(root / name)) if path.exists()]
    _check_room(root, settings, sum(path.stat().st_size for path in old))
    root.mkdir(parents=True, exist_ok=True)
    names = sorted(owned | {plan.path for plan in plan_files(settings)})
    write_text_whole(root / MARKER_NAME, json.dumps(names))
    (root / MANIFEST_NAME).unlink(missing_ok=True)
    for path in old:
        path.unlink()


def finish(root: Path, manifest: str) -> None:
    """Write the manifest: from now on the folder counts as complete."""
    write_text_whole(root / MANIFEST_NAME, manifest)
    (root / MARKER_NAME).unlink()


def _owned(root: Path) -> set[str]:
    manifest, marker = read_manifest(root), root / MARKER_NAME
    names = {file.path for file in manifest.files} if manifest else set()
    return names | set(json.loads(marker.read_text(encoding="utf-8"))) if marker.exists() else names


def _check_room(root: Path, settings: GeneratorSettings, to_be_freed: int) -> None:
    existing = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    disk = shutil.disk_usage(existing)
    room = disk.free + to_be_freed - int(_RESERVE * disk.total)
    if settings.estimated_bytes > room:
        raise EnvironmentProblem(
            f"generator: about {settings.estimated_bytes / 1e9:,.1f} GB are to be written below {root}, but only "
            f"{max(room, 0) / 1e9:,.1f} GB can be used there. Ask for fewer days, copies, servers or sessions, or "
            "choose another disk."
        )
