"""What is served: two really trained versions in a registry of their own, and the hourly load of a fleet.

All of it lies in a workspace that is kept, so that a second run does not train again; remove the folder to train anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import mlflow
import polars as pl
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from benchmarks.serving.processes import ROOT
from workload_forecast.engines.java import ensure_java
from workload_forecast.errors import EnvironmentProblem
from workload_forecast.registry.log_model import MODEL_NAME
from workload_forecast.registry.older_versions import SPARK
from workload_forecast.schemas import FEATURE_NAMES, FEATURES
from workload_forecast.service.exchange import Exchange, ServedHistory, ServedModel
from workload_forecast.service.fleet import History, prepare_fleet, read_history
from workload_forecast.service.keys import Keys
from workload_forecast.serving.compiled import COMPILED
from workload_forecast.serving.forecaster import Forecaster
from workload_forecast.serving.history import Prepared

#: The two versions are forests of the algorithm's default size, trained on the same month with these seeds.
SEEDS = (42, 43)


@dataclass(frozen=True)
class World:
    """A workspace: tracking store, registry, models and a fleet."""

    folder: Path
    servers: int

    @property
    def store(self) -> str:
        """URI of the tracking store and registry."""
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def environment(self) -> dict[str, str]:
        """For the processes that are started."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MLFLOW_TRACKING_URI": self.store,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "WORKLOAD_FORECAST_HOME": str(self.folder / "outputs"),
            "JAVA_HOME": str(ensure_java().home),
        }

    def model(self, version: int) -> Path:
        """Folder of a version as it was logged, 1 or 2."""
        return self.folder / "models" / str(version)

    @property
    def spark_model(self) -> Path:
        """Folder of version 1 with Spark's pipeline as its ``python_function``."""
        return self.folder / "models" / "spark"

    @property
    def fleet(self) -> Path:
        """Folder of the hourly load."""
        return self.folder / f"fleet-{self.servers}"

    def history(self) -> History:
        """Return the hourly load as the service reads it."""
        return read_history(self.fleet / "hourly_load.parquet")

    def prepared(self, history: History) -> Prepared:
        """Return the fleet's feature rows as the service makes them."""
        return prepare_fleet(Forecaster.load(self.model(1)), history)

    def fresh(self, name: str) -> Path:
        """Return an empty folder in the workspace."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


def make_world(folder: Path, servers: int) -> World:
    """Train, fetch and multiply what is not there yet.

    Raises:
        EnvironmentProblem: a training failed.
    """
    world = World(folder.absolute(), servers)
    world.folder.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(world.store)
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    for version, seed in enumerate(SEEDS, start=1):
        if version not in _registered():
            _train(world, seed)
        if not world.model(version).is_dir():
            _fetch(world, version)
    if not world.spark_model.is_dir():
        _as_spark(world.model(1), world.spark_model)
    if not world.fleet.is_dir():
        _multiply(world)
    return world


def put_all(world: World, exchange: Exchange) -> None:
    """Hand version 1 and the fleet's hourly load to the service, as its follower would."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    exchange.put_model(ServedModel(MODEL_NAME, "1", "", now), world.model(1) / COMPILED)
    history = world.history()
    note = ServedHistory("fleet", history.oldest.isoformat(), history.newest.isoformat(), now)
    exchange.put_history(note, world.fleet / "hourly_load.parquet")


def make_key(file: Path, name: str) -> str:
    """Return a new key that opens until it is revoked."""
    return Keys(file).create(name)[1]


def _registered() -> set[int]:
    return {int(one.version) for one in mlflow.MlflowClient().search_model_versions(f"name = '{MODEL_NAME}'")}


def _train(world: World, seed: int) -> None:
    """Run the project's own step on its synthetic month; it registers the next version."""
    print(f"training with seed {seed}, once for this workspace (minutes) …", file=sys.stderr, flush=True)
    forest = ["--algorithm", "random_forest", "--seed", str(seed)]
    command = [sys.executable, "-m", "workload_forecast", "train", "--duration", "ONE_MONTH", *forest]
    log = world.folder / f"train-{seed}.log"
    with log.open("wb") as out:
        done = subprocess.run(
            command, env=world.environment, cwd=world.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            check=False,
        )  # fmt: skip
    if done.returncode:
        raise EnvironmentProblem(f"the training failed: see {log}.")


def _fetch(world: World, version: int) -> None:
    draft = world.fresh("models/draft")
    source = mlflow.artifacts.download_artifacts(f"models:/{MODEL_NAME}/{version}", dst_path=str(draft / "model"))
    Path(source).rename(world.model(version))
    shutil.rmtree(draft)


def _as_spark(logged: Path, target: Path) -> None:
    """Copy a logged model and make its ``python_function`` what ``mlflow.spark.save_model`` would have made it."""
    draft = target.with_name(".spark")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(logged, draft)
    model = Model.load(str(draft))
    before = model.flavors[mlflow.pyfunc.FLAVOR_NAME]
    model.flavors[mlflow.pyfunc.FLAVOR_NAME] = {
        mlflow.pyfunc.MAIN: "mlflow.spark",
        mlflow.pyfunc.DATA: SPARK,
        **{name: before[name] for name in (mlflow.pyfunc.ENV, mlflow.pyfunc.PY_VERSION)},
    }
    kinds = {name: DataType.long if FEATURES.columns[name].is_integer() else DataType.double for name in FEATURE_NAMES}
    columns = Schema([ColSpec(kind, name) for name, kind in kinds.items()])
    model.signature = ModelSignature(inputs=columns)
    model.save(str(draft / "MLmodel"))
    draft.rename(target)


def _multiply(world: World) -> None:
    """Write the hourly load of the training's month under so many names that the fleet has its size."""
    made = sorted((world.folder / "outputs" / "etl").glob("*/hourly_load"), key=lambda path: path.stat().st_mtime)
    load = pl.read_parquet(made[-1], glob=True)
    names = load["server"].unique().sort()
    copies = -(-world.servers // len(names))
    fleet = pl.concat(
        [load.with_columns(server=pl.col("server") + (f"-{copy}" if copy else "")) for copy in range(copies)]
    )
    kept = fleet["server"].unique().sort().head(world.servers)
    draft = world.fresh(".fleet")
    fleet.filter(pl.col("server").is_in(kept.to_list())).write_parquet(draft / "hourly_load.parquet")
    draft.rename(world.fleet)
