"""The commands about runs: what they pass on, what they print, how they exit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from workload_forecast import cli
from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets import run_commands, runs, submit, sweep
from workload_forecast.targets.follow import Outcome

COMMANDS = ("submit", "logs", "cancel", "status", "sweep", "diagnostics")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line, and return exit code, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(arguments)
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What would have been submitted."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def submit_run(*arguments: Any, **named: Any) -> str:
        calls.append((arguments, named))
        return "r1"

    monkeypatch.setattr(submit, "submit_run", submit_run)
    return calls


# --- submit ----------------------------------------------------------------------------------------------------------


def test_submit_passes_on_what_it_is_given(run: Run, submitted: list[Any]) -> None:
    code, out, err = run(
        "submit", "-c", "gpu", "-e", "etl", "-P", "duration=ONE_MONTH", "-P", "text=a=b c\nd", "-P", "empty=",
        "--project", "https://host/x.git", "--version", "main", "--experiment-name", "mine", "--run-name", "first try",
    )  # fmt: skip
    assert (code, out, err) == (0, "r1\n", "")
    parameters = {"duration": "ONE_MONTH", "text": "a=b c\nd", "empty": ""}
    named = {"version": "main", "experiment_name": "mine", "run_name": "first try", "detach": False}
    assert submitted == [(("gpu", "etl", parameters), {"project": "https://host/x.git", **named})]


def test_submit_by_default(run: Run, submitted: list[Any]) -> None:
    assert run("submit", "-c", "gpu")[0] == 0
    named = {"version": None, "experiment_name": "workload-forecast", "run_name": None, "detach": False}
    assert submitted == [(("gpu", "main", {}), {"project": ".", **named})]


def test_a_detached_run_is_named_alone_on_the_output_and_how_to_go_on_beside_it(run: Run, submitted: list[Any]) -> None:
    code, out, err = run("submit", "-c", "gpu", "--detach")
    assert (code, out) == (0, "r1\n")
    assert err == "workload-forecast logs -f r1 follows it, workload-forecast cancel r1 ends it.\n"
    assert submitted[0][1]["detach"] is True


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["-P", "duration"], "error: -P duration: give NAME=VALUE.\n"),
        (["-P", ""], "error: -P : give NAME=VALUE.\n"),
        (["-P", "a=1", "-P", "b=2", "-P", "a=1"], "error: -P a is given twice.\n"),
    ],
)
def test_parameters_that_are_none(run: Run, submitted: list[Any], given: list[str], message: str) -> None:
    assert run("submit", "-c", "gpu", *given) == (2, "", message)
    assert submitted == []


def test_a_parameter_without_a_name_is_refused(run: Run, submitted: list[Any]) -> None:
    assert run("submit", "-c", "gpu", "-P", "=value") == (2, "", "error: -P =value: give NAME=VALUE.\n")
    assert submitted == []


def test_a_configuration_is_needed(run: Run, submitted: list[Any]) -> None:
    code, _, err = run("submit", "-e", "etl")
    assert code == 2
    assert "--configuration" in err
    assert submitted == []


@pytest.mark.parametrize(("problem", "code"), [(SettingsError("no such file."), 2), (EnvironmentProblem("down."), 4)])
def test_errors_are_one_line_and_an_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, problem: Exception, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(submit, "submit_run", fail)
    assert run("submit", "-c", "gpu") == (code, "", f"error: {problem}\n")


# --- logs ------------------------------------------------------------------------------------------------------------


def test_logs_shows_the_bytes_that_there_are(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(run_id: str, write: Callable[[bytes], object]) -> None:
        write(f"{run_id} ".encode() + b"\xff\n")

    monkeypatch.setattr(runs, "show_log", show)
    assert cli.run(["logs", "r1"]) == 0
    assert capfdbinary.readouterr() == (b"r1 \xff\n", b"")


@pytest.mark.parametrize(
    ("outcome", "code", "last"),
    [
        (Outcome("FINISHED", 0, "finished"), 0, "FINISHED: finished\n"),
        (Outcome("FAILED", 3, "exit code 3"), 4, "FAILED: exit code 3\nerror: run r1: exit code 3\n"),
        (Outcome("KILLED", None, "cancelled by me"), 4, "KILLED: cancelled by me\nerror: run r1: cancelled by me\n"),
    ],
)
def test_logs_follows_to_the_end_and_exits_like_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, code: int, last: str
) -> None:
    def follow(run_id: str, write: Callable[[bytes], object], say: Callable[[str], None]) -> Outcome:
        assert run_id == "r1"
        write(b"from the job\n")
        say("connected again")
        return outcome

    monkeypatch.setattr(runs, "follow_run", follow)
    assert run("logs", "-f", "r1") == (code, "", f"from the job\n[connected again]\n{last}")


def test_logs_of_a_run_that_nobody_knows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SettingsError("run r1 was not found.")

    monkeypatch.setattr(runs, "show_log", fail)
    assert run("logs", "r1") == (2, "", "error: run r1 was not found.\n")


# --- the others ------------------------------------------------------------------------------------------------------


def test_cancel_says_how_the_run_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "cancel_run", lambda run_id: Outcome("KILLED", 143, f"cancelled {run_id}"))
    assert run("cancel", "r1") == (0, "KILLED: cancelled r1\n", "")


@pytest.mark.parametrize("everything", [True, False])
def test_status_has_a_line_for_every_run(run: Run, monkeypatch: pytest.MonkeyPatch, *, everything: bool) -> None:
    def rows(*, everything: bool) -> Iterator[tuple[str, ...]]:
        yield ("r1", "RUNNING", "gpu", "etl", "2016-06-01 00:00:00", "")
        if everything:
            yield ("r0", "FAILED", "gpu", "etl", "2016-05-01 00:00:00", "exit code 3")

    monkeypatch.setattr(runs, "list_runs", rows)
    code, out, _ = run("status", *(["--all"] if everything else []))
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == (["r1", "r0"] if everything else ["r1"])


@pytest.mark.parametrize("give_up", [True, False])
def test_sweep_says_what_it_did(run: Run, monkeypatch: pytest.MonkeyPatch, *, give_up: bool) -> None:
    monkeypatch.setattr(sweep, "sweep_runs", lambda *, give_up: iter([f"r1  KILLED  {give_up}", "r2  RUNNING  x"]))
    found = run("sweep", *(["--give-up"] if give_up else []))
    assert found == (0, f"r1  KILLED  {give_up}\nr2  RUNNING  x\n", "")


@pytest.mark.parametrize(
    ("given", "path"), [([], "diagnostics-r1.zip"), (["-o", "x y.zip"], "x y.zip"), (["--output", "/a/b"], "/a/b")]
)
def test_diagnostics_says_where_the_zip_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, given: list[str], path: str
) -> None:
    def write(run_id: str, where: Path) -> Path:
        assert run_id == "r1"
        return where

    monkeypatch.setattr(sweep, "write_run_diagnostics", write)
    assert run("diagnostics", "r1", *given) == (0, f"{path}\n", "")


@pytest.mark.parametrize("name", ["logs", "cancel", "diagnostics"])
def test_a_run_has_to_be_named(run: Run, name: str) -> None:
    code, _, err = run(name)
    assert code == 2
    assert "RUN" in err


# --- help ------------------------------------------------------------------------------------------------------------


def test_every_command_is_there_and_says_what_it_does() -> None:
    group = click.Group()
    run_commands.add_to(group)
    assert tuple(group.commands) == COMMANDS
    for name, command in group.commands.items():
        assert cli.cli.commands[name] is command
        assert command.help
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        assert all(option.help for option in options), name
        shown = CliRunner().invoke(cli.cli, [name, "--help"])
        assert shown.exit_code == 0
        assert command.help.split(";")[0].split(".")[0] in " ".join(shown.output.split())


def test_help_of_submit_names_the_defaults() -> None:
    shown = CliRunner().invoke(cli.cli, ["submit", "--help"]).output
    for text in ("NAME=VALUE", "[default: main]", "[default: workload-forecast]", "[required]", "--detach"):
        assert text in shown
