"""The logged model as others meet it: in a fresh interpreter, over HTTP, in Spark, as files."""

from __future__ import annotations

import json
import pickletools
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import mlflow
import pandas as pd
import pytest
from mlflow.models import Model

import workload_forecast
from tests.feature_tables import feature_table, write_parquet
from tests.features.helpers import noisy
from tests.serving.histories import frame
from workload_forecast.config import Thresholds
from workload_forecast.errors import ModelError
from workload_forecast.model.split import TimeSplit
from workload_forecast.model.training import TrainingResult, train
from workload_forecast.registry import flavours
from workload_forecast.registry.log_model import requirements, signature
from workload_forecast.schemas import CLASSES, FEATURE_NAMES, FEATURES, LOAD_LEVELS, LOAD_NUMBERS
from workload_forecast.serving.facts import read_facts
from workload_forecast.serving.forecaster import Forecaster
from workload_forecast.sources import Sources

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: A frame of pandas has whole numbers where nothing is unknown; Spark's signature is about decimal ones.
FLOATS = {name: "float64" for name in FEATURE_NAMES if FEATURES.columns[name].is_float()}

SPLIT = TimeSplit(datetime(2016, 6, 1), datetime(2016, 6, 18), datetime(2016, 6, 20, 23, 59, 59))

pytestmark = pytest.mark.spark


class SavedModel(NamedTuple):
    folder: Path
    result: TrainingResult
    rows: pd.DataFrame  #: features of the test period, in full


