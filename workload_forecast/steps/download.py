"""``download-model``: the model, or any result, from where it was published to the local disk."""

from __future__ import annotations

from pathlib import Path

from workload_forecast.config import Settings
from workload_forecast.errors import DataError, SettingsError
from workload_forecast.progress import Progress
from workload_forecast.steps.published import RESULTS, Publication, place_of


def run_download(settings: Settings, result: str, output: Path | None, *, subset: str = "") -> Path:
    """Fetch a result of the profile; return the folder, in which a download is never mixed with what was there.

    Args:
        settings: of the profile; name the account and its container.
        result: one of :data:`~workload_forecast.steps.published.RESULTS`.
        output: a new or empty folder; by default ``downloads/DURATION/RESULT``.
        subset: take the result of runs with this part of the servers; see
            :attr:`~workload_forecast.config.Selection.subset`.

    Raises:
        SettingsError: the settings name no container, or the folder is in use.
        DataError: nothing is published there, or it was replaced meanwhile.
    """
    step, part = RESULTS[result]
    place = place_of(settings, step, subset=subset)
    if place is None:
        raise SettingsError(
            f"results of {settings.duration} are not published: set storageAccount and storageContainer in a settings "
            "file and run the step again. A model of the registry comes with: mlflow artifacts download "
            "--artifact-uri models:/workload-forecast/VERSION --dst-path FOLDER"
        )
    target = output or Path("downloads") / settings.duration.lower() / result
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SettingsError(f"{target} is not empty: remove it, or choose another folder with --output.")
    publication = Publication(place, Progress())
    if not publication.key:
        raise DataError(f"nothing is published at {place} yet: run {step} with these settings.")
    if not publication.get(publication.key, target, part):
        raise DataError(f"{place} was replaced while it was fetched: do it again, to have the new result.")
    return target
