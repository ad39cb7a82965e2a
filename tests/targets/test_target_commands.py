from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from workload_forecast.errors import SettingsError
from workload_forecast.targets import files
from workload_forecast.targets.target_commands import target

GPU = ["--name", "gpu", "--type", "remote-docker", "--address", "gpu-box"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which no folder for targets is named."""
    monkeypatch.delenv(files.FOLDER_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str | Path, answer: str | None = None) -> Result:
    return CliRunner().invoke(target, [str(argument) for argument in arguments], input=answer)


def succeed(*arguments: str | Path, answer: str | None = None) -> str:
    result = call(*arguments, answer=answer)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def fail(*arguments: str | Path, answer: str | None = None) -> str:
    """Return the message of the error that the command line prints as one line."""
    result = call(*arguments, answer=answer)
    assert isinstance(result.exception, SettingsError), (result.output, result.exception)
    return str(result.exception)


def content(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- attach --------------------------------------------------------------------------------------------------------


def test_attach_writes_both_files_and_says_what_to_type_next() -> None:
    assert succeed("attach", *GPU).splitlines() == [
        "wrote targets/gpu.compute.json",
        "wrote targets/gpu.runconfig.json",
        "next: workload-forecast target show gpu",
    ]
    assert content("targets/gpu.compute.json") == {"name": "gpu", "type": "remote-docker", "address": "gpu-box"}
    assert content("targets/gpu.runconfig.json") == {
        "target": "gpu",
        "framework": "auto",
        "environmentVariables": {},
        "forwardVariables": [],
        "prepareEnvironment": True,
    }
    assert files.load_run_configuration("gpu").target == files.load_target("gpu").name


def test_every_option_of_attach_reaches_its_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "my home"
    monkeypatch.setattr(Path, "home", lambda: home)
    options = {
        "address": "head-ssh",
        "username": "alice",
        "port": "2222",
        "identity-file": str(home / ".ssh" / "id ed25519"),
        "ssh-config": "ssh/config",
        "shared-directory": "/mnt/shared data",
        "base-directory": "~/jobs",
        "spark-master": "yarn",
        "yarn-deploy-mode": "cluster",
        "python-location": "/usr/bin/anaconda/bin/python",
        "spark-submit-location": "/opt/my spark/bin/spark-submit",
    }
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    succeed("attach", "--name", "hdi", "--type", "spark-cluster", *given)
    assert content("targets/hdi.compute.json") == {
        "name": "hdi",
        "type": "spark-cluster",
        "address": "head-ssh",
        "username": "alice",
        "port": 2222,
        "identityFile": "~/.ssh/id ed25519",
        "sshConfig": str(tmp_path / "ssh" / "config"),
        "sharedDirectory": "/mnt/shared data",
        "baseDirectory": "~/jobs",
        "sparkMaster": "yarn",
        "yarnDeployMode": "cluster",
        "pythonLocation": "/usr/bin/anaconda/bin/python",
        "sparkSubmitLocation": "/opt/my spark/bin/spark-submit",
    }
    succeed("attach", "--name", "d", "--type", "docker", "--base-image", "debian:trixie")
    assert content("targets/d.compute.json") == {"name": "d", "type": "docker", "baseImage": "debian:trixie"}
    succeed("attach", "--name", "b", "--type", "databricks", "--profile", "work")
    assert content("targets/b.compute.json") == {"name": "b", "type": "databricks", "profile": "work"}


def test_attach_has_an_option_for_every_field_of_a_target() -> None:
    (attach,) = (command for name, command in target.commands.items() if name == "attach")
    options = {parameter.name for parameter in attach.params}
    assert set(files.ComputeTarget.model_fields) - options == {"dockerfile"}  # one a project: set it in the file


def test_attach_into_a_folder_names_paths_in_the_next_command(tmp_path: Path) -> None:
    folder = tmp_path / "my targets"
    output = succeed("attach", "--folder", folder, *GPU)
    assert output.splitlines()[-1] == f"next: workload-forecast target show '{folder}/gpu.compute.json'"
    assert names(folder) == {"gpu.compute.json", "gpu.runconfig.json"}


def test_attach_writes_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path / "named"))
    assert succeed("attach", *GPU).endswith("next: workload-forecast target show gpu\n")
    assert (tmp_path / "named" / "gpu.compute.json").is_file()


def test_attach_again_changes_nothing_and_keeps_an_edited_run_configuration() -> None:
    succeed("attach", *GPU)
    edited = {"target": "gpu", "gpu": "all"}
    Path("targets/gpu.runconfig.json").write_text(json.dumps(edited))
    assert "kept targets/gpu.runconfig.json" in succeed("attach", *GPU)
    assert fail("attach", *GPU, "--port", "2222").startswith("targets/gpu.compute.json exists and says something else")
    assert "port" not in content("targets/gpu.compute.json")
    succeed("attach", *GPU, "--port", "2222", "--overwrite")
    assert content("targets/gpu.compute.json")["port"] == 2222
    assert content("targets/gpu.runconfig.json") == edited


def test_attach_writes_neither_file_if_the_run_configuration_is_of_another_target() -> None:
    Path("targets").mkdir()
    Path("targets/gpu.runconfig.json").write_text('{"target": "other"}')
    assert fail("attach", *GPU).startswith("targets/gpu.runconfig.json exists and is for another target")
    assert names(Path("targets")) == {"gpu.runconfig.json"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--type", "docker", "--address", "x"], "attach: type docker does not know address; its fields are name"),
        (["--type", "remote-docker"], "attach: type remote-docker needs address"),
        (["--type", "remote-docker", "--address", "-oProxyCommand=id"], "attach: address: must be a host name"),
        (["--type", "docker", "--shared-directory", "x"], "attach: sharedDirectory: must be empty or a path on the"),
    ],
)
def test_attach_refuses_what_the_files_refuse(arguments: list[str], message: str) -> None:
    assert fail("attach", "--name", "x", *arguments).startswith(message)
    assert not Path("targets").exists()


@pytest.mark.parametrize("password", [["--password", "hunter2"], ["--password=hunter2"], ["--password"]])
def test_a_password_is_answered_with_keys_and_agents(password: list[str]) -> None:
    result = call("attach", *GPU, *password)
    assert result.exit_code == 2
    assert "passwords are not taken" in result.output
    assert "ssh-copy-id" in result.output
    assert "hunter2" not in result.output
    assert not Path("targets").exists()
    assert "password" not in succeed("attach", "--help")


# --- list ----------------------------------------------------------------------------------------------------------


def test_list_shows_targets_with_their_run_configurations() -> None:
    assert succeed("list") == "no targets in targets; write one with `workload-forecast target attach`\n"
    succeed("attach", *GPU)
    succeed("attach", "--name", "here", "--type", "docker")
    Path("targets/gpu-debug.runconfig.json").write_text('{"target": "gpu"}')
    Path("targets/here.runconfig.json").unlink()
    assert [line.split(maxsplit=3) for line in succeed("list").splitlines()] == [
        ["NAME", "TYPE", "ADDRESS", "RUN CONFIGURATIONS"],
        ["gpu", "remote-docker", "gpu-box", "gpu-debug, gpu"],
        ["here", "docker", "-", "-"],
    ]


def test_a_broken_file_hides_no_other_target() -> None:
    succeed("attach", *GPU)
    Path("targets/a.compute.json").write_text("{")
    result = call("list")
    assert "gpu-box" in result.output
    assert isinstance(result.exception, SettingsError)
    assert str(result.exception).startswith("targets/a.compute.json, line 1: not valid JSON")


# --- show and prepare ----------------------------------------------------------------------------------------------


def test_show_prints_what_was_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[files.ComputeTarget] = []

    def show_target(target: files.ComputeTarget) -> list[tuple[str, str]]:
        asked.append(target)
        return [("reachable", "yes"), ("engine", "Docker 26.1")]

    monkeypatch.setitem(sys.modules, "workload_forecast.targets.inspect", SimpleNamespace(show_target=show_target))
    succeed("attach", *GPU)
    assert succeed("show", "gpu") == "reachable  yes\nengine     Docker 26.1\n"
    succeed("show", "gpu", "--folder", "targets")
    succeed("show", "targets/gpu.compute.json")
    assert asked == [files.load_target("gpu")] * 3
    assert fail("show", "gpo").startswith("gpo.compute.json is not in targets; there is gpu.")


def test_prepare_builds_for_a_run_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[files.RunConfiguration, Path]] = []

    def prepare_environment(configuration: files.RunConfiguration, project: Path) -> str:
        asked.append((configuration, project))
        return "environment 1a2b is ready"

    monkeypatch.setitem(
        sys.modules, "workload_forecast.targets.launch", SimpleNamespace(prepare_environment=prepare_environment)
    )
    project = tmp_path / "my project"
    succeed("attach", "--folder", project / "targets", *GPU)
    assert succeed("prepare", "-c", "gpu", "--project", project) == "environment 1a2b is ready\n"
    monkeypatch.chdir(project)
    succeed("prepare", "-c", "gpu")
    succeed("prepare", "-c", "targets/gpu.runconfig.json")
    expected = files.load_run_configuration("gpu")
    assert asked == [(expected, project), (expected, Path()), (expected, Path())]
    assert "this is a compute target" in fail("prepare", "-c", "targets/gpu.compute.json")


# --- detach --------------------------------------------------------------------------------------------------------


@pytest.fixture
def attached() -> Path:
    folder = Path("targets")
    succeed("attach", *GPU)
    succeed("attach", "--name", "here", "--type", "docker")
    (folder / "by-path.runconfig.json").write_text('{"target": "targets/gpu.compute.json", "no": "such field"}')
    (folder / "of-another.runconfig.json").write_text('{"target": "elsewhere/gpu.compute.json"}')
    (folder / "broken.runconfig.json").write_text('{"target": "gpu"')
    return folder


REMAIN = {"here.compute.json", "here.runconfig.json", "of-another.runconfig.json", "broken.runconfig.json"}


def test_detach_removes_the_target_with_its_run_configurations_if_told(attached: Path) -> None:
    assert succeed("detach", "gpu", "--yes").splitlines() == [
        "removed targets/gpu.compute.json",
        "removed targets/by-path.runconfig.json",
        "removed targets/gpu.runconfig.json",
        "nothing on the target itself was changed: its runs and environments stay there",
    ]
    assert names(attached) == REMAIN


def test_detach_names_the_run_configurations_before_it_removes_them(attached: Path) -> None:
    before = names(attached)
    refused = succeed("detach", "gpu", answer="n\n")
    assert "  targets/by-path.runconfig.json\n  targets/gpu.runconfig.json\n" in refused
    assert refused.endswith("nothing was removed\n")
    assert "add --yes" in fail("detach", "gpu")  # nobody there to answer
    assert names(attached) == before
    succeed("detach", "gpu", answer="y\n")
    assert names(attached) == REMAIN


def test_detach_asks_nothing_about_a_target_without_run_configurations(attached: Path) -> None:
    (attached / "here.runconfig.json").unlink()
    succeed("detach", "here", "--folder", attached)
    assert not (attached / "here.compute.json").exists()


def test_detach_also_removes_a_compute_file_that_does_not_load(attached: Path) -> None:
    (attached / "gpu.compute.json").write_text("{")
    succeed("detach", "gpu", "--yes")
    assert names(attached) == REMAIN


@pytest.mark.parametrize("arguments", [["nobody"], ["nobody", "--folder", "targets"], ["targets/nobody.compute.json"]])
def test_detach_of_an_unknown_target_is_an_error(arguments: list[str], attached: Path) -> None:
    before = names(attached)
    assert "nobody.compute.json" in fail("detach", *arguments, "--yes")
    assert names(attached) == before


def test_detach_removes_only_compute_files(attached: Path) -> None:
    Path("notes.json").write_text("{}")
    assert "is not a compute file" in fail("detach", "./notes.json", "--yes")
    assert "is not a compute file" in fail("detach", str(attached / "gpu.runconfig.json"), "--yes")
    assert Path("notes.json").exists()
    assert (attached / "gpu.runconfig.json").exists()
