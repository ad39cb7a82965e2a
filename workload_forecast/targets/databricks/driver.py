"""What a Databricks cluster runs for one job: unpack the project, run the entry point's command, end the MLflow run.

This file is uploaded as it is and started by the cluster's own Python, so it imports nothing of the package. It gets
two paths as arguments: the project's archive and a JSON file with ``command``, ``folder`` (of the archive),
``environment`` and ``run_id``. A command ``python -m module …`` or ``python file.py …`` runs inside this very process,
because only here ``SparkSession.builder.getOrCreate()`` finds the cluster's Spark; any other command gets a shell.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

#: What a shell would act upon where it stands outside single quotes, or outside any quotes.
_ACTIVE_IN_DOUBLE_QUOTES = re.compile(r"[$`\\]")
_ACTIVE = re.compile(r"[$`\\|&;<>()*?\[\]#~{}\n]")
_QUOTED = re.compile(r"'[^']*'|\"([^\"]*)\"")


class EntryPointFailed(Exception):
    """The entry point's command ended with an exit code other than zero."""


def python_arguments(command: str) -> list[str] | None:
    """Return the arguments of a plain ``python -m module …`` or ``python file.py …``; None for any other command."""
    if any(_ACTIVE_IN_DOUBLE_QUOTES.search(inner) for inner in _QUOTED.findall(command)):
        return None
    if _ACTIVE.search(_QUOTED.sub("", command)):
        return None
    words = shlex.split(command)
    module = len(words) > 2 and words[1] == "-m"
    file = len(words) > 1 and not words[1].startswith("-")
    return words[1:] if words and words[0] in {"python", "python3"} and (module or file) else None


def run_here(arguments: list[str]) -> int:
    """Run a module or file as the main program of this process and return its exit code."""
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:  # Databricks takes any SystemExit for a failure, exit code 0 too
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
            return 1
        return end.code or 0
    return 0


def run_in_shell(command: str) -> int:
    """Run a command in a shell of its own, which needs the workspace's credentials handed on, and return its code."""
    from mlflow import get_tracking_uri
    from mlflow.utils.databricks_utils import get_databricks_env_vars

    environment = {**os.environ, **get_databricks_env_vars(get_tracking_uri())}
    return subprocess.run(["bash", "-c", command], check=False, env=environment).returncode


def finish(run_id: str, succeeded: bool) -> None:
    """End the MLflow run unless the program has; the machine that submitted the job may be gone."""
    from mlflow import MlflowClient

    client = MlflowClient()
    status = client.get_run(run_id).info.status
    if status in {"RUNNING", "SCHEDULED"} or (status == "FINISHED" and not succeeded):
        client.set_terminated(run_id, "FINISHED" if succeeded else "FAILED")


def main(archive: str, description: str) -> None:
    """Run one job.

    Raises:
        EntryPointFailed: the command's exit code was not zero. What the program itself raises goes through.
    """
    for path in (archive, description):
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"{path} is not there on the driver: the cluster must mount DBFS as /dbfs, "
                "which needs the access mode 'dedicated' (single user)"
            )
    job = json.loads(Path(description).read_text(encoding="utf-8"))
    os.environ.update(job["environment"])
    succeeded = False
    with tempfile.TemporaryDirectory(prefix="workload_forecast_", ignore_cleanup_errors=True) as folder:
        with tarfile.open(archive) as packed:
            # the archive is ours; patch versions of Python before 3.10.12 and 3.11.4 know no filter
            safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            packed.extractall(folder, **safely)  # noqa: S202  and made by us
        before = Path.cwd()
        os.chdir(Path(folder) / job["folder"])
        try:
            arguments = python_arguments(job["command"])
            code = run_in_shell(job["command"]) if arguments is None else run_here(arguments)
            succeeded = code == 0
        finally:
            os.chdir(before)
            finish(job["run_id"], succeeded)
    if not succeeded:
        raise EntryPointFailed(f"the entry point ended with exit code {code}: {job['command']}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
