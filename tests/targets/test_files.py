from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from workload_forecast.errors import SettingsError
from workload_forecast.targets import files
from workload_forecast.targets.files import (
    ComputeTarget,
    RunConfiguration,
    SparkDependencies,
    find_file,
    json_schema,
    list_targets,
    load_run_configuration,
    load_target,
    looks_secret,
    parse_run_configuration,
    parse_target,
    save,
    spark_dependencies,
    targets_folder,
)

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,10}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8)
PATHS = TEXT.map(lambda text: f"/opt/with space/{text}")
VARIABLES = st.from_regex(r"[A-Z_]{1,4}[0-9]{0,2}", fullmatch=True).filter(lambda name: not looks_secret(name))
SSH = {
    "address": st.sampled_from(["gpu-box", "10.0.0.7", "fe80::1%eth0", "head.example.org"]),
    "port": st.integers(1, 65535),
    "username": st.sampled_from(["", "alice", "alice@corp", "a.b-c"]),
    "identityFile": PATHS | st.just("~/.ssh/id ed25519"),
    "sshConfig": PATHS,
}
PLACES = {"baseDirectory": PATHS, "sharedDirectory": PATHS | st.just("")}
IMAGE = {"baseImage": st.sampled_from(["", "debian:trixie", "host:5000/a/b@sha256:00"]), "dockerfile": PATHS}
SPARK = {
    "sparkMaster": st.sampled_from(["", "yarn"]),
    "yarnDeployMode": st.sampled_from(["client", "cluster"]),
    "pythonLocation": PATHS,
    "sparkSubmitLocation": PATHS,
}
BY_TYPE: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "docker": {**PLACES, **IMAGE},
    "remote-docker": {**PLACES, **SSH, **IMAGE},
    "spark-cluster": {**PLACES, **SSH, **SPARK},
    "databricks": {"sharedDirectory": PATHS, "profile": TEXT.filter(lambda text: not text.startswith("-"))},
}


@st.composite
def compute_contents(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(BY_TYPE)))
    required: dict[str, st.SearchStrategy[Any]] = {"name": NAMES, "type": st.just(kind)}
    optional = dict(BY_TYPE[kind])
    if "address" in optional:
        required["address"] = optional.pop("address")
    return draw(st.fixed_dictionaries(required, optional=optional))


