"""What every type of target has to do. A test class for each type inherits all of it and names its bench."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result
from mlflow.exceptions import ExecutionException

from tests.targets.bench import Bench, git
from workload_forecast.cli import cli
from workload_forecast.errors import EnvironmentProblem
from workload_forecast.targets.files import parse_run_configuration
from workload_forecast.targets.launch import prepare_environment
from workload_forecast.targets.runs import follow_run, list_runs
from workload_forecast.targets.sweep import sweep_runs, write_run_diagnostics

SECRET = "wf-s3cret-do-not-tell"

ODD = [
    "two words",
    'it\'s "quoted" `here` $HOME $(date) \\ end',
    "two\nlines\n",
    "größer als 日本語 🚀",
    "-starts --like=an option",
    "{not} a {format} %s",
    "tab\tand ; & | > < * ? [a]",
]


class TargetConformance:
    """Inherit, and give a fixture ``bench``."""

    def test_success(self, bench: Bench) -> None:
        submitted = bench.submit({"text": "fine"})

        run = bench.run(submitted.run_id)
        tags = run.data.tags
        assert run.info.status == "FINISHED"
        assert tags["workload_forecast.exit_code"] == "0"
        assert tags["workload_forecast.exit_reason"] == "finished"
        assert tags["workload_forecast.target"] == "it"
        assert tags["workload_forecast.target_type"] == bench.type
        assert tags["workload_forecast.target_address"]
        assert tags["workload_forecast.engine"]
        assert tags["workload_forecast.environment"]
        assert tags["workload_forecast.uncommitted"] == "false"
        assert float(tags["workload_forecast.seconds"]) > 0
        assert tags["mlflow.source.git.commit"] == git(bench.project, "rev-parse", "HEAD")
        assert tags["mlflow.project.backend"] == bench.type
        assert run.data.params["text"] == "fine"
        assert bench.console(submitted.run_id).rstrip().endswith("the end")
        if bench.store.startswith("http"):
            assert run.data.metrics["reached"] == 1, "the job reached the tracking server"

    def test_nothing_is_left_on_the_target_but_the_environment(self, bench: Bench) -> None:
        run_id = bench.submit().run_id
        base = bench.launcher.host.run(["bash", "-c", f"ls -A {_tilde(bench)}/runs"])
        assert base.code == 0, base.error
        assert run_id not in base.output

    def test_failure_with_its_exit_code(self, bench: Bench) -> None:
        with pytest.raises(ExecutionException, match="failed"):
            bench.submit({"code": "3"})

        run = bench.last_run()
        assert run.info.status == "FAILED"
        assert run.data.tags["workload_forecast.exit_code"] == "3"
        assert run.data.tags["workload_forecast.exit_reason"] == "exit code 3"
        assert "the end" in bench.console(run.info.run_id)

    def test_parameters_arrive_as_they_were_given(self, bench: Bench) -> None:
        given = dict(zip("abcdefg", ODD, strict=True))
        told = bench.told(bench.submit(given, entry_point="odd").run_id)
        assert {name: told[name] for name in given} == given

    def test_variables_of_the_configuration_and_no_others_arrive(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OF_THE_LAUNCHER", "stays here")
        run_id = bench.submit(environmentVariables={"COLOUR": "dark 'red'\n$HOME"}).run_id
        variables = bench.told(run_id)["variables"]
        assert variables["COLOUR"] == "dark 'red'\n$HOME"
        assert variables["MLFLOW_RUN_ID"] == run_id
        assert "OF_THE_LAUNCHER" not in variables

    def test_secrets_reach_the_job_and_nothing_else(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("THE_KEY", SECRET)
        run = bench.submit({"seconds": "6"}, wait=False, forwardVariables=["THE_KEY"])
        bench.wait_for_tick(run.run_id)

        processes = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        assert run.run_id in processes, "the job was to be seen"
        assert SECRET not in processes
        assert _files_with(bench, run.run_id), "the job's own files were searched"
        assert not [name for name in _files_with(bench, SECRET) if not name.endswith("/log")], "no file but the console"
        assert SECRET not in str(bench.run(run.run_id).to_dictionary())
        assert run.wait()
        assert bench.told(run.run_id)["variables"]["THE_KEY"] == SECRET
        report = write_run_diagnostics(run.run_id, tmp_path / "report.zip")
        shown = subprocess.run(["unzip", "-p", str(report)], capture_output=True, check=True).stdout
        assert b"the end" in shown
        assert SECRET.encode() not in shown

    def test_cancel(self, bench: Bench) -> None:
        run = bench.submit({"seconds": "300"}, wait=False)
        bench.wait_for_tick(run.run_id)
        assert run.get_status() == "RUNNING"

        run.cancel()

        assert run.get_status() == "KILLED"
        ended = bench.run(run.run_id)
        assert ended.data.tags["workload_forecast.exit_reason"].startswith("cancelled by ")
        assert "tick 1" in bench.console(run.run_id)
        bench.wait_for(lambda: run.run_id not in _processes(), "the end of all that belonged to the job")

    def test_the_commands_of_this_project(self, bench: Bench) -> None:
        (bench.project / "targets" / "it.runconfig.json").write_text(json.dumps(bench.configure()))

        def command(*words: str) -> Result:
            return CliRunner().invoke(cli, [*words])

        started = command("submit", "-c", "it", "--experiment-name", "targets", "--detach", "-P", "seconds=300")
        assert started.exit_code == 0, started.output
        run_id = started.stdout.strip()
        bench.wait_for_tick(run_id)
        assert f"{run_id}  RUNNING  it  main" in command("status").stdout
        assert "tick 1" in command("logs", run_id).stdout
        cancelled = command("cancel", run_id)
        assert cancelled.exit_code == 0, cancelled.exception
        assert cancelled.stdout.startswith("KILLED: cancelled by "), cancelled.output
        assert run_id not in command("status").stdout
        assert f"{run_id}  KILLED" in command("status", "--all").stdout
        followed = command("logs", "-f", run_id)
        assert isinstance(followed.exception, EnvironmentProblem)
        assert "tick 1" in followed.stderr, "what the run keeps"

    def test_console_is_live_and_a_killed_launcher_ends_nothing(self, bench: Bench) -> None:
        launcher = bench.start_command("-P", "seconds=12")
        assert launcher.stdout is not None
        for line in launcher.stdout:
            if line.startswith(b"tick 3"):
                break
        else:
            pytest.fail("the job's console was not shown")
        run = bench.last_run()
        assert run.info.status == "RUNNING", "shown before the end"

        launcher.send_signal(signal.SIGKILL)
        launcher.wait()

        assert any(run.info.run_id in row for row in list_runs(everything=False))
        assert f"{run.info.run_id}  RUNNING" in "\n".join(sweep_runs(give_up=False)), "left alone while it runs"
        bench.wait_for(lambda: "the end" in bench.live(run.info.run_id), "the job's end")
        bench.wait_for(lambda: f"{run.info.run_id}  FINISHED" in "\n".join(sweep_runs(give_up=False)), "swept")
        assert bench.run(run.info.run_id).info.status == "FINISHED"
        assert "the end" in bench.console(run.info.run_id)
        assert list(sweep_runs(give_up=False)) == []

    def test_a_detached_run_ends_without_its_launcher_and_is_followed_anew(self, bench: Bench) -> None:
        run = bench.submit({"seconds": "6"}, wait=False)
        seen: list[bytes] = []
        outcome = follow_run(run.run_id, seen.append, lambda _: None)
        assert outcome.status == "FINISHED"
        assert b"tick 1" in b"".join(seen)
        assert run.wait()

    def test_a_shell_command_of_the_project(self, bench: Bench) -> None:
        with pytest.raises(ExecutionException, match="failed"):
            bench.submit(entry_point="shell", framework="python")
        assert bench.last_run().data.tags["workload_forecast.exit_code"] == "7"
        assert "from a shell" in bench.console(bench.last_run().info.run_id)

    def test_a_job_that_disappears_does_not_run_for_ever(self, bench: Bench) -> None:
        run = bench.submit({"seconds": "300"}, wait=False)
        bench.wait_for_tick(run.run_id)
        self.destroy(bench, run.run_id)
        assert not run.wait()
        ended = bench.run(run.run_id)
        assert ended.info.status == "FAILED"
        assert "finished" not in ended.data.tags["workload_forecast.exit_reason"]

    def destroy(self, bench: Bench, run_id: str) -> None:
        """Make the job disappear without a trace."""
        raise NotImplementedError

    def test_prepared_twice_is_built_once(self, bench: Bench) -> None:
        (bench.project / "requirements.txt").write_text(_unique_requirement())
        configuration = parse_run_configuration(bench.configure(dependenciesFile="requirements.txt"), "test")
        said: list[str] = []
        first = prepare_environment(configuration, bench.project, said.append)
        assert said[-1] == f"{first}: built"
        said.clear()
        assert prepare_environment(configuration, bench.project, said.append) == first
        assert said == [f"{first}: already there"]

    def test_an_environment_that_must_be_there_is_an_error_before_the_launch(self, bench: Bench) -> None:
        (bench.project / "requirements.txt").write_text(_unique_requirement())
        with pytest.raises(ExecutionException, match=r"nothing was launched\..*environment: not prepared"):
            bench.submit(dependenciesFile="requirements.txt", prepareEnvironment=False)

    def test_two_at_once(self, bench: Bench) -> None:
        runs = [bench.submit({"text": text, "seconds": "3"}, wait=False) for text in ("one", "two")]
        assert all(run.wait() for run in runs)
        assert [bench.told(run.run_id)["text"] for run in runs] == ["one", "two"]

    def test_what_is_ignored_stays_here(self, bench: Bench) -> None:
        files = bench.told(bench.submit().run_id)["files"]
        assert "probe.py" in files
        assert "späte Sessions.txt" in files
        assert "key.secret" not in files
        assert not [name for name in files if name.startswith(("notes", ".git/"))]

    def test_a_snapshot_beyond_the_limit_names_the_largest_files(self, bench: Bench) -> None:
        (bench.project / "huge file.bin").write_bytes(os.urandom(2_000_000))
        with pytest.raises(ExecutionException, match=r"huge file\.bin"):
            bench.submit(sizeLimitMegabytes=1)

    def test_uncommitted_changes_are_kept_with_the_run(self, bench: Bench) -> None:
        with (bench.project / "probe.py").open("a") as probe:
            probe.write("\n# not committed\n")
        run_id = bench.submit().run_id
        assert bench.run(run_id).data.tags["workload_forecast.uncommitted"] == "true"
        diff = Path(bench.client.download_artifacts(run_id, "uncommitted.diff")).read_text()
        assert "+# not committed" in diff

    def test_sampling_passes_the_debug_switch(self, bench: Bench) -> None:
        run_id = bench.submit(entry_point="sampled", useSampling=True).run_id
        assert bench.told(run_id)["text"] == "FILTER_IP"
        assert bench.run(run_id).data.params["debug"] == "FILTER_IP"

    def test_runs_are_nested_in_the_active_one(self, bench: Bench) -> None:
        mlflow.set_experiment("targets")
        with mlflow.start_run() as parent:
            child = bench.submit().run_id
        assert bench.run(child).data.tags["mlflow.parentRunId"] == parent.info.run_id

    def test_a_tracking_server_that_is_down_is_said_before_the_launch(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from workload_forecast.targets.submit import submit_run

        (bench.project / "targets" / "it.runconfig.json").write_text('{"target": "it"}')
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        mlflow.set_tracking_uri("http://127.0.0.1:9")
        with pytest.raises(EnvironmentProblem, match=r"tracking server: http://127\.0\.0\.1:9 does not answer"):
            submit_run(
                "it", "main", {}, project=".", version=None, experiment_name="targets", run_name=None, detach=False
            )


def _unique_requirement() -> str:
    """Return a requirement that no environment was made from before, and that every one satisfies."""
    return f"pip >=1, !=1.{time.time_ns()}\n"


def _tilde(bench: Bench) -> str:
    """The target's base directory, quoted for a shell that expands the tilde."""
    path = str(bench.fields["baseDirectory"])
    return f'~/"{path[2:]}"' if path.startswith("~/") else f'"{path}"'


def _files_with(bench: Bench, text: str) -> list[str]:
    """Return the files below the target's base directory that hold the text."""
    environment = {**os.environ, "HOME": _home(bench)}
    search = ["bash", "-c", f"grep -rlF -- {text} {_tilde(bench)} 2>/dev/null"]
    return subprocess.run(search, capture_output=True, text=True, check=False, env=environment).stdout.splitlines()


def _home(bench: Bench) -> str:
    return bench.launcher.host.run(["bash", "-c", "echo ~"]).output.strip()


def _processes() -> str:
    return subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
