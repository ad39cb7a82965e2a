"""What is asked before a launch, and how the answers read."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.targets.contract import Check, Environment, Job, Launcher, Say, State
from workload_forecast.targets.data import DataPlan
from workload_forecast.targets.files import ComputeTarget, RunConfiguration
from workload_forecast.targets.hosts import Completed, Host, LocalHost
from workload_forecast.targets.places import Places
from workload_forecast.targets.preflight import demand, preflight

STORE = "sqlite:////srv/mlflow.db"


class Elsewhere:
    """Another machine with so much room (KiB), on which nothing matches."""

    label = "box"
    local = False

    def __init__(self, free: str = "999999999") -> None:
        self.free = free

    def argv(self, command: Sequence[str]) -> list[str]:
        raise AssertionError(command)

    def run(self, command: Sequence[str], *, given: bytes = b"", seconds: float = 60) -> Completed:  # noqa: ARG002
        if "df" in command[2]:
            return Completed(0, f"/dev/vda1 1000000 1 {self.free} 1% /\n".encode(), "")
        return Completed(1, b"", "")

    def put(self, folder: Path, files: Iterable[str], target: str, *, links: bool = True) -> None:
        raise AssertionError((folder, files, target, links))

    def get(self, source: str, files: Iterable[str], target: Path) -> None:
        raise AssertionError((source, files, target))


class FakeLauncher(Launcher):
    contained = True

    def __init__(self, host: Host) -> None:
        super().__init__(ComputeTarget(name="t", type="docker"), host)
        self.own = [Check("engine", True, "Docker 1")]
        self.environment: Environment | None = Environment("image")
        self.asked = 0

    def facts(self) -> dict[str, str]:
        return {}

    def checks(self, configuration: RunConfiguration, project: Path) -> Iterator[Check]:  # noqa: ARG002
        yield from self.own

    def prepare(self, configuration: RunConfiguration, project: Path, base: str, say: Say) -> Environment:
        raise AssertionError((configuration, project, base, say))

    def prepared(self, configuration: RunConfiguration, project: Path, base: str) -> Environment | None:  # noqa: ARG002
        self.asked += 1
        return self.environment

    def start(self, job: Job, environment: Environment) -> Mapping[str, str]:
        raise AssertionError((job, environment))

    def state(self, job: Job) -> State:
        raise AssertionError(job)

    def cancel(self, job: Job) -> None:
        raise AssertionError(job)


def ask(launcher: Launcher, base: Path | str, data: DataPlan | None = None, **configuration: Any) -> dict[str, Check]:
    checks = preflight(
        launcher,
        RunConfiguration.model_validate({"target": "t", **configuration}),
        Path("/project"),
        Places(str(base), ""),
        data or DataPlan(),
        tracking_uri=STORE if launcher.host.local else "databricks://profile",
        artifact_location="mlflow-artifacts:/1",
    )
    return {check.name: check for check in checks}


def failed(checks: dict[str, Check]) -> list[str]:
    return [name for name, check in checks.items() if not check.passed]


def test_all_is_well(tmp_path: Path) -> None:
    checks = ask(FakeLauncher(LocalHost()), tmp_path)
    assert list(checks) == ["connection", "engine", "tracking server", "tracking store", "disk"]
    assert failed(checks) == []
    assert checks["connection"].found == "this machine"
    assert f"free in {tmp_path}, 1.0 GB needed" in checks["disk"].found


def test_an_engine_that_is_down_is_the_only_news(tmp_path: Path) -> None:
    launcher = FakeLauncher(LocalHost())
    launcher.own = [Check("engine", False, "down", "start it"), Check("Dockerfile", True, "x")]
    assert list(ask(launcher, tmp_path)) == ["connection", "engine", "Dockerfile"]
    assert launcher.asked == 0


def test_an_environment_that_has_to_be_built_needs_room() -> None:
    launcher = FakeLauncher(Elsewhere(str(3 * 10**6)))
    assert failed(ask(launcher, "/base")) == []
    launcher.environment = None
    disk = ask(launcher, "/base")["disk"]
    assert not disk.passed
    assert disk.found == "3.1 GB free in /base, 6.0 GB needed"
    assert disk.remedy == "make room, or choose another baseDirectory"


def test_data_that_travels_needs_room(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("wb") as large:
        large.truncate(4 * 10**9)
    data = DataPlan(root=tmp_path, files=("a.csv",), target="/base/data/x")
    disk = ask(FakeLauncher(Elsewhere(str(3 * 10**6))), "/base", data)["disk"]
    assert (disk.passed, disk.found) == (False, "3.1 GB free in /base, 5.0 GB needed")


@pytest.mark.parametrize("free", ["-", ""])
def test_room_that_nobody_knows_is_no_room(free: str) -> None:
    assert failed(ask(FakeLauncher(Elsewhere(free)), "/base")) == ["disk"]


def test_an_environment_that_must_have_been_prepared(tmp_path: Path) -> None:
    launcher = FakeLauncher(LocalHost())
    assert "environment" not in ask(launcher, tmp_path, prepareEnvironment=False)
    launcher.environment = None
    check = ask(launcher, tmp_path, prepareEnvironment=False)["environment"]
    assert not check.passed
    assert check.remedy.startswith("workload-forecast target prepare -c CONFIG")
    assert "environment" not in ask(launcher, tmp_path)


@pytest.mark.parametrize("pattern", ["*.csv", "2016/0?/[ab].csv", "2016/01/a.csv", "*/*/*.csv"])
def test_data_of_the_target_is_looked_for_there(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "some $data's"
    for name in ("x.csv", "2016/01/a.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    there = ask(FakeLauncher(LocalHost()), tmp_path, DataPlan(on_target=f"{folder}/{pattern}"))["data"]
    assert there == Check("data", True, f"{folder}/{pattern}", there.remedy)


def test_a_pattern_for_folders_of_any_depth_means_on_the_target_what_it_means_here(tmp_path: Path) -> None:
    (tmp_path / "2016" / "01").mkdir(parents=True)
    (tmp_path / "2016" / "01" / "a.csv").touch()
    for pattern in ("**/*.csv", "2016/01/**/a.csv"):
        there = ask(FakeLauncher(LocalHost()), tmp_path, DataPlan(on_target=f"{tmp_path}/{pattern}"))["data"]
        assert there.passed, pattern


def test_data_that_is_not_on_the_target() -> None:
    check = ask(FakeLauncher(Elsewhere()), "/base", DataPlan(on_target="/data/*.csv"))["data"]
    assert not check.passed
    assert check.found == "no file on box matches /data/*.csv"
    assert check.remedy == "correct dataFile, bring the data there, or say data: launcher"


# --- demand ----------------------------------------------------------------------------------------------------------


def test_all_answers_come_back_when_all_pass() -> None:
    checks = [Check("connection", True, "box"), Check("disk", True, "much")]
    assert demand(iter(checks)) == checks


def test_every_failure_is_said_at_once_with_what_to_do() -> None:
    checks = [
        Check("connection", True, "box"),
        Check("gpu", False, "no nvidia runtime", "install nvidia-container-toolkit"),
        Check("disk", False, "1 GB free", "make room"),
    ]
    with pytest.raises(EnvironmentProblem) as problem:
        demand(iter(checks))
    assert str(problem.value) == (
        "nothing was launched. gpu: no nvidia runtime; install nvidia-container-toolkit | disk: 1 GB free; make room."
    )


class Refusing(BaseHTTPRequestHandler):
    """A storage service that does not know us."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("tools", ["curl", "python3"])
def test_a_storage_service_that_answers_is_reachable_whatever_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tools: str
) -> None:
    program = shutil.which(tools)
    assert program, f"{tools} is not installed"
    (tmp_path / "bin").mkdir()
    for name, path in (("bash", shutil.which("bash")), (tools, program)):
        (tmp_path / "bin" / name).symlink_to(str(path))
    for name in ("df", "tail"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        url = f"http://127.0.0.1:{server.server_port}"
        there = ask(FakeLauncher(LocalHost()), tmp_path, DataPlan(service=url))["data"]
        server.shutdown()
        thread.join()
    gone = ask(FakeLauncher(LocalHost()), tmp_path, DataPlan(service=url))["data"]
    assert (there.passed, there.found) == (True, url)
    assert (gone.passed, gone.found) == (False, f"{url} does not answer this machine")
