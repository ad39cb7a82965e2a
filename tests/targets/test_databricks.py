"""The Databricks targets against a faked workspace that really runs the jobs (see fake_databricks.py)."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shlex
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException
from mlflow.projects import _project_spec
from mlflow.utils import mlflow_tags as tags

from workload_forecast.errors import EnvironmentProblem, SettingsError, WorkloadForecastError
from workload_forecast.targets.databricks import run as run_module
from workload_forecast.targets.databricks.backend import DatabricksExistingBackend, submit
from workload_forecast.targets.databricks.driver import python_arguments
from workload_forecast.targets.databricks.run import DatabricksRun
from workload_forecast.targets.databricks.spec import ClusterSpec, read_cluster_spec
from workload_forecast.targets.databricks.submit import preflight, submit_existing, submit_new
from workload_forecast.targets.databricks.workspace import workspace_uri
from workload_forecast.targets.files import parse_run_configuration, parse_target
from workload_forecast.targets.history import LOG, REASON

_FAKE = importlib.util.spec_from_file_location("fake_databricks", Path(__file__).with_name("fake_databricks.py"))
assert _FAKE is not None
assert _FAKE.loader is not None
fake_databricks = sys.modules["fake_databricks"] = importlib.util.module_from_spec(_FAKE)
_FAKE.loader.exec_module(fake_databricks)
TOKEN, CLUSTER = fake_databricks.TOKEN, fake_databricks.CLUSTER

NEW = ClusterSpec.from_document(
    {
        "new_cluster": {"spark_version": "16.4.x-scala2.12", "node_type_id": "Standard_DS3_v2", "num_workers": 0},
        "libraries": [{"pypi": {"package": "narwhals"}}],
    },
    "test",
)
EXISTING = ClusterSpec.from_document({"existing_cluster_id": CLUSTER, "timeout_seconds": 600}, "test")
ODD = {
    "spaces": "two  words ",
    "quotes": 'it\'s "quoted" `here` $HOME \\n',
    "lines": "one\n  two\n",
    "unicode": "žluťoučký ≤ 東京 🚚",
    "template": "{{job_id}} {x} -P a=b",
    "empty": "",
}

MLPROJECT = """
name: probe
entry_points:
  main:
    parameters: {spaces: string, quotes: string, lines: string, unicode: string, template: string, empty: string}
    command: "python probe.py {spaces} {quotes} {lines} {unicode} {template} {empty}"
  fail: {command: "python -m package.fail"}
  shell: {command: "echo $MLFLOW_RUN_ID $DATABRICKS_TOKEN $$ > $GREETING.x; mv $GREETING.x $GREETING; sleep 300"}
"""
PROBE = """
import os, sys
import mlflow
names = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_TRACKING_URI", "GREETING")
print("SEEN", ascii((sys.argv[1:], {n: os.environ.get(n) for n in names}, sorted(os.listdir(".")))))
print("PARENT", os.path.basename(sys.modules["__main__"].__file__))
with mlflow.start_run():
    mlflow.log_metric("answer", 42)
"""


@pytest.fixture(scope="module")
def tracking_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The store behind the fake's tracking server, which MLflow opens once a process."""
    from mlflow.server import handlers

    folder = tmp_path_factory.mktemp("tracking")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", (folder / "artifacts").as_uri())
        patch.setattr(handlers, "_tracking_store", None)
        yield


@pytest.fixture
def fake(tracking_store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:  # noqa: ARG001
    before = mlflow.get_tracking_uri()
    with fake_databricks.FakeDatabricks(tmp_path / "workspace") as workspace:
        monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.databrickscfg
        monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "DATABRICKS_CONFIG_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(run_module, "POLL_SECONDS", 0.1)
        mlflow.set_tracking_uri("databricks")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", mlflow.create_experiment(f"/Users/me/{tmp_path.name}"))
        mlflow.set_tracking_uri("databricks")  # a server that opens its store makes that the current one
        yield workspace
        unexpected = [each for each in workspace.refusals if "RESOURCE_DOES_NOT_EXIST" not in each]
        unexpected = [each for each in unexpected if "No file or directory" not in each]
        assert unexpected == getattr(workspace, "expected_refusals", [])
    mlflow.set_tracking_uri(before)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project"
    (folder / "package").mkdir(parents=True)
    (folder / "MLproject").write_text(MLPROJECT)
    (folder / "probe.py").write_text(PROBE)
    (folder / "package" / "fail.py").write_text("import sys\nsys.exit(3)\n")
    (folder / ".gitignore").write_text("mlflow.db\n.venv\n")
    (folder / "mlflow.db").write_text("large")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "python").write_text("large")
    return folder


