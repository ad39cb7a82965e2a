"""What a job finds around it: its results' home, the tracking store, and what a container sees of its machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from workload_forecast.errors import SettingsError
from workload_forecast.targets.contract import Launcher
from workload_forecast.targets.fields import Mount
from workload_forecast.targets.places import Places
from workload_forecast.targets.tracking import local_store


def homes(launcher: Launcher, places: Places, local_home: str) -> tuple[str, str]:
    """Return the results' home as the job knows it, and as the target's machine does."""
    if launcher.host.local:
        return local_home, local_home
    if launcher.contained:  # under the launcher's own path, so that what the run says of its results holds there too
        digest = hashlib.sha256(local_home.encode()).hexdigest()[:16]
        return local_home, str(PurePosixPath(places.base) / "homes" / digest)
    outputs = str(PurePosixPath(places.store) / "outputs")
    return outputs, outputs


def mounts(
    launcher: Launcher, places: Places, project: Any, data: Sequence[Mount], *, tracking_uri: str, artifact_uri: str
) -> list[Mount]:
    """Return what a container sees of the target's machine, besides the run folder and the results.

    Args:
        launcher: of the target.
        places: directories of the target.
        project: MLflow's parsed project, whose ``docker_env`` may name volumes.
        data: mounts that the job's data needs.
        tracking_uri: a store that is no server is mounted, so that the container writes into it.
        artifact_uri: the same for the run's artifacts.
    """
    if not launcher.contained:
        return []
    seen = [Mount(source=places.shared, target=places.shared, read_only=False)] if places.shared else []
    stores = _stores(tracking_uri, artifact_uri) if launcher.host.local else []
    return [*data, *_volumes(project), *stores, *seen]


def _stores(tracking_uri: str, artifact_uri: str) -> list[Mount]:
    folders = []
    store = local_store(tracking_uri)
    if store is not None:
        folders.append(store.parent if tracking_uri.startswith("sqlite") else store)
    artifacts = local_store(artifact_uri)
    if artifacts is not None:
        folders.append(artifacts.parents[1])  # of the experiment: models lie beside the runs
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return [Mount(source=str(folder), target=str(folder), read_only=False) for folder in dict.fromkeys(folders)]


def declared(project: Any, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of MLproject's own ``docker_env``: given there, or to be copied from ``environment``.

    Raises:
        SettingsError: one that is to be copied is not set.
    """
    found = {}
    for entry in (project.docker_env or {}).get("environment") or []:
        name, value = entry if isinstance(entry, list) else (entry, environment.get(entry))
        if value is None:
            raise SettingsError(f"MLproject's docker_env copies the variable {name}, which is not set here: export it.")
        found[name] = value
    return found


def _volumes(project: Any) -> list[Mount]:
    """Return the volumes of MLproject's own ``docker_env``."""
    volumes = (project.docker_env or {}).get("volumes") or []
    found = []
    for volume in volumes:
        source, _, rest = volume.partition(":")
        target, _, mode = rest.partition(":")
        found.append(Mount(source=str(Path(source).absolute()), target=target, read_only=mode == "ro"))
    return found
