"""Results in Azure Blob Storage: each step's under its own name in the private container of the profile."""

from __future__ import annotations

import shutil
from pathlib import Path

from workload_forecast.config import Settings
from workload_forecast.progress import Progress
from workload_forecast.schemas import FEATURES, HOURLY_LOAD, QUARANTINE
from workload_forecast.storage.locations import Location, parse_location
from workload_forecast.storage.meter import Meter
from workload_forecast.storage.stores import open_store

#: Folder of the model in the training's result: what MLflow has logged, so that every flavour loads from there.
MODEL = "model"

#: Where each of :data:`~workload_forecast.config.RESULTS` is: the step that publishes it, and the folder in its result.
RESULTS = {
    "model": ("train", MODEL),
    "features": ("etl", FEATURES.name),
    "hourly_load": ("etl", HOURLY_LOAD.name),
    "quarantine": ("etl", QUARANTINE.name),
    "etl": ("etl", ""),
    "train": ("train", ""),
}


def place_of(settings: Settings, step: str, *, subset: str) -> Location | None:
    """Return where a step's result is published: ``CONTAINER/STEP``; None where the settings name no container.

    A run that takes a part of the servers (:attr:`~workload_forecast.config.Selection.subset`) has a place of its own,
    ``CONTAINER/SUBSET/STEP``, so that a quick look does not replace the real result.
    """
    if not (settings.storage_account and settings.storage_container):
        return None
    container = parse_location(f"az://{settings.storage_container}", settings.storage_account)
    return container.join(subset, step) if subset else container.join(step)


class Publication:
    """What is published at a place. Making one asks the service, so that a wrong name is an error before any work.

    Attributes:
        key: of the step's work that is published there now; empty if none is.
        moved: bytes that went there or came from there.
    """

    def __init__(self, place: Location, progress: Progress) -> None:
        self.place, self._progress, self._store = place, progress, open_store(place)
        manifest = self._store.read_manifest(place)
        self.key = str(manifest.info.get("key", "")) if manifest else ""
        self._size = manifest.size if manifest else 0
        self.moved = 0

    def put(self, folder: Path, key: str, run_id: str) -> None:
        """Publish a result, unless it is there already."""
        if self.key == key:
            return
        with self._progress.stage(f"{self.place.name}: publish result") as stage:
            stage.detail = f"({self.place})"
            info = {"step": self.place.name, "key": key, "run_id": run_id}
            self.moved += self._store.put_folder(folder, self.place, info).size
        self.key = key

    def get(self, key: str, target: Path, part: str = "") -> bool:
        """Bring the result with a key, or a part of it, to a local folder; return whether it was the published one."""
        if self.key != key:
            return False
        meter = Meter(self._size)
        with self._progress.stage(f"{self.place.name}: fetch result", meter.percent) as stage:
            stage.detail = meter
            manifest = self._store.get_folder(self.place, target, meter, part)
        self.moved += meter.done
        if manifest.info.get("key") != key:  # replaced by another one in this moment
            shutil.rmtree(target)
            return False
        return True
