"""The project as its users have it: a clone in a folder of its own, run by the ``mlflow`` command."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from tests.targets.machines.process import fetch
from workload_forecast.sessions.generator import GeneratorSettings, generate

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()


@dataclass(frozen=True)
class Checkout:
    """A clone of the working tree with its changes committed, and a folder to run it from."""

    folder: Path
    commit: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")

    def environment(self) -> dict[str, str]:
        """This process's, without what names a store or tunes Spark or make, with this Python's commands first."""
        tuned = ("MLFLOW_", "SPARK_", "WORKLOAD_", "MAKE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(tuned)}
        return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def shell(self, command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=folder or self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )

    @contextmanager
    def running(self, command: str, url: str) -> Iterator[bytes]:
        """What a command that goes on until Ctrl-C answers at an address; afterwards it is ended, as by Ctrl-C."""
        log = self.folder / "running.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.environment(),
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            end = time.monotonic() + 180
            while (body := fetch(url)) is None:
                assert process.poll() is None, f"{command} has ended:\n{log.read_text()}"
                assert time.monotonic() < end, f"{command} does not answer at {url}:\n{log.read_text()}"
                time.sleep(0.2)
            yield body
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(30)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def link_environment(self) -> None:
        """Have ``make`` take this Python's environment for the one that it would install into ``.venv``."""
        venv = self.folder / ".venv"
        venv.mkdir(exist_ok=True)
        for part in Path(sys.prefix).iterdir():
            if not part.name.startswith(".installed") and not (venv / part.name).exists():
                (venv / part.name).symlink_to(part)
        (venv / ".installed").touch()

    def mlflow_run(
        self,
        entry_point: str,
        parameters: Mapping[str, object] | None = None,
        uri: str = ".",
        folder: Path | None = None,
        more: str = "",
    ) -> subprocess.CompletedProcess[str]:
        given = " ".join(f"-P {name}={shlex.quote(str(value))}" for name, value in (parameters or {}).items())
        return self.shell(f"mlflow run {uri} --env-manager local -e {entry_point} {more} {given}", folder)

    def runs(self, folder: Path | None = None) -> list[Run]:
        client = MlflowClient(f"sqlite:///{(folder or self.folder) / 'mlflow.db'}")
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments, order_by=["attributes.start_time ASC"]))


def commands_of(text: str) -> list[str]:
    """The lines of a text's shell blocks, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def journey() -> list[str]:
    """README's five commands from sessions to a service."""
    (section,) = re.findall(r"^## The whole journey, in five commands\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    return commands_of(section)


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_checkout(folder: Path) -> Checkout:
    """Return a clone of the working tree, with its changes committed, in a new folder."""
    listed = _git(PROJECT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in filter(None, listed):
        if (PROJECT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((PROJECT / name).read_bytes())
    _git(folder, "init", "-q")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", "the working tree")
    return Checkout(folder, _git(folder, "rev-parse", "HEAD"))


def generate_small_data(folder: Path) -> Path:
    """Write three weeks of five servers, and return the path of the settings for them."""
    wanted = GeneratorSettings(date(2016, 6, 1), date(2016, 6, 21), servers=5, sessions_per_server_hour=3)
    generate(wanted, folder / "sessions")
    return write_settings(folder / "settings.json", dataFile="sessions/*/*/*/*/request.csv")


def write_settings(path: Path, **fields: str) -> Path:
    dates: Mapping[str, str] = {
        "trainingFrom": "2016-06-01 00:00:00",
        "testFrom": "2016-06-18 00:00:00",
        "to": "2016-06-21 23:59:59",
        "missingHours": "zero",
    }
    path.write_text(json.dumps({**dates, **fields}))
    return path
