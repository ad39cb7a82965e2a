"""Where a job finds its sessions: which files travel, what a container sees of them, how the settings read there."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from workload_forecast.config import load_settings
from workload_forecast.errors import SettingsError
from workload_forecast.targets.files import Mount
from workload_forecast.targets.hosts import expanded

#: Name of the settings as they hold on the target, in the run folder.
SETTINGS = "settings.json"

Where = Literal["auto", "launcher", "target"]


@dataclass(frozen=True)
class DataPlan:
    """What has to be done about a job's data.

    ``settings`` is the content of the settings file as it holds on the target, or None where the job has no such file.
    ``files`` (relative to ``root``) travel into ``target``. ``on_target`` is a pattern that must match there already.
    ``service`` is the address of a storage service that the job reads from, as far as the launcher can tell.
    """

    settings: Mapping[str, Any] | None = None
    root: Path = Path()
    files: tuple[str, ...] = ()
    target: str = ""
    mounts: tuple[Mount, ...] = ()
    on_target: str = ""
    service: str = ""

    @property
    def bytes(self) -> int:
        """How much travels, at most."""
        return sum((self.root / name).stat().st_size for name in self.files)


def plan_data(
    parameters: Mapping[str, str], project: Path, *, where: Where, local: bool, contained: bool, store: str
) -> DataPlan:
    """Return the plan for a job with these parameters of the entry point.

    Args:
        parameters: of the entry point; ``config`` names a settings file.
        project: folder that a relative ``config`` starts from, as it does in a local run.
        where: what the run configuration says of the data.
        local: the target is this machine.
        contained: the job sees a file system of its own, so that paths hold there unchanged.
        store: directory of the target that data is brought to, absolute.

    Raises:
        SettingsError: the settings file is missing or wrong, or the data is not where it is said to be.
    """
    if not parameters.get("config"):
        return DataPlan()
    path = project / expanded(parameters["config"])
    settings = load_settings(parameters.get("duration") or None, path)
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["dataFile"] = settings.data_file
    if settings.synthetic or "://" in settings.data_file:
        return DataPlan(settings=raw, service=_service(settings.data_file, settings.storage_account))
    root = _root(settings.data_file)
    here = where == "launcher" or (where == "auto" and root.exists())
    if local or not here:
        seen = (Mount(source=str(root), target=str(root)),) if contained else ()
        return DataPlan(settings=raw, mounts=seen, on_target="" if here else settings.data_file)
    return _travelling(raw, root, store, contained=contained)


def _travelling(raw: dict[str, Any], root: Path, store: str, *, contained: bool) -> DataPlan:
    """Return the plan for files of this machine that another one needs."""
    pattern = Path(raw["dataFile"]).relative_to(root)
    # the same function that will look for them there
    found = glob.glob(raw["dataFile"], recursive=True)  # noqa: PTH207
    files = tuple(sorted(str(Path(name).relative_to(root)) for name in found if Path(name).is_file()))
    if not files:
        raise SettingsError(f"no file matches dataFile {raw['dataFile']} here: correct it, or say data: target.")
    target = str(PurePosixPath(store) / hashlib.sha256(str(root).encode()).hexdigest()[:16])
    mounts: tuple[Mount, ...] = ()
    if contained:
        mounts = (Mount(source=target, target=str(root)),)
    else:
        raw = {**raw, "dataFile": str(PurePosixPath(target) / pattern)}
    return DataPlan(raw, root, files, target, mounts)


def _service(data_file: str, account: str) -> str:
    """Return the address of the service behind a URL; empty where only the job's environment knows it."""
    parts = urlsplit(data_file)
    if parts.scheme in {"http", "https"}:
        return f"{parts.scheme}://{parts.netloc}"
    host = parts.netloc.partition("@")[2]
    if host:
        return f"https://{host}"
    return f"https://{account}.blob.core.windows.net" if account and parts.scheme == "az" else ""


def _root(pattern: str) -> Path:
    """Return the innermost directory above everything that a pattern matches."""
    fixed: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    root = Path(*fixed)
    if root == Path(root.anchor):
        raise SettingsError(f"dataFile {pattern} begins at the root of the file system: put the data into a folder.")
    return root
