"""What a job is made of: its command, its variables, its secrets."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workload_forecast.errors import SettingsError
from workload_forecast.targets.files import RunConfiguration
from workload_forecast.targets.job import RUNNER, as_exports, entry_command, sampled, secrets, variables

MLPROJECT = r"""
name: probe
entry_points:
  main:
    parameters:
      text: {type: string, default: hello}
      config: {type: string, default: ""}
      trees: {type: float, default: 100}
    command: printf '%s\0' {text} {config} {trees}
  bare:
    command: printf '%s\0'
"""
ODD = ["two words", "it's", 'say "so"', "line\nbreak\n", "ünï ☂", "$HOME `id` $(id)", "a;b&c|d>e", "\\", "*", "", "-n"]


def configuration(**given_fields: Any) -> RunConfiguration:
    return RunConfiguration.model_validate({"target": "t", **given_fields})


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "given_parameters", "known", "expected"),
    [
        (True, {"seed": "1"}, {"debug": {}, "seed": {}}, {"debug": "FILTER_IP", "seed": "1"}),
        (True, {"debug": "FALSE"}, {"debug": {}}, {"debug": "FALSE"}),
        (True, {"debug": ""}, {"debug": {}}, {"debug": ""}),
        (True, {"seed": "1"}, {"seed": {}}, {"seed": "1"}),
        (True, {"sample": "0.1"}, {"debug": {}, "sample": {}}, {"sample": "0.1"}),
        (False, {}, {"debug": {}}, {}),
    ],
)
def test_sampling_adds_to_what_the_caller_says(
    use: bool,
    given_parameters: dict[str, str],
    known: dict[str, Any],
    expected: dict[str, str],
) -> None:
    before = dict(given_parameters)
    assert sampled(given_parameters, configuration(useSampling=use), known) == expected
    assert given_parameters == before


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from mlflow.projects.utils import load_project

    folder = tmp_path_factory.mktemp("project")
    (folder / "MLproject").write_text(MLPROJECT)
    return load_project(str(folder))


def arguments(command: str) -> list[str]:
    """Return what the command's program is given when a shell runs it as the runner does."""
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("value", ODD)
def test_values_of_any_kind_arrive(project: Any, value: str) -> None:
    command = entry_command(project, "main", {"text": value}, "/runs/1", settings=False)
    assert arguments(command) == [value, "", "100"]


def test_the_settings_of_the_target_take_the_place_of_the_callers(project: Any) -> None:
    given_parameters = {"config": "settings/mine.json"}
    there = entry_command(project, "main", given_parameters, "/a base/it's/runs/1", settings=True)
    assert arguments(there) == ["hello", "/a base/it's/runs/1/settings.json", "100"]
    here = entry_command(project, "main", given_parameters, "/runs/1", settings=False)
    assert arguments(here) == ["hello", "settings/mine.json", "100"]
    assert given_parameters == {"config": "settings/mine.json"}


@pytest.mark.parametrize("value", ODD)
def test_parameters_that_the_entry_point_does_not_name_follow_it(project: Any, value: str) -> None:
    command = entry_command(project, "bare", {"extra": value}, "/runs/1", settings=False)
    assert arguments(command) == ["--extra", value]


# --- variables -------------------------------------------------------------------------------------------------------


def variables_of(given_configuration: RunConfiguration, shared: str = "") -> dict[str, str]:
    return variables(
        given_configuration,
        run_id="r1",
        experiment_id="7",
        tracking_uri="http://127.0.0.1:40123",
        home="/home/of/results",
        shared=shared,
    )


def test_variables_of_a_job_are_its_own_and_the_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING_OF_THE_LAUNCHER", "x")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    assert variables_of(configuration(environmentVariables={"MINE": "two words"})) == {
        "MLFLOW_RUN_ID": "r1",
        "MLFLOW_EXPERIMENT_ID": "7",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:40123",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "WORKLOAD_FORECAST_HOME": "/home/of/results",
        "PYTHONUNBUFFERED": "1",
        "GIT_PYTHON_REFRESH": "quiet",
        "MINE": "two words",
    }


def test_the_shared_directory_is_named_where_there_is_one() -> None:
    assert variables_of(configuration(), "/shared dir")["WORKLOAD_FORECAST_SHARED"] == "/shared dir"
    assert "WORKLOAD_FORECAST_SHARED" not in variables_of(configuration())


def test_secrets_are_mlflows_and_those_that_are_named() -> None:
    environment = {"MY_KEY": "k", "EMPTY": "", "MLFLOW_TRACKING_TOKEN": "t", "OTHER_PASSWORD": "p", "PATH": "/bin"}
    found = secrets(configuration(forwardVariables=["MY_KEY", "EMPTY"]), environment)
    assert found == {"MLFLOW_TRACKING_TOKEN": "t", "MY_KEY": "k", "EMPTY": ""}


def test_a_forwarded_variable_that_is_not_set_is_named_without_any_value() -> None:
    asked = configuration(forwardVariables=["HERE", "MY_KEY", "MY_TOKEN"])
    with pytest.raises(SettingsError) as problem:
        secrets(asked, {"HERE": "hidden"})
    assert str(problem.value).startswith("forwardVariables names MY_KEY, MY_TOKEN, which is not set here: export it")
    assert "hidden" not in str(problem.value)


VARIABLES = st.dictionaries(
    st.from_regex(r"WF_[A-Za-z0-9_]{1,4}", fullmatch=True),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@example({f"WF_{number}": value for number, value in enumerate(ODD)})
@example({"WF_TRAILING": "\n\n", "WF_RETURN": "\r\n", "WF_BANG": "!!", "WF_EQUALS": "=a=b"})
@given(VARIABLES)
def test_variables_go_through_a_shell_unchanged(values: dict[str, str]) -> None:
    """Both ways of the runner: read from a file, and evaluated from standard input."""
    for read in ('eval "$(cat)"', ". /dev/stdin"):
        done = subprocess.run(
            ["bash", "-c", f"{read}; env -0"], input=as_exports(values).encode(), capture_output=True, check=True
        )
        pairs = (entry.partition("=") for entry in done.stdout.decode().split("\0")[:-1])
        assert {name: value for name, _, value in pairs if name.startswith("WF_")} == values
        assert done.stderr == b""


def test_the_runner_is_a_script_that_bash_accepts() -> None:
    assert subprocess.run(["bash", "-n", str(RUNNER)], check=False).returncode == 0
    assert Path(RUNNER).name == "runner.sh"
