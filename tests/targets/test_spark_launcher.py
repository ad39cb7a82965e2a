"""The launcher on this machine: real environments and processes. YARN is played by scripts (contract tests)."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import socket
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.contract import Check, Environment, Job
from workload_forecast.targets.files import ComputeTarget, RunConfiguration
from workload_forecast.targets.hosts import Completed, LocalHost
from workload_forecast.targets.job import RUNNER, as_exports
from workload_forecast.targets.spark.facts import ClusterFacts, Java, Python, Spark
from workload_forecast.targets.spark.launcher import SparkLauncher, application_id

RUN = "0123456789abcdef"

#: Plays spark-submit: notes how it was called and runs the driver as Spark would, in client mode.
_SUBMIT = """#!/bin/bash
[[ $1 != --version ]] || { echo 'version 3.5.1'; exit; }
printf '%s\\n' "$@" >"$0.called"
echo 'INFO Client: Submitted application application_17_0042'
exec python "${@: -2}"
"""
#: Plays YARN: notes how it was called; one application has the tag of our run.
_YARN = f"""#!/bin/bash
echo "$*" >>"$0.called"
case "$*" in
  "node -list") echo 'Total Nodes:3' ;;
  "application -list -appTags {RUN}") printf 'Total number\\napplication_17_0043\\tname\\n' ;;
