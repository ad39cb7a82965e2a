"""``mlflow.models.build_docker`` of the model, for real: an image without Java that answers MLflow's protocol."""

from __future__ import annotations

import json
import time
from pathlib import Path

import mlflow.models
import mlflow.pyfunc
import pytest
import yaml
from mlflow.models import Model
from mlflow.utils.environment import _PythonEnv

from tests.feature_tables import feature_table
from tests.serving.conftest import compiled, lag_forest
from tests.targets.conftest import BASE_IMAGE
from tests.targets.machines.docker import DockerEngine
from tests.targets.machines.process import which
from workload_forecast.registry.flavours import CODE, LOADER, copy_code
from workload_forecast.registry.log_model import requirements, signature
from workload_forecast.schemas import CLASSES, FEATURE_NAMES
from workload_forecast.serving.compiled import COMPILED

# MLflow itself and all that it needs are installed into the image: minutes, for what is MLflow's own
pytestmark = [pytest.mark.release, pytest.mark.timeout(1800)]

IMAGE = "workload-forecast-by-mlflow"

ASK = """
import sys, urllib.request
body = sys.stdin.buffer.read() or None
request = urllib.request.Request("http://127.0.0.1:8080" + sys.argv[1], body, {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A logged model as the training leaves it, but for the Spark pipeline, for which a JVM would have to run."""
    folder = tmp_path / "model"
    folder.mkdir()
    compiled(lag_forest(), tmp_path / "made").rename(folder / COMPILED)
    copy_code(folder / CODE)
    python = _PythonEnv.current()
    python.to_yaml(str(folder / "python_env.yaml"))
    (folder / "requirements.txt").write_text("\n".join(requirements()) + "\n")
    (folder / "conda.yaml").write_text(
        yaml.safe_dump({"dependencies": [f"python={python.python}", "pip", {"pip": requirements()}]})
    )
    made = Model(signature=signature())
    environments = {"conda_env": "conda.yaml", "python_env": "python_env.yaml"}
    mlflow.pyfunc.add_to_model(made, loader_module=LOADER, data=COMPILED, code=CODE, **environments)
    made.add_flavor("spark", model_data="sparkml", pyspark_version="4.2.0", code=None, model_class="")
    made.save(str(folder / "MLmodel"))
    return folder


@pytest.fixture
def engine_for_mlflow(engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DockerEngine:
    """MLflow runs ``docker build``; here with the machine's network, because this engine has none of its own."""
    shim = tmp_path / "bin" / "docker"
    shim.parent.mkdir()
    shim.write_text(
        f'#!/bin/sh\n[ "$1" = build ] && {{ shift; set -- build --network host "$@"; }}\nexec {which("docker")} "$@"\n'
    )
    shim.chmod(0o755)
    for name, value in {**engine.environment(), "PATH": f"{shim.parent}:{engine.environment()['PATH']}"}.items():
        monkeypatch.setenv(name, value)
    return engine


def test_mlflow_builds_an_image_without_java_that_answers(engine_for_mlflow: DockerEngine, model: Path) -> None:
    engine = engine_for_mlflow
    mlflow.models.build_docker(str(model), IMAGE, env_manager="local", base_image=BASE_IMAGE)
    rows = feature_table(servers=1, days=20)[list(FEATURE_NAMES)].tail(3)
    name = engine.docker(
        "run", "--detach", "--network", "none", "--env", "MLFLOW_MODELS_WORKERS=1", IMAGE
    ).stdout.strip()
    try:
        end = time.monotonic() + 300
        while engine.docker("exec", name, "python", "-c", ASK, "/ping", check=False).returncode:
            logs = engine.docker("logs", name)
            assert time.monotonic() < end, logs.stdout + logs.stderr
            time.sleep(2)
        body = json.dumps({"dataframe_split": json.loads(rows.to_json(orient="split", index=False))})
        ask = f"import io, sys; sys.stdin = io.TextIOWrapper(io.BytesIO({body.encode()!r})){ASK}"
        answer = json.loads(engine.docker("exec", name, "python", "-c", ask, "/invocations").stdout)
        expected = mlflow.pyfunc.load_model(str(model)).predict(rows)
        assert answer["predictions"] == expected.to_dict(orient="records")
        assert {row["prediction"] for row in answer["predictions"]} <= set(CLASSES)
        look = "import shutil, importlib.util as u; print(shutil.which('java'), u.find_spec('pyspark'))"
        assert engine.docker("exec", name, "python", "-c", look).stdout.strip() == "None None"
    finally:
        engine.docker("rm", "--force", "--volumes", name)
        engine.docker("rmi", "--force", IMAGE)