def _seen(log: str) -> tuple[list[str], dict[str, str], list[str]]:
    line = next(line for line in log.splitlines() if line.startswith("SEEN "))
    seen: tuple[list[str], dict[str, str], list[str]] = ast.literal_eval(line.removeprefix("SEEN "))
    return seen


def _assert_no_secret(fake: Any) -> None:
    secret = TOKEN.encode()
    assert all(secret not in each.body and TOKEN not in each.path for each in fake.requests)
    assert fake.requests
    for file in fake.dbfs.rglob("*"):
        assert not file.is_file() or secret not in file.read_bytes()
    for archive in fake.dbfs.rglob("*.tar.gz"):
        with tarfile.open(archive) as packed:
            names = packed.getnames()
            assert "mlflow-project/MLproject" in names
            assert not [name for name in names if "mlflow.db" in name or ".venv" in name]


def test_existing_cluster_runs_the_command_as_it_is_in_the_clusters_python(fake: Any, project: Path) -> None:
    run = submit_existing(project, EXISTING, parameters=ODD, environment={"GREETING": "good day"})
    assert run.wait()
    assert run.get_status() == "FINISHED"
    log = fake.jobs[run.job_run_id].logs
    arguments, environment, files = _seen(log)
    assert arguments == list(ODD.values())
    assert environment["MLFLOW_RUN_ID"] == run.run_id
    assert environment["MLFLOW_TRACKING_URI"] == "databricks"
    assert environment["GREETING"] == "good day"
    assert files == [".gitignore", "MLproject", "package", "probe.py"]
    found = MlflowClient().get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.experiment_id == environment["MLFLOW_EXPERIMENT_ID"]
    assert found.data.metrics == {"answer": 42.0}
    assert {name: shlex.split(value) for name, value in found.data.params.items()} == {
        name: [odd] for name, odd in ODD.items()
    }
    assert found.data.tags[tags.MLFLOW_DATABRICKS_CLUSTER_ID] == CLUSTER
    assert found.data.tags[tags.MLFLOW_DATABRICKS_SHELL_JOB_RUN_ID] == str(run.job_run_id)
    assert found.data.tags[tags.MLFLOW_DATABRICKS_RUN_URL] == f"{fake.host}/#job/11/run/{run.job_run_id}"
    assert found.data.tags[tags.MLFLOW_SOURCE_NAME] == str(project)
    assert found.data.tags[REASON] == "SUCCESS"
    assert "SEEN" in mlflow.artifacts.load_text(f"{found.info.artifact_uri}/{LOG}")
    (body,) = fake.sent("/jobs/runs/submit")
    assert body["idempotency_token"] == run.run_id
    assert body["timeout_seconds"] == 600
    _assert_no_secret(fake)


def test_new_cluster_runs_through_mlflows_own_backend(fake: Any, project: Path) -> None:
    run = submit_new(project, NEW, parameters=ODD, environment={"GREETING": "good day"}, run_name="mine")
    job = fake.jobs[run.job_run_id]
    arguments, environment, files = _seen(job.logs)
    assert arguments == list(ODD.values())
    assert environment["GREETING"] == "good day"
    assert environment["MLFLOW_RUN_ID"] == run.run_id
    assert files == [".gitignore", "MLproject", "package", "probe.py"]
    found = MlflowClient().get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"answer": 42.0}
    assert found.data.tags[tags.MLFLOW_SOURCE_NAME] == str(project)
    assert found.data.tags[tags.MLFLOW_RUN_NAME] == "mine"
    assert found.data.tags[tags.MLFLOW_DATABRICKS_CLUSTER_ID] == "0101-000000-new1"
    (body,) = fake.sent("/jobs/runs/submit")
    assert body["new_cluster"] == {**NEW.new_cluster, "spark_env_vars": {"GREETING": "good day"}}
    assert [library["pypi"]["package"] for library in body["libraries"]] == [
        "narwhals",
        f"mlflow=={mlflow.__version__}",
    ]
    assert " --env-manager local " in body["shell_command_task"]["command"][-1]
    _assert_no_secret(fake)


def test_mlflows_command_line_refuses_what_our_backend_takes(fake: Any, project: Path) -> None:
    with pytest.raises(Exception, match="must provide a \\*new cluster\\* specification"):
        mlflow.projects.run(str(project), backend="databricks", backend_config={"existing_cluster_id": CLUSTER})
    fake.runs = False
    config = {"existing_cluster_id": CLUSTER, "SYNCHRONOUS": True, "ENV_MANAGER": None, "build_image": False}
    run = DatabricksExistingBackend().run(str(project), "fail", {}, None, config, "databricks", None)
    assert run.get_status() == "RUNNING"
    with pytest.raises(ExecutionException, match="names both a new cluster and 'existing_cluster_id'"):
        DatabricksExistingBackend().run(
            str(project), "fail", {}, None, {**config, "new_cluster": {}}, "databricks", None
        )


