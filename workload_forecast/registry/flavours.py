"""One logged model, two flavours: Spark's own pipeline, and the compiled model as ``python_function``.

What scoring needs of this package travels with the model (``code/``): MLflow puts that folder first on the path, so the
model brings the feature functions it was trained with, and loads where the package is not installed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.spark
import treelite
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME
from pyspark.ml import PipelineModel

from workload_forecast.errors import ModelError
from workload_forecast.features.grid import MissingHours
from workload_forecast.model.pipeline import ALGORITHMS
from workload_forecast.model.split import TEST
from workload_forecast.model.training import TrainingResult
from workload_forecast.registry.older_versions import BASELINE, SPARK
from workload_forecast.schemas import CLASSES, HORIZON_HOURS
from workload_forecast.serving.compiled import COMPILED, compile_trees, write_compiled
from workload_forecast.serving.facts import Baseline, Facts
from workload_forecast.serving.saved_models import SavedPipeline, read_pipeline

CODE = "code"
LOADER = "workload_forecast.serving.pyfunc"

#: The parts of the package that scoring imports.
BUNDLED = ("errors.py", "formulas.py", "load_quantiles.py", "schemas.py", "sources.py", "features", "serving")

#: Appended to the copied ``__init__``: the package's other modules are found where it is installed.
_REST = "\n__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"


def save_model(
    path: str, mlflow_model: Model, spark_model: PipelineModel, facts: Mapping[str, Any], **options: Any
) -> None:
    """Save both flavours into the folder ``path``; MLflow calls this with what :meth:`Model.log` is given.

    Args:
        path: an empty or missing folder.
        mlflow_model: gets the flavours.
        spark_model: fitted.
        facts: of :func:`model_facts`.
        options: of ``mlflow.spark.save_model``.

    Raises:
        ModelError: the pipeline has a stage that the compiler does not know.
    """
    mlflow.spark.save_model(spark_model, path, mlflow_model=mlflow_model, **options)
    folder = Path(path)
    pipeline = read_pipeline(folder / SPARK)
    write_compiled(folder / COMPILED, compile_trees(pipeline), _all_facts(facts, pipeline))
    copy_code(folder / CODE)
    environments = mlflow_model.flavors[mlflow.pyfunc.FLAVOR_NAME][mlflow.pyfunc.ENV]
    mlflow_model.add_flavor(
        mlflow.pyfunc.FLAVOR_NAME,
        **{
            mlflow.pyfunc.MAIN: LOADER,
            mlflow.pyfunc.DATA: COMPILED,
            mlflow.pyfunc.CODE: CODE,
            mlflow.pyfunc.ENV: environments,
            mlflow.pyfunc.PY_VERSION: mlflow.pyfunc.PYTHON_VERSION,
        },
    )
    mlflow_model.model_size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    mlflow_model.save(str(folder / MLMODEL_FILE_NAME))


def model_facts(result: TrainingResult, missing_hours: MissingHours) -> dict[str, Any]:
    """Return what the compiled model has to know of its training, besides what its pipeline says."""
    return {
        "algorithm": ALGORITHMS[result.algorithm].title,
        "low": result.thresholds.low,
        "high": result.thresholds.high,
        "missing_hours": missing_hours,
        "training_from": result.split.training_from,
        "training_to": result.split.training_to,
        "baseline": baseline_record(result),
        "sources": result.sources,
        "load_quantiles": result.load_quantiles,
    }


def baseline_record(result: TrainingResult) -> Baseline:
    """Return, for each class that :data:`BASELINE` named on the test rows, the share of each true class.

    One row of each kind is added, so that a class that it never named has equal shares and nothing is certain.
    """
    confusion = result.tables["confusion"]
    rows = confusion[(confusion["split"] == TEST) & (confusion["predictor"] == BASELINE)].set_index("true")
    counts = rows.loc[list(CLASSES), list(CLASSES)].to_numpy().T + 1
    return Baseline(BASELINE, tuple(tuple(row) for row in (counts / counts.sum(axis=1, keepdims=True)).tolist()))


def copy_code(folder: Path) -> None:
    """Copy :data:`BUNDLED` into ``folder``, as a package that a plain Python can import from there."""
    target = folder / "workload_forecast"
    target.mkdir(parents=True)
    with resources.as_file(resources.files("workload_forecast")) as source:
        text = (source / "__init__.py").read_text(encoding="utf-8")
        (target / "__init__.py").write_text(text.rstrip("\n") + "\n" + _REST, encoding="utf-8")
        for name in BUNDLED:
            if (source / name).is_dir():
                shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source / name, target / name)


def _all_facts(facts: Mapping[str, Any], pipeline: SavedPipeline) -> Facts:
    if pipeline.thresholds not in (None, (facts["low"], facts["high"])):
        raise ModelError(f"the pipeline cuts at {pipeline.thresholds}, its training at {facts['low'], facts['high']}.")
    return Facts(
        **facts,
        features=pipeline.features,
        classes=pipeline.classes,
        horizon_hours=HORIZON_HOURS,
        spark_version=pipeline.spark_version,
        treelite_version=treelite.__version__,
        form=pipeline.form,
    )
