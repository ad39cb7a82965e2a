"""An exchange with a model and a history, keys, and an app that serves them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from fastapi.testclient import TestClient

from tests.features.helpers import noisy, series
from tests.frames import Row, arrow
from tests.serving.conftest import compiled, lag_forest
from tests.serving.saved_pipelines import Leaf, Saved
from tests.strategies import START
from workload_forecast.schemas import HOURLY_LOAD
from workload_forecast.service.app import create_app
from workload_forecast.service.exchange import Exchange, ServedHistory, ServedModel
from workload_forecast.service.keys import Keys
from workload_forecast.service.options import ServiceOptions

HOUR = timedelta(hours=1)

#: Hours of history: a start three weeks before its end can still be answered.
LENGTH = 1300


def at(hours: int) -> datetime:
    return START + hours * HOUR


def text(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"


def rows() -> list[Row]:
    """Two servers with a long history, one that is new, one that fell silent 41 days ago at the history's end."""
    silent = series(200.0, range(LENGTH - 760, LENGTH - 720), "silent")
    return (
        noisy(LENGTH, seed=3)
        + noisy(LENGTH, seed=4, server="b")
        + series(50.0, range(LENGTH - 5, LENGTH), "new")
        + silent
    )


def constant(name: str) -> Saved:
    """A model that always says the same class."""
    return Saved([Leaf(tuple(10.0 if name == c else 1.0 for c in ("low", "medium", "high")))])


@dataclass
class World:
    """Everything on disk that a service needs."""

    folder: Path
    models: int = 0
    token: str = ""
    history: list[Row] = field(default_factory=list)

    @property
    def exchange(self) -> Exchange:
        return Exchange(self.folder / "exchange")

    @property
    def keys(self) -> Keys:
        return Keys(self.folder / "keys.json")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def compiled(self) -> Path:
        return self.folder / f"model{self.models}" / "compiled"

    def put_model(self, saved: Saved | None = None, missing_hours: str = "unknown") -> None:
        self.models += 1
        compiled(saved or lag_forest(), self.compiled.parent, missing_hours)
        self.exchange.put_model(
            ServedModel("forecast", str(self.models), "r1", "2016-07-01T00:00:00+00:00"), self.compiled
        )

    def put_history(self, content: list[Row]) -> None:
        self.history = content
        file = self.folder / "load.parquet"
        pq.write_table(arrow(HOURLY_LOAD, content), file)
        hours = [row["hour"] for row in content]
        self.exchange.put_history(
            ServedHistory("k", min(hours).isoformat(), max(hours).isoformat(), "2016-07-01T00:00:00+00:00"), file
        )

    def options(self, **changes: Any) -> ServiceOptions:
        return ServiceOptions(self.exchange.folder, self.keys.path, **changes)


def make_world(folder: Path) -> World:
    world = World(folder)
    world.token = world.keys.create("tests")[1]
    world.put_model()
    world.put_history(rows())
    return world


@contextmanager
def served(world: World, *, ready: bool = True, **changes: Any) -> Iterator[TestClient]:
    """A client that has a key, of an app that has loaded what there is."""
    with TestClient(create_app(world.options(**changes)), headers=world.headers) as client:
        if ready:
            eventually(lambda: client.get("/health").status_code == 200)
        yield client


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for it; how long is not what is tested."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def check_problem(response: Any, status: int, kind: str) -> dict[str, Any]:
    """Assert that it is that problem document, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = response.json()
    assert content["status"] == status
    assert content["type"] == f"urn:workload-forecast:problem:{kind}"
    assert content["instance"] == response.headers["x-request-id"]
    assert content["title"]
    assert content["detail"]
    assert "Traceback" not in response.text
    return content