esac
"""


@dataclass(frozen=True)
class Scene:
    """A machine with a project, and a launcher of its own for every call, as for different processes."""

    folder: Path
    project: Path
    base: str
    environments: str

    def launcher(self, **fields: str) -> SparkLauncher:
        places = {"pythonLocation": sys.executable, "sparkSubmitLocation": str(self.program("spark-submit"))}
        known = {"name": "c", "type": "spark-cluster", "address": "here", "sparkMaster": "yarn"}
        return SparkLauncher(ComputeTarget.model_validate({**known, **places, **fields}), LocalHost())

    def program(self, name: str) -> Path:
        return self.folder / "bin" / name

    def prepared(self, launcher: SparkLauncher, configuration: RunConfiguration | None = None) -> Environment:
        """An environment that these tests share."""
        return launcher.prepare(configuration or CONFIGURATION, self.project, self.environments, lambda _: None)

    def called(self, name: str) -> list[str]:
        noted = self.folder / "bin" / f"{name}.called"
        return noted.read_text().splitlines() if noted.exists() else []

    def job(self, launcher: SparkLauncher, code: str, *arguments: str, **fields: object) -> Job:
        """A job with its run folder, as ``launch`` leaves it."""
        folder = Path(self.base) / "runs" / RUN
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "program.py").write_text(code)
        (folder / "runner.sh").write_text(RUNNER.read_text())
        job = Job(
            RUN,
            launcher.target,
            RunConfiguration(target="c"),
            str(folder),
            shlex.join(["python", "-m", "program", *arguments]),
            {"GREETING": "good day"},
            "/h",
            "/h",
            "/h",
        )
        job = dataclasses.replace(job, **fields)  # type: ignore[arg-type]
        (folder / "environment").write_text(as_exports(job.variables))
        (folder / "command").write_text(job.command)
        return job


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("environments") / "a base")


@pytest.fixture
def scene(tmp_path: Path, environments: str, monkeypatch: pytest.MonkeyPatch) -> Scene:
    project, programs = tmp_path / "a project", tmp_path / "bin"
    for folder in (project, programs):
        folder.mkdir()
    (project / "requirements.txt").write_text("")
    for name, text in (("spark-submit", _SUBMIT), ("yarn", _YARN)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return Scene(tmp_path, project, str(tmp_path / "a base"), environments)


CONFIGURATION = RunConfiguration(target="c", dependencies_file="requirements.txt")


def until(holds: Callable[[], object]) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to that in a minute")


def log(job: Job) -> str:
    path = Path(job.folder) / "log"
    return path.read_text() if path.exists() else ""


def prepare(scene: Scene, launcher: SparkLauncher) -> Environment:
    return launcher.prepare(CONFIGURATION, scene.project, scene.base, lambda _: None)


def test_two_prepares_at_once_build_one_environment(scene: Scene) -> None:
    launchers = [scene.launcher(), scene.launcher()]
    assert launchers[0].prepared(CONFIGURATION, scene.project, scene.base) is None

    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda launcher: prepare(scene, launcher), launchers))

    assert sorted(environment.built for environment in made) == [False, True]
    assert made[0].name == made[1].name
    assert (Path(made[0].name) / "bin" / "python").exists()
    again = prepare(scene, launchers[0])
    assert not again.built
    assert launchers[0].prepared(CONFIGURATION, scene.project, scene.base) == again


def test_a_half_built_environment_is_built_anew(scene: Scene) -> None:
    launcher = scene.launcher(sparkMaster="local")
    plan = launcher._plan(CONFIGURATION, scene.project)
    name = launcher._environment(plan, CONFIGURATION, scene.project, scene.base).name
    (Path(name) / "bin").mkdir(parents=True)
    (Path(name) / "bin" / "rest").write_text("of a build that broke off")

    made = prepare(scene, launcher)

    assert (made.name, made.built) == (name, True)
    assert not (Path(name) / "bin" / "rest").exists()


def test_the_environment_is_packed_for_nodes_that_do_not_see_it(scene: Scene) -> None:
    packed = scene.prepared(scene.launcher())
    shared = prepare(scene, scene.launcher(sharedDirectory=str(scene.folder / "shared")))

    assert (Path(packed.name) / "environment.tar.gz").stat().st_size > 0
    assert shared.name.startswith(f"{scene.folder}/shared/envs/")
    assert not (Path(shared.name) / "environment.tar.gz").exists()
    assert len({packed.name, shared.name}) == 2


def test_what_the_installer_says_is_told_and_ends_up_in_the_error(scene: Scene) -> None:
    (scene.project / "requirements.txt").write_text("no-such-package-anywhere==1.0\n--no-index\n")
    told: list[str] = []

    with pytest.raises(EnvironmentProblem, match="could not be made on this machine") as raised:
        scene.launcher(sparkMaster="local").prepare(CONFIGURATION, scene.project, scene.base, told.append)

    assert any("no-such-package-anywhere" in line for line in told)
    assert told[-1].strip() in str(raised.value)
    assert scene.launcher(sparkMaster="local").prepared(CONFIGURATION, scene.project, scene.base) is None


_TELLS_ALL = """
import json, os, sys
from pathlib import Path
told = {"argv": sys.argv[1:], "path": sys.path[0], "cwd": os.getcwd(), "name": __name__, "python": sys.executable}
told |= {name: os.environ.get(name) for name in ("GREETING", "PASSWORD_OF_IT")}
Path("../told.json").write_text(json.dumps(told))
raise SystemExit(7)
"""


def test_a_job_gets_arguments_variables_and_secrets_and_leaves_its_exit_code(scene: Scene) -> None:
    import json

    launcher = scene.launcher()
    odd = ["", "two words", "it's", "line\nbreak\r", "ünï", "$HOME `id` \\ *", "-m"]
    job = scene.job(launcher, _TELLS_ALL, *odd, secrets={"PASSWORD_OF_IT": "do not\ntell 'it'"})
    environment = scene.prepared(launcher)

    handle = launcher.start(job, environment)
    until((Path(job.folder) / "exit").exists)

    assert (Path(job.folder) / "exit").read_text() == "7\n"
    told = json.loads((Path(job.folder) / "told.json").read_text())
    assert told["argv"] == odd
    assert told["path"] == told["cwd"] == f"{job.folder}/code"
    assert told["name"] == "__main__"
    assert told["python"].startswith(environment.name)
    assert (told["GREETING"], told["PASSWORD_OF_IT"]) == ("good day", "do not\ntell 'it'")
    left = [path.read_bytes() for path in Path(job.folder).rglob("*") if path.is_file() and path.name != "told.json"]
    assert not any(b"tell 'it'" in content or b"do not" in content for content in left)
    until(lambda: not launcher.state(dataclasses.replace(job, handle=handle)).running)
    assert application_id(log(job)) == "application_17_0042"
    options = scene.called("spark-submit")
    assert options[options.index("--master") + 1] == "yarn"
    assert f"{job.folder}/code.zip" in options


def test_framework_python_runs_without_spark_submit(scene: Scene) -> None:
    launcher = scene.launcher()
    configuration = CONFIGURATION.model_copy(update={"framework": "python"})
    job = scene.job(launcher, "import sys; print(sys.prefix)", configuration=configuration)
    environment = scene.prepared(launcher, configuration)

    launcher.start(job, environment)
    until((Path(job.folder) / "exit").exists)

    assert log(job).strip() == environment.name
    assert scene.called("spark-submit") == []


_WAITS = """
import os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code])
print("begun", flush=True)
time.sleep(600)
"""


def begin(scene: Scene, *arguments: str) -> tuple[SparkLauncher, Job]:
    launcher = scene.launcher()
    job = scene.job(launcher, _WAITS, *arguments)
    job = dataclasses.replace(job, handle=launcher.start(job, scene.prepared(launcher)))
    until(lambda: "begun" in log(job))
    return launcher, job


def session_of(job: Job) -> list[str]:
    """The processes of the job, looked up without the launcher's script."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        if session == job.handle["pid"] and state != "Z":
            found.append(folder.name)
    return found