SPARK_SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "configuration": st.dictionaries(st.from_regex(r"spark\.[a-d]{1,3}", fullmatch=True), TEXT, max_size=3),
        "repositories": st.lists(st.sampled_from(["https://maven.example.org/a", "file:///jars"]), max_size=2),
        "packages": st.lists(st.just("org.example:thing_2.13:1.0"), max_size=2),
    },
)
RUN_CONTENTS = st.fixed_dictionaries(
    {"target": NAMES | st.just("other place/gpu.compute.json")},
    optional={
        "framework": st.sampled_from(["auto", "python", "pyspark"]),
        "environmentVariables": st.dictionaries(VARIABLES, st.text(st.characters(exclude_characters="\0"), max_size=8)),
        "forwardVariables": st.just(["MLFLOW_TRACKING_TOKEN", "API_KEY"]),
        "dependenciesFile": PATHS,
        "sparkDependenciesFile": PATHS,
        "spark": SPARK_SECTIONS,
        "prepareEnvironment": st.booleans(),
        "useSampling": st.booleans(),
        "gpu": st.sampled_from(["", "all", "2"]),
        "memory": st.sampled_from(["", "8g", "512m"]),
        "cpus": st.floats(0.1, 64) | st.none(),
        "mounts": st.lists(st.fixed_dictionaries({"source": PATHS, "target": PATHS, "readOnly": st.booleans()})),
        "data": st.sampled_from(["auto", "launcher", "target"]),
        "fetchResults": st.just("auto") | st.booleans(),
        "sizeLimitMegabytes": st.integers(1, 10**6),
        "clusterSpec": PATHS,
    },
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which no folder for targets is named."""
    monkeypatch.delenv(files.FOLDER_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def attach(folder: Path, name: str, **fields: Any) -> Path:
    return write(folder / f"{name}.compute.json", {"name": name, "type": "docker", **fields})


# --- round trips ---------------------------------------------------------------------------------------------------


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=compute_contents())
def test_a_target_comes_back_as_it_was_saved(content: dict[str, Any], tmp_path: Path) -> None:
    target = parse_target(content, "here")
    path = save(target, tmp_path / f"{target.name}.compute.json", overwrite=True)
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert load_target(path) == target


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=RUN_CONTENTS)
def test_a_run_configuration_comes_back_as_it_was_saved(content: dict[str, Any], tmp_path: Path) -> None:
    configuration = parse_run_configuration(content, "here")
    path = save(configuration, tmp_path / "x.runconfig.json", overwrite=True)
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert load_run_configuration(path) == configuration


def test_the_defaults_are_those_that_are_documented() -> None:
    target = parse_target({"name": "here", "type": "docker"}, "here")
    assert (target.base_directory, target.dockerfile) == ("~/.workload_forecast", "docker/Dockerfile")
    assert (target.port, target.yarn_deploy_mode, target.shared_directory) == (None, "client", "")
    configuration = parse_run_configuration({"target": "here"}, "here")
    assert configuration == RunConfiguration(
        target="here",
        framework="auto",
        environment_variables={},
        forward_variables=(),
        dependencies_file="",
        spark_dependencies_file="",
        spark=SparkDependencies(),
        prepare_environment=True,
        use_sampling=False,
        gpu="",
        memory="",
        cpus=None,
        mounts=(),
        data="auto",
        fetch_results="auto",
        size_limit_megabytes=100,
        cluster_spec="",
    )


def test_files_cannot_be_changed_in_memory() -> None:
    target = parse_target({"name": "here", "type": "docker"}, "here")
    with pytest.raises(ValidationError, match="frozen"):
        target.name = "there"


def test_a_full_dump_is_accepted_again() -> None:
    target = parse_target({"name": "here", "type": "docker"}, "here")
    assert ComputeTarget.model_validate(target.model_dump(mode="json", by_alias=True)) == target


@pytest.mark.parametrize(
    ("framework", "kind", "expected"),
    [
        ("auto", "docker", "python"),
        ("auto", "databricks", "python"),
        ("auto", "spark-cluster", "pyspark"),
        ("python", "spark-cluster", "python"),
        ("pyspark", "docker", "pyspark"),
    ],
)
def test_the_framework_follows_the_type_unless_it_is_named(
    framework: str, kind: files.TargetType, expected: str
) -> None:
    assert parse_run_configuration({"target": "x", "framework": framework}, "").framework_on(kind) == expected


# --- what is refused -----------------------------------------------------------------------------------------------

REMOTE = {"name": "box", "type": "remote-docker", "address": "gpu-box"}
CLUSTER = {"name": "box", "type": "spark-cluster", "address": "head"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "name: is missing; type: is missing."),
        ({"name": "a b", "type": "docker"}, "name: must be letters, digits, '.', '_' or '-', and not begin with"),
        ({"name": "-a", "type": "docker"}, "name: must be letters"),
        ({"name": "../a", "type": "docker"}, "name: must be letters"),
        ({"name": "a", "type": "vm"}, "type: must be 'docker', 'remote-docker', 'spark-cluster' or 'databricks'."),
        ({"name": 1, "type": "docker"}, "name: must be text in quotes."),
        ({"name": "a", "type": "remote-docker"}, "type remote-docker needs address, a host name or a Host of your ssh"),
        (
            {"name": "a", "type": "docker", "address": "x"},
            "type docker does not know address; its fields are name, type",
        ),
        (
            {"name": "a", "type": "databricks", "sparkMaster": "yarn", "port": 1},
            "type databricks does not know port, sparkMaster; its fields are name, type, sharedDirectory, profile.",
        ),
        ({**REMOTE, "adress": "x"}, "adress: is not a known field. Did you mean address? Fields: name, type, baseDir"),
        ({**REMOTE, "base_image": "x"}, "base_image: is not a known field. Did you mean baseImage?"),
        ({**REMOTE, "password": "x"}, "take 'password' out and revoke it if it is real: credentials never stand in"),
        ({**REMOTE, "address": "-oProxyCommand=id"}, "address: must be a host name, an IP address or a Host of your"),
        ({**REMOTE, "address": "a;id"}, "address: must be a host name"),
        ({**REMOTE, "address": "alice@box"}, "address: must be a host name"),
        ({**REMOTE, "username": "-l"}, "username: must be a user name of letters"),
        ({**REMOTE, "username": "$(id)"}, "username: must be a user name of letters"),
        ({**REMOTE, "identityFile": "-oProxyCommand=id"}, "identityFile: must not begin with '-', because it would be"),
        ({**REMOTE, "sshConfig": "-x"}, "sshConfig: must not begin with '-'"),
        ({**REMOTE, "identityFile": "/a\nb"}, "identityFile: must not hold line breaks or control characters."),
        ({**REMOTE, "port": "22"}, "port: must be a whole number."),
        ({**REMOTE, "port": True}, "port: must be a whole number."),
        ({**REMOTE, "port": 0}, "port: must be greater than or equal to 1."),
        ({**REMOTE, "port": 65536}, "port: must be less than or equal to 65535."),
        ({**REMOTE, "baseDirectory": "runs"}, "baseDirectory: must be a path on the target that begins with '/' or"),
        ({**REMOTE, "baseDirectory": ""}, "baseDirectory: must be a path on the target"),
        ({**REMOTE, "sharedDirectory": "runs"}, "sharedDirectory: must be empty or a path on the target"),
        ({**CLUSTER, "sparkMaster": "mesos://x"}, "sparkMaster: must be '' (the cluster's own), 'yarn', 'spark://HOST"),
        ({**CLUSTER, "yarnDeployMode": "fast"}, "yarnDeployMode: must be 'client' or 'cluster'."),
        (
            {**CLUSTER, "yarnDeployMode": "cluster", "sparkMaster": "spark://h:7077"},
            "yarnDeployMode cluster needs sparkMaster yarn, not spark://h:7077.",
        ),
    ],
)
def test_a_compute_file_is_refused_in_one_line(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "box.compute.json", content)
    with pytest.raises(SettingsError) as raised:
        load_target(path)
    text = str(raised.value)
    assert text.startswith(f"{path}: {message}")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "target: is missing."),
        ({"target": "a b"}, "target: 'a b' must be letters, digits"),
        ({"target": "-x/y.compute.json"}, "target: must not begin with '-'"),
        ({"target": "a", "targt": "b"}, "targt: is not a known field. Did you mean target? Fields: target, framework"),
        ({"target": "a", "framework": "R"}, "framework: must be 'auto', 'python' or 'pyspark'."),
        ({"target": "a", "useSampling": "yes"}, "useSampling: must be true or false."),
        ({"target": "a", "prepareEnvironment": 1}, "prepareEnvironment: must be true or false."),
        ({"target": "a", "fetchResults": "maybe"}, "fetchResults: must be 'auto' or true or false."),
        ({"target": "a", "gpu": "two"}, "gpu: must be '' (none), 'all' or a number of GPUs like '2'."),
        ({"target": "a", "memory": "8 GB"}, "memory: must be a number with b, k, m or g, like '8g'."),
        ({"target": "a", "cpus": "2"}, "cpus: must be a number."),
        ({"target": "a", "cpus": 0}, "cpus: must be greater than 0."),
        ({"target": "a", "sizeLimitMegabytes": 0}, "sizeLimitMegabytes: must be greater than or equal to 1."),
        ({"target": "a", "data": "cloud"}, "data: must be 'auto', 'launcher' or 'target'."),
        ({"target": "a", "forwardVariables": "HOME"}, "forwardVariables: must be a list [...]."),
        ({"target": "a", "forwardVariables": ["A=1"]}, "forwardVariables: 'A=1' must be a variable's name"),
        ({"target": "a", "environmentVariables": []}, "environmentVariables: must be an object {NAME: VALUE}."),
        ({"target": "a", "environmentVariables": {"A": 1}}, "environmentVariables.A: must be text in quotes."),
        ({"target": "a", "environmentVariables": {"1A": ""}}, "environmentVariables: '1A' must be a variable's name"),
        ({"target": "a", "environmentVariables": {"A": "\0"}}, "environmentVariables: 'A' must not hold a NUL"),
        (
            {"target": "a", "environmentVariables": {"A": "1"}, "forwardVariables": ["A"]},
            "A: choose between environmentVariables and forwardVariables.",
        ),
        ({"target": "a", "mounts": [{"source": "/a"}]}, "mounts.0.target: is missing."),
        ({"target": "a", "mounts": [{"source": "/a", "target": "b"}]}, "mounts.0.target: must be a path in the cont"),
        ({"target": "a", "spark": {"jars": []}}, "spark.jars: is not a known field."),
        ({"target": "a", "spark": {"packages": ["avro"]}}, "spark.packages.0: must be GROUP:ARTIFACT:VERSION."),
        ({"target": "a", "spark": {"packages": ["--conf:a:b"]}}, "spark.packages.0: must be GROUP:ARTIFACT:VERSION."),
        ({"target": "a", "spark": {"repositories": ["maven"]}}, "spark.repositories: 'maven' must be an address like"),
        (
            {"target": "a", "spark": {"repositories": ["https://u:p@maven.example.org"]}},
            "spark.repositories: take user and password out of the address",
        ),
        (
            {"target": "a", "spark": {"configuration": {"executor.memory": "1g"}}},
            "spark.configuration: 'executor.memory' must begin with 'spark.' (spark-submit ignores others)",
        ),
        ({"name": "a", "type": "docker"}, "this is a compute target; give a run configuration (NAME.runconfig.json)."),
    ],
)
def test_a_run_configuration_is_refused_in_one_line(content: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_run_configuration(content, "the backend's file")
    text = str(raised.value)
    assert text.startswith(f"the backend's file: {message}")
    assert "\n" not in text


SECRET_NAMES = [
    "API_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "apikey",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "CLIENT_SECRET",
    "DB_PWD",
    "AZURE_STORAGE_SAS",
    "AZURE_STORAGE_CONNECTION_STRING",
    "ConnectionString",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_variables_that_look_secret_are_refused_without_repeating_the_value(name: str) -> None:
    assert looks_secret(name)
    with pytest.raises(SettingsError, match=f"take '{name}' out.*forwardVariables") as raised:
        parse_run_configuration({"target": "a", "environmentVariables": {name: "hunter2"}}, "x")
    assert "hunter2" not in str(raised.value)
    assert parse_run_configuration({"target": "a", "forwardVariables": [name]}, "x").forward_variables == (name,)


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "PWD", "DISASTER", "TOKENIZERS_PARALLELISM", "KAFKA_SASL", "TZ"])
def test_harmless_variables_are_allowed(name: str) -> None:
    given_variables = {"target": "a", "environmentVariables": {name: "1"}}
    assert parse_run_configuration(given_variables, "x").environment_variables == {name: "1"}


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("spark.hadoop.fs.azure.account.key.acct.blob.core.windows.net", True),
        ("spark.hadoop.fs.s3a.secret.key", True),
        ("spark.hadoop.fs.azure.sas.box.acct", True),
        ("spark.ssl.keyPassword", True),
        ("spark.authenticate.secret", True),
        ("spark.sql.mapKeyDedupPolicy", False),
        ("spark.network.crypto.keyLength", False),
        ("spark.executor.memory", False),
    ],
)
def test_spark_settings_that_are_secrets_are_refused(name: str, secret: bool) -> None:
    content = {"target": "a", "spark": {"configuration": {name: "hunter2"}}}
    if not secret:
        assert parse_run_configuration(content, "x").spark.configuration == {name: "hunter2"}
        return
    with pytest.raises(SettingsError, match=f"take '{re.escape(name)}' out") as raised:
        parse_run_configuration(content, "x")
    assert "hunter2" not in str(raised.value)


# --- MLflow --------------------------------------------------------------------------------------------------------


def test_the_keys_that_mlflow_adds_are_dropped_and_no_others() -> None:
    from mlflow.projects import utils

    own = {value for name, value in vars(utils).items() if name.startswith("PROJECT_")}
    assert set(files.MLFLOW_KEYS) == own
    mixed = {"$schema": "x", "target": "a", **dict.fromkeys(own)}
    assert parse_run_configuration(mixed, "x") == parse_run_configuration({"target": "a"}, "x")
    with pytest.raises(SettingsError, match="ENV: is not a known field"):
        parse_run_configuration({**mixed, "ENV": 1}, "x")


# --- finding files -------------------------------------------------------------------------------------------------


def test_names_are_looked_up_in_the_documented_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, named = tmp_path / "the project", tmp_path / "named here"
    attach(project / "targets", "box", baseImage="of:project")
    assert load_target("box", project).base_image == "of:project"
    attach(tmp_path / "targets", "box", baseImage="of:cwd")
    assert load_target("box", project).base_image == "of:cwd"
    attach(named, "box", baseImage="of:variable")
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(named))
    assert load_target("box", project).base_image == "of:variable"
    # a path wins over every folder, seen from the working directory and then from the project
    assert load_target("targets/box.compute.json", project).base_image == "of:cwd"
    (tmp_path / "targets" / "box.compute.json").unlink()
    assert load_target("targets/box.compute.json", project).base_image == "of:project"


def test_the_folder_to_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    assert targets_folder(project) == Path("targets")
    (project / "targets").mkdir(parents=True)
    assert targets_folder(project) == project / "targets"
    (tmp_path / "targets").mkdir()
    assert targets_folder(project) == Path("targets")
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path / "new"))
    assert targets_folder(project) == tmp_path / "new"


def test_a_name_that_is_not_found_says_where_and_what_there_is(tmp_path: Path) -> None:
    attach(tmp_path / "targets", "gpu")
    with pytest.raises(SettingsError) as raised:
        load_target("gpo", tmp_path / "project")
    assert str(raised.value).startswith(
        f"gpo.compute.json is not in targets, {tmp_path / 'project' / 'targets'}; there is gpu. "
        "Write it with `workload-forecast target attach`"
    )
    with pytest.raises(SettingsError, match=r"^gpu\.runconfig\.json is not in targets; there is none yet\."):
        load_run_configuration("gpu")


def test_a_directory_with_the_name_of_a_target_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "gpu").mkdir()
    attach(tmp_path / "targets", "gpu")
    assert find_file("compute", "gpu") == Path("targets/gpu.compute.json")


def test_the_name_and_the_file_name_must_agree(tmp_path: Path) -> None:
    path = write(tmp_path / "a.compute.json", {"name": "b", "type": "docker"})
    with pytest.raises(SettingsError, match=r"a\.compute\.json: name 'b' and the file's name differ"):
        load_target(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"name": "a",\n oops}', "line 2: not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_what_is_not_json_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.compute.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        load_target(path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.compute.json").mkdir()
    with pytest.raises(SettingsError, match=r"a\.compute\.json cannot be read: .*directory"):
        load_target(tmp_path / "a.compute.json")
    with pytest.raises(SettingsError, match=r"b\.compute\.json does not exist \(looked from "):
        load_target("./b.compute.json")


def test_relative_keys_are_seen_from_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "my targets" / "box.compute.json", {**REMOTE, "identityFile": "k/id", "sshConfig": "~/c"})
    target = load_target(path)
    assert target.identity_file == str(tmp_path / "my targets" / "k" / "id")
    assert target.ssh_config == "~/c"
    relative = load_target(Path("my targets/box.compute.json"))
    assert relative == target


def test_targets_are_listed_by_name(tmp_path: Path) -> None:
    assert list_targets(tmp_path / "nowhere") == []
    attach(tmp_path, "b")
    attach(tmp_path, "a")
    write(tmp_path / "a.runconfig.json", {"target": "a"})
    assert [target.name for target in list_targets(tmp_path)] == ["a", "b"]
    attach(tmp_path, "c", type="vm")
    with pytest.raises(SettingsError, match=r"c\.compute\.json: type: must be"):
        list_targets(tmp_path)


# --- saving --------------------------------------------------------------------------------------------------------


def test_saving_refuses_to_overwrite_something_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "box.compute.json"
    box = parse_target({"name": "box", "type": "docker"}, "")
    assert save(box, path) == path
    before = path.stat().st_mtime_ns
    save(box, path)  # the same again is no conflict
    assert path.stat().st_mtime_ns == before
    other = parse_target({"name": "box", "type": "docker", "baseImage": "x"}, "")
    with pytest.raises(SettingsError, match=r"box\.compute\.json exists and says something else: remove it first"):
        save(other, path)
    assert load_target(path) == box
    save(other, path, overwrite=True)
    assert load_target(path) == other
    assert [child.name for child in path.parent.iterdir()] == ["box.compute.json"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "targets").write_text("a file stands in the way")
    with pytest.raises(SettingsError, match=r"targets/box\.compute\.json cannot be written: "):
        save(parse_target({"name": "box", "type": "docker"}, ""), tmp_path / "targets" / "box.compute.json")


def test_the_schema_is_named_where_an_editor_can_open_it(tmp_path: Path) -> None:
    write(tmp_path / "docs" / "schemas" / "compute.schema.json", {})
    box = parse_target({"name": "box", "type": "docker"}, "")
    inside = save(box, tmp_path / "deep" / "targets" / "box.compute.json")
    assert inside.read_text().splitlines()[1] == '  "$schema": "../../docs/schemas/compute.schema.json",'
    assert load_target(inside) == box
    configuration = save(parse_run_configuration({"target": "box"}, ""), tmp_path / "targets" / "box.runconfig.json")
    assert json.loads(configuration.read_text()) == {"target": "box"}  # no such schema here, so none is named


# --- Spark ---------------------------------------------------------------------------------------------------------

FILE = {
    "configuration": {"spark.executor.instances": 2, "spark.a": True, "spark.b": "file"},
    "repositories": ["https://one.example.org/m"],
    "packages": ["g:a:1", "g:b:1"],
}


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_the_spark_file_and_the_inline_part_are_merged(suffix: str, tmp_path: Path) -> None:
    import yaml

    text = json.dumps(FILE) if suffix == "json" else yaml.safe_dump(FILE)
    (tmp_path / f"spark dependencies.{suffix}").write_text(text)
    inline = {"configuration": {"spark.b": "inline", "spark.c": 1.5}, "packages": ["g:b:1", "g:c:1"]}
    configuration = parse_run_configuration(
        {"target": "a", "sparkDependenciesFile": f"spark dependencies.{suffix}", "spark": inline}, "x"
    )
    merged = spark_dependencies(configuration, tmp_path)
    assert merged.configuration == {
        "spark.executor.instances": "2",
        "spark.a": "true",
        "spark.b": "inline",
        "spark.c": "1.5",
    }
    assert merged.repositories == ("https://one.example.org/m",)
    assert merged.packages == ("g:a:1", "g:b:1", "g:c:1")


def test_without_a_spark_file_the_inline_part_is_all(tmp_path: Path) -> None:
    configuration = parse_run_configuration({"target": "a", "spark": {"packages": ["g:a:1"]}}, "x")
    assert spark_dependencies(configuration, tmp_path) == SparkDependencies(packages=("g:a:1",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "spark.yaml does not exist; sparkDependenciesFile names it."),
        ("a: [", "spark.yaml: not valid YAML: "),
        ("- a", "spark.yaml: must hold configuration, repositories or packages."),
        ("config: {}", "spark.yaml: config: is not a known field. Did you mean configuration?"),
        ("configuration: {spark.a.password: x}", "spark.yaml: configuration: take 'spark.a.password' out"),
    ],
)
def test_a_spark_file_is_checked_like_the_inline_part(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "spark.yaml").write_text(text)
    configuration = parse_run_configuration({"target": "a", "sparkDependenciesFile": "spark.yaml"}, "x")
    with pytest.raises(SettingsError) as raised:
        spark_dependencies(configuration, tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(raised.value)


# --- JSON Schema ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", get_args(files.Kind))
def test_the_published_schema_is_that_of_the_models(kind: files.Kind) -> None:
    published = json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
    assert published == json_schema(kind), "renew it with: python -m workload_forecast.targets.files"


@pytest.mark.parametrize(("kind", "model"), [("compute", ComputeTarget), ("runconfig", RunConfiguration)])
def test_the_schema_names_and_explains_every_field(kind: files.Kind, model: type[ComputeTarget]) -> None:
    schema = json_schema(kind)
    assert set(schema["properties"]) == {"$schema", *map(to_camel, model.model_fields)}
    assert schema["additionalProperties"] is False
    unexplained = [
        name for name, field in schema["properties"].items() if name != "$schema" and not field["description"]
    ]
    assert unexplained == []


@pytest.mark.parametrize("kind", sorted(BY_TYPE))
def test_the_schema_offers_each_type_its_own_fields(kind: files.TargetType) -> None:
    (rule,) = (rule for rule in json_schema("compute")["allOf"] if rule["if"]["properties"]["type"]["const"] == kind)
    assert set(rule["then"]["propertyNames"]["enum"]) == {"$schema", "name", "type", *BY_TYPE[kind]}
    assert rule["then"].get("required", []) == (["address"] if "address" in BY_TYPE[kind] else [])
