"""MLflow's SQLite store, for several processes that begin at the same moment where nobody has run anything yet.

MLflow 3.17 makes the tables of a new database without a lock, and ``mlflow run --experiment-name`` looks for the
experiment and then makes it: of several first starts all but one fail, before any code of the project runs. This is
MLflow's own store with a lock around its opening, and with a second look at an experiment that somebody else has made
meanwhile. It is an MLflow plugin (entry point ``mlflow.tracking_store``), so that the plain ``mlflow`` command uses it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


def open_sqlite_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Return MLflow's store for a SQLite database.

    Args:
        store_uri: like ``sqlite:///mlflow.db``.
        artifact_uri: where new experiments keep their artifacts; MLflow's default if None.
    """
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    with _alone(store_uri):
        store = _get_sqlalchemy_store(store_uri, artifact_uri)
    store.__class__ = _patient(store.__class__)
    return store


@contextmanager
def _alone(store_uri: str) -> Iterator[None]:
    """Hold a lock on the database's folder, which needs no file of its own; in memory there is nothing to hold."""
    path = unquote(urlsplit(store_uri).path[1:])
    if not path or path == ":memory:":
        yield
        return
    folder = Path(path).absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # on file systems without locks it is as it would be without us
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@cache
def _patient(store_class: Any) -> Any:
    """Return the class with a second look at experiments."""
    from mlflow.exceptions import MlflowException

    class Patient(store_class):  # type: ignore[misc]  # only known at run time
        """Knows which experiments were looked for in vain, and takes them once they are there."""

        _absent: frozenset[str] = frozenset()

        def get_experiment_by_name(self, experiment_name: str) -> Any:
            found = super().get_experiment_by_name(experiment_name)
            if found is None:
                self._absent |= {experiment_name}
            return found

        def create_experiment(self, name: str, *arguments: Any, **options: Any) -> str:
            try:
                return str(super().create_experiment(name, *arguments, **options))
            except MlflowException as problem:
                if problem.error_code != "RESOURCE_ALREADY_EXISTS" or name not in self._absent:
                    raise
                return str(super().get_experiment_by_name(name).experiment_id)

    return Patient