def test_cancel_ends_the_yarn_application_and_every_process(scene: Scene) -> None:
    """Contract only: ``yarn`` is a script here."""
    launcher, job = begin(scene)
    assert launcher.state(job).running

    launcher.cancel(job)

    assert "application -kill application_17_0042" in scene.called("yarn")
    assert session_of(job) == []
    assert not launcher.state(job).running
    assert int((Path(job.folder) / "exit").read_text()) != 0
    launcher.cancel(job)  # a second time there is nothing to do


@pytest.mark.slow  # ten seconds of grace
def test_cancel_kills_what_does_not_end(scene: Scene) -> None:
    launcher, job = begin(scene, "stubborn")

    launcher.cancel(job)

    assert session_of(job) == []


def test_an_application_that_the_log_does_not_tell_is_found_by_its_tag(scene: Scene) -> None:
    """Contract only: ``yarn`` is a script here."""
    launcher, job = begin(scene)
    (Path(job.folder) / "log").write_text("nothing of Spark\n")

    launcher.cancel(job)

    assert [call for call in scene.called("yarn") if "-kill" in call] == ["application -kill application_17_0043"]


def test_an_application_that_cannot_be_ended_is_an_error(scene: Scene) -> None:
    launcher, job = begin(scene)
    scene.program("yarn").write_text('#!/bin/bash\necho "Permission denied for $3" >&2\nexit 1\n')

    with pytest.raises(EnvironmentProblem, match=r"ending the application failed.*Permission denied"):
        launcher.cancel(job)

    assert session_of(job) == []


def test_a_number_that_was_given_away_again_is_not_the_job(scene: Scene) -> None:
    launcher, job = begin(scene)
    other = dataclasses.replace(job, handle={**job.handle, "start": "1", "yarn": ""})

    assert not launcher.state(other).running
    launcher.cancel(other)

    assert launcher.state(job).running
    launcher.cancel(job)


@dataclass
class ScriptedHost:
    """Answers commands by a word in them, and notes them."""

    answers: dict[str, Completed] = field(default_factory=dict)
    commands: list[list[str]] = field(default_factory=list)
    label: str = "head"
    local: bool = False

    def argv(self, command: Sequence[str]) -> list[str]:
        return list(command)

    def run(self, command: Sequence[str], *, given: bytes = b"", seconds: float = 60) -> Completed:  # noqa: ARG002
        self.commands.append(list(command))
        text = " ".join(command)
        return next((answer for word, answer in self.answers.items() if word in text), Completed(1, b"", ""))

    def put(self, folder: Path, files: object, target: str, *, links: bool = True) -> None: ...

    def get(self, source: str, files: object, target: Path) -> None: ...


YARN_35 = ClusterFacts(
    home="/home/f",
    pythons=(Python("/usr/bin/python3.11", "3.11.2", True),),
    javas=(Java("PATH", "/jvm/11", "11.0.2"),),
    sparks=(Spark("/opt/spark/bin/spark-submit", "/opt/spark", "3.5.1", "yarn"),),
    yarn="/usr/bin/yarn",
    hadoop="/etc/hadoop/conf",
    store="abfs://x",
    memory="16777216",
    disk="1048576",
    cores="8",
)


def checks(
    facts: ClusterFacts, project: Path, answers: dict[str, Completed], forward: tuple[str, ...] = (), **fields: str
) -> dict[str, Check]:
    configuration = RunConfiguration(target="c", forward_variables=forward, dependencies_file="requirements.txt")
    target = ComputeTarget.model_validate({"name": "c", "type": "spark-cluster", "address": "head", **fields})
    launcher = SparkLauncher(target, ScriptedHost(answers))
    launcher.__dict__["_facts"] = facts
    return {check.name: check for check in launcher.checks(configuration, project)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "requirements.txt").write_text("pyspark==3.5.9\n")
    return tmp_path


NODES = {"node -list": Completed(0, b"3\n", "")}


def test_preflight_of_a_cluster_that_will_do(project: Path) -> None:
    found = checks(YARN_35, project, NODES)

    assert all(check.passed for check in found.values())
    assert found["engine"].found == "Spark 3.5.1 on yarn, client mode"
    assert found["yarn"].found == "3 nodes"
    assert found["java"].found == "11.0.2"


