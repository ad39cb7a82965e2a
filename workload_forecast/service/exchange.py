"""The folder through which the follower hands models and history to the service; each change is one step.

====================  ===========================================================================
``model.json``        :class:`ServedModel`: which model is to be served, and in which folder it is
``history.json``      :class:`ServedHistory`: which hourly load, and in which file it is
``report.json``       :class:`ServedReport`: which forecast's report, and in which file it is
``follower.json``     :class:`FollowerState`: when the follower looked last, and what was wrong
``models/``           a folder of each model that is or was served: a compiled model
``histories/``        a Parquet file of each hourly load
``reports/``          an HTML file of each report
====================  ===========================================================================

The follower needs MLflow and the storage clients, seconds to import and hundreds of megabytes; the service needs
neither. It starts with what lies here from the last time, and goes on while registry and storage are away.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from workload_forecast.errors import EnvironmentProblem, SettingsError

#: Models, histories and reports that are kept beside the newest: a service may still be loading them.
KEPT = 2


@dataclass(frozen=True)
class ServedModel:
    """A version of a registered model whose compiled form is in the exchange.

    Attributes:
        name: of the registered model.
        version: of it.
        run_id: of the run that trained it.
        fetched: time, UTC, ISO 8601.
        path: of the compiled model's folder, relative to the exchange; set by :meth:`Exchange.put_model`.
    """

    name: str
    version: str
    run_id: str
    fetched: str
    path: str = ""


@dataclass(frozen=True)
class ServedHistory:
    """Hourly load in the exchange.

    Attributes:
        key: of the ETL's work that made it.
        oldest: first hour of any server that is kept, ISO 8601, UTC without a zone.
        newest: last hour of any server.
        fetched: time, UTC, ISO 8601.
        path: of the Parquet file, relative to the exchange; set by :meth:`Exchange.put_history`.
    """

    key: str
    oldest: str
    newest: str
    fetched: str
    path: str = ""


@dataclass(frozen=True)
class ServedReport:
    """The report of a forecast, in the exchange.

    Attributes:
        key: of the work that made it.
        model: name of the registered model.
        version: of it.
        origin: newest hour that the forecast knew, like ``2016-06-30T23``.
        fetched: time, UTC, ISO 8601.
        path: of the HTML file, relative to the exchange; set by :meth:`Exchange.put_report`.
    """

    key: str
    model: str
    version: str
    origin: str
    fetched: str
    path: str = ""


@dataclass(frozen=True)
class FollowerState:
    """How the follower fares.

    Attributes:
        checked: time of the last look at registry and storage, UTC, ISO 8601.
        problem: why that look failed; empty if it did not.
    """

    checked: str
    problem: str = ""


Note = TypeVar("Note", ServedModel, ServedHistory, ServedReport, FollowerState)


class Exchange:
    """The folder; written by one follower, read by any number of services."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def model(self) -> ServedModel | None:
        """Return what is to be served, or None before the first model came.

        Raises:
            SettingsError: the note is not one.
        """
        return self._read("model.json", ServedModel)

    def history(self) -> ServedHistory | None:
        """Return the newest hourly load, or None; errors as :meth:`model`."""
        return self._read("history.json", ServedHistory)

    def report(self) -> ServedReport | None:
        """Return the newest forecast's report, or None; errors as :meth:`model`."""
        return self._read("report.json", ServedReport)

    def follower(self) -> FollowerState | None:
        """Return how the follower fares, or None if none has been here; errors as :meth:`model`."""
        return self._read("follower.json", FollowerState)

    def put_model(self, model: ServedModel, compiled: Path) -> ServedModel:
        """Take in a copy of a compiled model's folder, and say that it is to be served.

        Raises:
            EnvironmentProblem: the folder cannot be written.
        """
        return self._put("model.json", "models", model, compiled)

    def put_history(self, history: ServedHistory, file: Path) -> ServedHistory:
        """Take in a copy of a Parquet file, and say that it is the newest; errors as :meth:`put_model`."""
        return self._put("history.json", "histories", history, file)

    def put_report(self, report: ServedReport, file: Path) -> ServedReport:
        """Take in a copy of an HTML file, and say that it is the newest; errors as :meth:`put_model`."""
        return self._put("report.json", "reports", report, file)

    def put_follower(self, state: FollowerState) -> None:
        """Say how the follower fares; errors as :meth:`put_model`."""
        try:
            self._write("follower.json", state)
        except OSError as problem:
            raise self._unwritable(problem) from None

    def _put(self, name: str, part: str, note: Note, source: Path) -> Note:
        target = self.folder / part / f"{uuid.uuid4().hex}{source.suffix}"
        placed: Note = type(note)(**{**asdict(note), "path": str(target.relative_to(self.folder))})
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}")
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, draft)
            os.utime(draft)  # a copied folder has the time of its source
            draft.rename(target)
            self._write(name, placed)
            self._tidy(target)
        except OSError as problem:
            raise self._unwritable(problem) from None
        return placed

    def _tidy(self, newest: Path) -> None:
        """Remove what is older than the last few, and what a follower that was killed has left half done."""
        others = sorted((p for p in newest.parent.iterdir() if p != newest), key=lambda p: p.stat().st_mtime)
        drafts = [path for path in others if path.name.startswith(".")]
        for path in drafts + [path for path in others if path not in drafts][:-KEPT]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _read(self, name: str, kind: type[Note]) -> Note | None:
        path = self.folder / name
        try:
            return kind(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise SettingsError(f"{path} cannot be read: {problem.strerror}.") from None
        except (ValueError, TypeError):
            raise SettingsError(f"{path} is not what the follower writes: remove the folder {self.folder}.") from None

    def _write(self, name: str, note: ServedModel | ServedHistory | ServedReport | FollowerState) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{name}.{os.getpid()}"
        draft.write_text(json.dumps(asdict(note), indent=1) + "\n", encoding="utf-8")
        draft.replace(self.folder / name)

    def _unwritable(self, problem: OSError) -> EnvironmentProblem:
        return EnvironmentProblem(f"{self.folder} cannot be written: {problem.strerror}.")