@pytest.fixture(scope="module")
def saved(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    scratch = tmp_path_factory.mktemp("flavours")
    table = feature_table(servers=4, days=20)
    features = spark.read.parquet(str(write_parquet(table, scratch / "features")))
    result = train(features, SPLIT, Thresholds(200, 320), parameters={"num_trees": 10, "max_depth": 5})
    flavours.save_model(
        str(scratch / "model"),
        Model(),
        result.model,
        flavours.model_facts(result, "zero"),
        dfs_tmpdir=str(scratch / "dfs"),
        signature=signature(),
        input_example=result.example.astype(object),
        pip_requirements=requirements(),
    )
    rows = table[table["hour"] >= SPLIT.test_from][list(FEATURE_NAMES)].reset_index(drop=True)
    return SavedModel(scratch / "model", result, rows)


def test_the_facts_are_those_of_the_training(saved: SavedModel) -> None:
    facts = read_facts((saved.folder / "compiled" / "facts.json").read_text())
    assert (facts.low, facts.high, facts.missing_hours, facts.algorithm) == (200, 320, "zero", "random forest")
    assert (facts.training_from, facts.training_to) == (datetime(2016, 6, 1), datetime(2016, 6, 16))
    assert facts.spark_version == version("pyspark").partition("+")[0]
    assert facts.sources == Sources()
    assert facts.load_quantiles == saved.result.load_quantiles
    assert len(facts.load_quantiles.factors) == len(LOAD_LEVELS)
    gated = Sources("model", {"a": "none"})
    assert flavours.model_facts(replace(saved.result, sources=gated), "zero")["sources"] == gated
    scores = saved.result.tables["confusion"].query("split == 'test' and predictor == 'class_48h_ago'")
    for named, shares in zip(CLASSES, facts.baseline.probabilities, strict=True):
        counts = [int(scores[scores["true"] == true][named].iloc[0]) + 1 for true in CLASSES]
        assert shares == pytest.approx([count / sum(counts) for count in counts], abs=1e-15)
    assert sum(facts.baseline.probabilities, ()) != pytest.approx([1 / 3] * 9)


def test_both_flavours_answer_alike(saved: SavedModel, spark: SparkSession) -> None:
    rows = saved.rows.astype(FLOATS)
    by_spark = mlflow.spark.load_model(str(saved.folder)).transform(spark.createDataFrame(rows))
    expected = [
        (row["prediction"], *row["probability"]) for row in by_spark.select("prediction", "probability").collect()
    ]
    found = mlflow.pyfunc.load_model(str(saved.folder)).predict(rows)
    assert [tuple(row) for row in found.iloc[:, :4].itertuples(index=False)] == expected
    assert len(set(found["prediction"])) == 3


FRESH = """
import json, sys
from pathlib import Path
sys.path = [p for p in sys.path if p and not (Path(p) / "workload_forecast").exists()]
sys.modules |= dict.fromkeys(["pyspark", "py4j", "duckdb"])  # as if they were not installed
import importlib.util
assert importlib.util.find_spec("workload_forecast") is None, "the package must not be found here"
import mlflow.pyfunc, os, pandas as pd
model = mlflow.pyfunc.load_model("model")
answers = model.predict(pd.read_parquet("rows.parquet"))
forecast = model.predict(pd.read_parquet("history.parquet"), {"start": "2016-07-06T12:00:00Z", "servers": ["a", "new"]})
import workload_forecast
tasks = Path(f"/proc/{os.getpid()}/task")  # Linux alone has it
children = [number for file in tasks.glob("*/children") for number in file.read_text().split()]
print(json.dumps({"answers": answers.values.tolist(), "forecast": forecast.drop(columns="hour").values.tolist(),
    "from": workload_forecast.__file__, "children": children}))
"""


@pytest.fixture(scope="module")
def fresh(saved: SavedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], Path]:
    """What a new interpreter sees in an empty folder, without this package and without Spark in use."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(saved.folder, folder / "model")
    saved.rows.to_parquet(folder / "rows.parquet")
    frame(noisy(300, seed=1)).to_parquet(folder / "history.parquet")
    done = subprocess.run([sys.executable, "-I", "-c", FRESH], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), folder


def test_the_model_brings_its_code_needs_no_spark_and_starts_no_jvm(fresh: tuple[dict[str, object], Path]) -> None:
    found, folder = fresh
    assert Path(str(found["from"])) == folder / "model" / "code" / "workload_forecast" / "__init__.py"
    assert found["children"] == []


def test_the_model_answers_the_same_elsewhere(fresh: tuple[dict[str, object], Path], saved: SavedModel) -> None:
    found, _ = fresh
    model = mlflow.pyfunc.load_model(str(saved.folder))
    assert found["answers"] == model.predict(saved.rows).to_numpy().tolist()
    forecast = Forecaster.load(saved.folder / "compiled").forecast(
        frame(noisy(300, seed=1)), ["a", "new"], datetime(2016, 7, 6, 12)
    )
    columns = forecast.drop_columns(["hour"]).to_pylist()
    assert found["forecast"] == [list(row.values()) for row in columns]
    assert {row["source"] for row in columns} == {"model", "none"}


def test_the_copied_code_does_not_hide_the_rest_of_an_installed_package(saved: SavedModel) -> None:
    """As MLflow does it, the copy comes first on the path; the installed package is further down."""
    code, root = str(saved.folder / "code"), str(Path(__file__).parents[2])
    script = (
        f"import sys; sys.path[:] = [{code!r}, *sys.path, {root!r}]\n"
        "import workload_forecast.serving.pyfunc as scoring, workload_forecast.cli as cli\n"
        "print(scoring.__file__); print(cli.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-B", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scoring, cli = map(Path, done.stdout.split())
    assert scoring == saved.folder / "code" / "workload_forecast" / "serving" / "pyfunc.py"
    assert (cli.name, saved.folder in cli.parents) == ("cli.py", False)


def test_mlflows_scoring_server_takes_both_inputs_and_explains_what_it_cannot_take(saved: SavedModel) -> None:
    from mlflow.pyfunc.scoring_server import invocations

    model = mlflow.pyfunc.load_model(str(saved.folder))
    schema = model.metadata.get_input_schema()

    def post(body: object) -> tuple[int, object]:
        text = body if isinstance(body, str) else json.dumps(body)
        answer = invocations(text, "application/json", model, schema)
        return answer.status, json.loads(answer.response, parse_constant=pytest.fail)

    status, found = post((saved.folder / "serving_input_example.json").read_text())
    assert (status, len(found["predictions"])) == (200, 5)  # type: ignore[index]
    history = json.loads(frame(noisy(300, seed=1)).to_json(orient="split", date_format="iso", index=False))
    params = {"start": "2016-07-06T12:00:00Z", "hours": 2, "servers": ["a", "new"]}
    status, found = post({"dataframe_split": history, "params": params})
    rows = found["predictions"]  # type: ignore[index]
    assert [(row["server"], row["hour"], row["source"]) for row in rows] == [
        (server, f"2016-07-06T{hour}:00:00", source)
        for server, source in (("a", "model"), ("new", "none"))
        for hour in (12, 13)
    ]
    assert rows[0]["prediction"] in CLASSES
    assert rows[2]["confidence"] is None
    status, found = post({"dataframe_split": history, "params": params | {"load": True}})
    numbered = found["predictions"]  # type: ignore[index]
    assert [{name: row[name] for name in rows[0]} for row in numbered] == rows
    assert set(numbered[0]) - set(rows[0]) == set(LOAD_NUMBERS)
    assert numbered[0]["load_p10"] <= numbered[0]["load_p90"]
    assert numbered[2]["load_p90"] is None
    with pytest.raises(mlflow.MlflowException, match="hours must be 1 to 48") as refused:
        post({"dataframe_split": history, "params": params | {"hours": 99}})
    assert refused.value.get_http_status_code() == 400


def test_spark_udf_gives_the_answers_as_a_struct_or_the_class_alone(saved: SavedModel, spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    rows = saved.rows[:60].astype(FLOATS)
    expected = mlflow.pyfunc.load_model(str(saved.folder)).predict(rows)
    table = spark.createDataFrame(rows)
    features = F.struct(*FEATURE_NAMES)
    whole = mlflow.pyfunc.spark_udf(spark, str(saved.folder), env_manager="local")
    name = mlflow.pyfunc.spark_udf(spark, str(saved.folder), result_type="string", env_manager="local")
    found = table.select(whole(features).alias("answer"), name(features).alias("name")).collect()
    assert [row["answer"].asDict() for row in found] == expected.to_dict(orient="records")
    assert [row["name"] for row in found] == expected["prediction"].tolist()


def test_the_folder_is_small_plain_and_without_pickles(saved: SavedModel) -> None:
    files = [path for path in saved.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if "__pycache__" in path.parts or path.suffix in {".pyc", ".pkl", ".pickle"}]
    code = [path for path in files if "code" in path.parts]
    assert {path.suffix for path in code} == {".py"}
    package = Path(workload_forecast.__file__).parent.rglob("*.py")
    assert sum(path.stat().st_size for path in code) < sum(path.stat().st_size for path in package) / 8
    for path in files:
        assert not is_pickle(path.read_bytes()), path
    flavors = Model.load(str(saved.folder)).flavors
    python = flavors["python_function"]
    assert [python[key] for key in ("loader_module", "data", "code")] == [
        "workload_forecast.serving.pyfunc",
        "compiled",
        "code",
    ]
    assert python["env"] == {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
    assert (flavors["spark"]["model_data"], flavors["spark"]["code"]) == ("sparkml", None)


def is_pickle(content: bytes) -> bool:
    try:
        *_, (last, _, position) = pickletools.genops(content)
    except ValueError:
        return False
    return last.name == "STOP" and content[:1] == b"\x80" and position == len(content) - 1


def test_a_stage_that_the_compiler_does_not_know_is_refused_when_logging(saved: SavedModel, tmp_path: Path) -> None:
    from pyspark.ml import PipelineModel

    stages = saved.result.model.stages[:-1]
    with pytest.raises(
        ModelError, match="stages are SQLTransformer, VectorAssembler, RandomForestClassificationModel;"
    ):
        flavours.save_model(
            str(tmp_path / "model"),
            Model(),
            PipelineModel(stages),
            flavours.model_facts(saved.result, "unknown"),
            dfs_tmpdir=str(tmp_path / "dfs"),
            pip_requirements=requirements(),
        )