def test_preflight_says_what_does_not_fit_and_what_to_do(project: Path) -> None:
    (project / "requirements.txt").write_text("pyspark==4.2.0\n")

    found = checks(YARN_35, project, NODES)

    assert list(found) == ["engine"]
    assert not found["engine"].passed
    assert found["engine"].found == "the cluster runs Spark 3.5.1 but the dependencies pin pyspark 4.2.0"
    assert found["engine"].remedy == "set dependenciesFile to requirements-spark35.txt"


def test_preflight_without_a_resource_manager(project: Path) -> None:
    found = checks(YARN_35, project, {})

    assert not found["yarn"].passed
    assert found["yarn"].remedy == "look there: yarn node -list"


def test_secrets_do_not_go_to_cluster_mode(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    assert checks(YARN_35, project, NODES, yarnDeployMode="cluster")["cluster mode"].passed

    refused = checks(YARN_35, project, NODES, yarnDeployMode="cluster", forward=("API_KEY",))["cluster mode"]

    assert not refused.passed
    assert refused.found == "API_KEY would stand in the application's configuration"


def test_azure_storage_needs_a_connector_for_the_environments_own_spark(project: Path) -> None:
    old = dataclasses.replace(YARN_35, sparks=(dataclasses.replace(YARN_35.sparks[0], version="3.3.1.5.0-1"),))

    found = checks(old, project, NODES)

    assert not found["storage"].passed
    assert "hadoop-azure" in found["storage"].remedy


def test_a_master_is_knocked_at(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        master = f"spark://nowhere.invalid:7077,127.0.0.1:{server.getsockname()[1]}"
        target = ComputeTarget.model_validate(
            {"name": "c", "type": "spark-cluster", "address": "head", "sparkMaster": master}
        )
        launcher = SparkLauncher(target, LocalHost())
        launcher.__dict__["_facts"] = YARN_35
        configuration = RunConfiguration(target="c", dependencies_file="requirements.txt")
        up = {check.name: check for check in launcher.checks(configuration, project)}["master"]
        server.close()
        down = {check.name: check for check in launcher.checks(configuration, project)}["master"]

    assert (up.passed, up.found) == (True, f"{master} answers")
    assert (down.passed, down.remedy) == (False, "start it, or correct sparkMaster")


@pytest.mark.parametrize(
    ("fields", "says"), [({"secrets": {"KEY": "1"}}, "KEY would stand"), ({"remote_port": 5}, "tunnel")]
)
def test_cluster_mode_refuses_what_it_cannot_keep(fields: dict[str, object], says: str, scene: Scene) -> None:
    launcher = scene.launcher(yarnDeployMode="cluster")
    job = scene.job(launcher, "", **fields)
    plan = {"spark_master": "yarn"}

    with pytest.raises(SettingsError, match=says):
        launcher.start(job, Environment("/env", facts=plan))


def test_what_target_show_tells() -> None:
    target = ComputeTarget.model_validate({"name": "c", "type": "spark-cluster", "address": "head"})
    launcher = SparkLauncher(target, ScriptedHost())
    launcher.__dict__["_facts"] = YARN_35

    told = launcher.facts()

    assert told["engine"] == "Spark 3.5.1 (/opt/spark/bin/spark-submit)"
    assert (told["manager"], told["java"], told["memory"], told["disk"]) == (
        "yarn",
        "11.0.2",
        "16.0 GiB",
        "1.0 GiB free",
    )


_COUNTS = """
import sys
from pyspark.sql import SparkSession
import helper
session = SparkSession.builder.getOrCreate()
numbers = session.sparkContext.parallelize(range(1000), 4)
print("sum", numbers.map(helper.double).sum(), sys.argv[1:], session.sparkContext.master)
"""


@pytest.mark.spark
def test_a_real_spark_submit_on_this_machine(scene: Scene) -> None:
    import pyspark

    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    launcher = scene.launcher(sparkMaster="local[2]", sparkSubmitLocation=str(submit))
    job = scene.job(launcher, _COUNTS, "ünï code", "a\nb\r")
    (Path(job.folder) / "code" / "helper.py").write_text("def double(number):\n    return 2 * number\n")

    handle = launcher.start(job, scene.prepared(launcher))
    until((Path(job.folder) / "exit").exists)

    told = log(job)
    assert (Path(job.folder) / "exit").read_text() == "0\n", told
    assert f"sum 999000 {['ünï code', 'a' + chr(10) + 'b' + chr(13)]} local[2]" in told
    assert re.fullmatch(r"local-\d+", application_id(told) or "")
    assert set(handle) == {"pid", "start", "yarn", "mode"}
