"""The script that runs one job in its run folder, run for real."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from workload_forecast.targets.job import RUNNER, as_exports

ODD = 'it\'s "so"\nand $HOME `id` \\ ünï ☂'


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "a base's folder" / "runs" / "1"
    (folder / "code").mkdir(parents=True)
    return folder


def prepare(run: Path, command: str, variables: Mapping[str, str] | None = None) -> None:
    (run / "command").write_text(command)
    (run / "environment").write_text(as_exports(variables or {}))


def start(run: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["bash", str(RUNNER), str(run), *arguments], stdin=subprocess.PIPE)


def finish(run: Path, *arguments: str, given: bytes = b"") -> int:
    process = start(run, *arguments)
    process.communicate(given, timeout=30)
    return process.returncode


def log(run: Path) -> str:
    return (run / "log").read_text()


def kept(run: Path) -> str:
    return (run / "exit").read_text()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def python(text: str) -> str:
    return f"exec {shlex.join([sys.executable, '-c', text])}"


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_code_is_kept_and_passed_on(run: Path, code: int) -> None:
    prepare(run, f"echo out; echo err >&2; exit {code}")
    assert finish(run) == code
    assert kept(run) == f"{code}\n"
    assert log(run) == "out\nerr\n"
    assert {path.name for path in run.iterdir()} == {"code", "command", "environment", "log", "exit"}


def test_the_job_runs_in_its_code_with_its_variables_and_no_input(run: Path) -> None:
    prepare(run, 'pwd; printf "%s" "$ODD"; cat', {"ODD": ODD})
    assert finish(run, given=b"not for the job") == 0
    assert log(run) == f"{run / 'code'}\n{ODD}"


def test_a_command_of_several_lines_with_quotes(run: Path) -> None:
    prepare(run, f"printf '%s|' {shlex.quote(ODD)} \\\n  next\n\nfor i in 1 2; do\n  echo \"$i\"\ndone\n")
    assert finish(run) == 0
    assert log(run) == f"{ODD}|next|1\n2\n"


def test_a_command_that_is_not_there(run: Path) -> None:
    prepare(run, "no-such-command --x")
    assert finish(run) == 127
    assert kept(run) == "127\n"
    assert "no-such-command" in log(run)


def test_the_log_goes_on_where_it_was(run: Path) -> None:
    """What the launcher wrote into it before, like the name of the application, stays."""
    (run / "log").write_text("before\n")
    prepare(run, "echo after")
    finish(run)
    assert log(run) == "before\nafter\n"


def test_the_log_is_there_before_the_end_and_the_exit_code_is_not(run: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    prepare(run, f"echo begun; until [[ -e {go} ]]; do sleep 0.01; done; echo over")
    process = start(run)
    wait_for(lambda: (run / "log").exists() and log(run) == "begun\n")
    assert not (run / "exit").exists()
    go.touch()
    process.communicate(timeout=20)
    assert (log(run), kept(run)) == ("begun\nover\n", "0\n")


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRETS = {"MY_KEY": ODD + "\n\n", "MY_TOKEN": "t"}
SHOW = python("import json, os; print(json.dumps({n: os.environ[n] for n in ('MY_KEY', 'MY_TOKEN')}))")


def files_that_hold(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_text(errors="replace")]


def test_secrets_by_standard_input(run: Path) -> None:
    prepare(run, SHOW)
    assert finish(run, "-", given=as_exports(SECRETS).encode()) == 0
    assert json.loads(log(run)) == SECRETS


def test_secrets_by_a_file_that_comes_later_and_is_removed(run: Path, tmp_path: Path) -> None:
    prepare(run, SHOW)
    process, file = start(run, str(tmp_path / "a file")), tmp_path / "a file"
    assert not (run / "log").exists()
    file.with_suffix(".part").write_text(as_exports(SECRETS))
    file.with_suffix(".part").rename(file)
    process.communicate(timeout=20)
    assert json.loads(log(run)) == SECRETS
    assert not file.exists()


def test_secrets_stay_in_memory(run: Path) -> None:
    told = "import os; print(open(f'/proc/{os.getppid()}/cmdline').read()); print(open('/proc/self/cmdline').read())"
    prepare(run, python(told))
    assert finish(run, "-", given=as_exports({"MY_KEY": "hunter2hunter2"}).encode()) == 0
    assert "runner.sh" in log(run)
    assert files_that_hold(run, "hunter2") == []


def test_variables_of_the_configuration_do_not_replace_the_jobs_own(run: Path) -> None:
    prepare(run, 'echo "$NAME"', {"NAME": "of the environment file"})
    finish(run, "-", given=as_exports({"NAME": "secret"}).encode())
    assert log(run) == "of the environment file\n"


# --- ends ------------------------------------------------------------------------------------------------------------


def test_the_end_that_is_asked_for_reaches_the_job_and_is_kept(run: Path) -> None:
    prepare(run, "echo begun; exec sleep 60")
    process = start(run)
    wait_for(lambda: (run / "log").exists() and log(run) == "begun\n")
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert kept(run) == "143\n"


def test_a_job_that_tidies_up_when_it_is_asked_to_end_keeps_its_exit_code(run: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    tidy = f"echo tidy; until [[ -e {go} ]]; do sleep 0.01; done; exit 7"
    prepare(run, f"trap {shlex.quote(tidy)} TERM; echo begun; while :; do sleep 0.01; done")
    process = start(run)
    wait_for(lambda: (run / "log").exists() and log(run) == "begun\n")
    process.terminate()
    wait_for(lambda: log(run) == "begun\ntidy\n")
    assert not (run / "exit").exists()
    process.terminate()  # and a second time, while it tidies up
    go.touch()
    process.communicate(timeout=20)
    assert (process.returncode, kept(run)) == (7, "7\n")


def test_a_killed_job(run: Path) -> None:
    prepare(run, "kill -KILL $$")
    assert finish(run) == 137
    assert kept(run) == "137\n"


def test_missing_code_is_no_success(run: Path) -> None:
    prepare(run, "echo never")
    (run / "code").rmdir()
    assert finish(run) == 4
    assert not (run / "exit").exists()
    assert not (run / "log").exists()