def test_failure_is_told_with_code_and_place(fake: Any, project: Path) -> None:
    run = submit_existing(project, EXISTING, entry_point="fail")
    assert not run.wait()
    assert run.get_status() == "FAILED"
    found = MlflowClient().get_run(run.run_id)
    assert found.info.status == "FAILED"
    assert found.data.tags[REASON].startswith("FAILED – Workload failed, see run output for details – ")
    assert "the entry point ended with exit code 3: python -m package.fail" in found.data.tags[REASON]
    _assert_no_secret(fake)


def test_a_cluster_that_never_starts_ends_the_run(fake: Any, project: Path) -> None:
    fake.cluster_starts = False
    with pytest.raises(WorkloadForecastError, match=r"INTERNAL_ERROR – Cluster was terminated\..*; see http") as caught:
        submit_new(project, NEW, entry_point="fail")
    assert "\n" not in str(caught.value)
    (found,) = MlflowClient().search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]])
    assert found.info.status == "FAILED"


def test_cancel_kills_the_command_and_the_run_is_found_again_by_its_id(fake: Any, project: Path) -> None:
    seen = fake.folder / "seen"
    started = submit_existing(project, EXISTING, entry_point="shell", environment={"GREETING": str(seen)})
    job = fake.jobs[started.job_run_id]
    deadline = time.monotonic() + 120
    while not seen.exists() and not job.result and time.monotonic() < deadline:
        time.sleep(0.1)
    assert seen.exists(), job.result
    run_id, token, process = seen.read_text().split()
    assert run_id == started.run_id
    assert token == TOKEN, "the shell is handed the workspace's credentials on the cluster"
    run = DatabricksRun.attach(started.run_id)
    assert run.get_status() == "RUNNING"
    run.cancel()
    assert run.get_status() == "KILLED"
    while Path("/proc", process).exists() and time.monotonic() < deadline:  # until its parent has noticed
        time.sleep(0.1)
    assert not Path("/proc", process).exists()
    found = MlflowClient().get_run(run.run_id)
    assert found.info.status == "KILLED"
    assert found.data.tags[REASON] == "CANCELED – Run cancelled."
    _assert_no_secret(fake)


def test_the_same_project_is_uploaded_once(fake: Any, project: Path) -> None:
    fake.runs = False
    for _ in range(2):
        submit_existing(project, EXISTING, entry_point="fail")
    uploads = [Path(each.path).suffix for each in fake.requests if each.path.startswith("/dbfs/")]
    assert sorted(uploads) == [".gz", ".json", ".json", ".py"]


def test_run_configuration_chooses_by_its_cluster_spec(fake: Any, project: Path) -> None:
    fake.runs = False
    target = parse_target({"name": "adb", "type": "databricks"}, "test")
    (project / "spec.json").write_text(json.dumps({"existing_cluster_id": CLUSTER}))
    given = {"target": "adb", "clusterSpec": "spec.json", "environmentVariables": {"GREETING": "hello"}}
    submit(str(project), parse_run_configuration(given, "test"), target, entry_point="fail")
    (project / "spec.json").write_text(json.dumps({"new_cluster": dict(NEW.new_cluster)}))
    submit(str(project), parse_run_configuration(given, "test"), target, entry_point="fail")
    existing, new = fake.sent("/jobs/runs/submit")
    assert existing["tasks"][0]["existing_cluster_id"] == CLUSTER
    assert new["new_cluster"]["spark_env_vars"] == {"GREETING": "hello"}
    with pytest.raises(SettingsError, match="has forwardVariables, memory, which Databricks runs do not use"):
        submit(
            str(project), parse_run_configuration({**given, "memory": "8g", "forwardVariables": ["A"]}, "test"), target
        )


