"""The model that is to be served, from the registry into the exchange."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.registry.older_versions import SPARK, compile_older
from workload_forecast.registry.promotion import version_of
from workload_forecast.service.exchange import Exchange, ServedModel
from workload_forecast.serving.compiled import COMPILED
from workload_forecast.serving.forecaster import Forecaster

#: Prefix of the folders in the exchange in which the follower works; those of one that was killed are removed.
SCRATCH = ".follower-"

#: Seconds until a version that could not be fetched is tried again; another version is tried at once.
RETRY_S = 60.0


@dataclass(frozen=True)
class _Failed:
    """A version that could not be taken."""

    version: str
    until: float
    why: str


class ModelSource:
    """Brings the version that an alias names into the exchange, when it is another one than before.

    Args:
        exchange: to put it into.
        name: of the registered model.
        alias: of the version, like ``champion``.
        say: is told of a new version.
    """

    def __init__(self, exchange: Exchange, name: str, alias: str, say: Callable[[str], None]) -> None:
        self._exchange, self._name, self._alias, self._say = exchange, name, alias, say
        self._failed: _Failed | None = None

    def look(self) -> None:
        """Ask the registry, and fetch what is new.

        Raises:
            ModelError: no version has the alias, or its model cannot be used.
            MlflowException: the registry does not answer.
        """
        found = version_of(MlflowClient(), self._name, self._alias)
        if found is None:
            raise ModelError(
                f"no version of {self._name} has the alias '{self._alias}': promote one first (-e promote), or "
                "correct --model and --alias."
            )
        if self._served(found):
            self._failed = None
            return
        version, failed = str(found.version), self._failed
        if failed and failed.version == version and time.monotonic() < failed.until:
            raise ModelError(failed.why)
        try:
            self._take(found)
        except Exception as problem:
            self._failed = _Failed(version, time.monotonic() + RETRY_S, f"version {version}: {problem}")
            raise
        self._failed = None

    def _served(self, found: ModelVersion) -> bool:
        note = None
        with suppress(SettingsError):  # a note that is none is replaced
            note = self._exchange.model()
        same = note and (note.name, note.version, note.run_id) == (self._name, str(found.version), found.run_id or "")
        return bool(note and same and (self._exchange.folder / note.path).is_dir())

    def _take(self, found: ModelVersion) -> None:
        version = str(found.version)
        with scratch_in(self._exchange) as scratch:
            compiled = fetch_compiled(found, scratch)
            Forecaster.load(compiled)  # what does not load here is never handed on
            fetched = datetime.now(timezone.utc).isoformat(timespec="seconds")
            self._exchange.put_model(ServedModel(self._name, version, found.run_id or "", fetched), compiled)
        self._say(f"follower: version {version} of {self._name} is handed to the service")


@contextmanager
def scratch_in(exchange: Exchange) -> Iterator[Path]:
    """Yield a folder to work in, on the exchange's disk: elsewhere a container may have no room, or only memory."""
    exchange.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=SCRATCH, dir=exchange.folder) as scratch:
        yield Path(scratch)


def fetch_compiled(found: ModelVersion, scratch: Path) -> Path:
    """Download the compiled form of a version, and nothing else of it; return its folder.

    A version of the time before there was one is compiled here from its saved pipeline, without a JVM.

    Args:
        found: the version.
        scratch: an empty folder.

    Raises:
        ModelError: it has neither, or what it has cannot be read.
        MlflowException: registry or artifacts do not answer.
    """
    uri = f"models:/{found.name}/{found.version}"
    parts = {item.path.rpartition("/")[2] for item in mlflow.artifacts.list_artifacts(artifact_uri=uri)}
    if COMPILED in parts:
        return Path(mlflow.artifacts.download_artifacts(f"{uri}/{COMPILED}", dst_path=str(scratch)))
    if SPARK not in parts:
        held = ", ".join(sorted(parts)) or "no files"
        raise ModelError(f"version {found.version} of {found.name} is no model of this project (it holds {held}).")
    saved = Path(mlflow.artifacts.download_artifacts(f"{uri}/{SPARK}", dst_path=str(scratch)))
    return compile_older(MlflowClient(), found, saved, scratch / COMPILED)