def test_wrong_token_is_one_line(fake: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-wrong")
    for spec, send in ((EXISTING, submit_existing), (NEW, submit_new)):
        with pytest.raises(
            EnvironmentProblem, match=r"refused .*Invalid access token\. Renew DATABRICKS_TOKEN"
        ) as caught:
            send(project, spec)
        assert "\n" not in str(caught.value)
        assert "dapi-wrong" not in str(caught.value)
    assert not fake.jobs
    fake.expected_refusals = [
        "GET /api/2.1/clusters/get: Invalid access token.",
        "GET /api/2.1/clusters/spark-versions: Invalid access token.",
    ]


def test_unknown_cluster_is_said_before_anything_is_sent(fake: Any, project: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="Cluster gone does not exist"):
        submit_existing(project, ClusterSpec(existing_cluster_id="gone"))
    assert not list(fake.dbfs.iterdir())
    fake.expected_refusals = ["GET /api/2.1/clusters/get: Cluster gone does not exist"]


def test_databricks_has_no_default_experiment(fake: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    for spec, send in ((EXISTING, submit_existing), (NEW, submit_new)):
        with pytest.raises(SettingsError, match="no default experiment; name one: --experiment-name"):
            send(project, spec, entry_point="fail")
    assert not fake.jobs


def test_no_credentials_and_no_answer_are_one_line_within_seconds(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host = fake.host
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentProblem, match=r"127\.0\.0\.1:9 does not answer"):
        preflight(EXISTING, "databricks")
    monkeypatch.setenv("DATABRICKS_HOST", host)
    monkeypatch.delenv("DATABRICKS_TOKEN")
    with pytest.raises(EnvironmentProblem, match="no Databricks credentials for databricks: set DATABRICKS_HOST"):
        preflight(EXISTING, "databricks")
    with pytest.raises(EnvironmentProblem, match="run `databricks configure --profile other`"):
        preflight(EXISTING, "databricks", profile="other")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "sqlite:////home/me/mlflow.db",
            r"tracking store \(sqlite\) is on this machine.*MLFLOW_TRACKING_URI=databricks",
        ),
        ("/home/me/mlruns", r"tracking store \(file\) is on this machine"),
        ("http://127.0.0.1:5000", "is this machine, as seen from a cluster another one"),
        ("https://me:pass@server", "holds a password"),
    ],
)
def test_a_tracking_store_that_the_cluster_cannot_use_is_refused(uri: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        preflight(EXISTING, uri)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "a JSON object"),
        ('{"num_workers": 1}', "names neither 'new_cluster' nor 'existing_cluster_id'"),
        ('{"new_cluster": {}, "existing_cluster_id": "x"}', "names both"),
        ('{"existing_cluster_id": " "}', "'existing_cluster_id' is empty"),
        ('{"existing_cluster_id": 3}', "'existing_cluster_id' must be a JSON str, not int"),
        ('{"existing_cluster_id": "x", "notebook_task": {}}', "notebook_task would be ignored"),
        ('{"new_cluster": {"spark_version": "x"}, "timeout_seconds": 3}', "timeout_seconds would be ignored"),
        ('{"spark_version": "x", "spark_env_vars": {"DB_PASSWORD": "hunter2"}}', "DB_PASSWORD looks like a secret"),
    ],
)
def test_a_specification_that_will_not_do_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        read_cluster_spec(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_specification_and_secret_scopes(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        read_cluster_spec(tmp_path / "none.json")
    fields = {"spark_version": "x", "spark_env_vars": {"DB_PASSWORD": "{{secrets/mine/password}}"}}
    assert ClusterSpec.from_document(fields, "test").new_cluster == fields


def test_what_mlflows_command_would_change_is_refused(project: Path) -> None:
    with pytest.raises(SettingsError, match="quotes it twice"):
        submit_new(project, NEW, entry_point="my step")
    with pytest.raises(SettingsError, match="empties a line of blanks"):
        submit_new(project, NEW, parameters={"lines": "one\n  \ntwo"})
    with pytest.raises(SettingsError, match="API_TOKEN looks like a secret"):
        submit_existing(project, EXISTING, environment={"API_TOKEN": "x"})
    with pytest.raises(SettingsError, match="names an existing cluster"):
        submit_new(project, EXISTING)


def test_profiles() -> None:
    assert workspace_uri("databricks") == "databricks"
    assert workspace_uri("databricks://prod") == "databricks://prod"
    assert workspace_uri("https://mlflow.example") == "databricks"
    assert workspace_uri("https://mlflow.example", "prod") == "databricks://prod"
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_URI=databricks://prod"):
        workspace_uri("databricks://test", "prod")


@given(values=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_whatever_the_values_a_python_command_stays_a_python_command(values: list[str]) -> None:
    parameters = {f"p{number}": value for number, value in enumerate(values)}
    command = "python -m package.module " + " ".join(f"--{name} {{{name}}}" for name in parameters)
    entry = _project_spec.EntryPoint("main", dict.fromkeys(parameters, "string"), command)
    expected = [word for name, value in parameters.items() for word in (f"--{name}", value)]
    assert python_arguments(entry.compute_command(parameters, None)) == ["-m", "package.module", *expected]


@pytest.mark.parametrize(
    "command",
    [
        "python a.py && python b.py",
        "python a.py > out",
        "python a.py $HOME",
        'python a.py "$HOME"',
        "python a.py *.csv",
        "python -c 'print(1)'",
        "A=1 python a.py",
        "spark-submit a.py",
        "python",
        "python -m",
        "",
    ],
)
def test_what_needs_a_shell_gets_one(command: str) -> None:
    assert python_arguments(command) is None
