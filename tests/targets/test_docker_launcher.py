"""The commands that are given to Docker, and what its answers mean; no engine runs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.contract import Environment, Job, State
from workload_forecast.targets.docker import DockerLauncher
from workload_forecast.targets.files import ComputeTarget, Mount, RunConfiguration
from workload_forecast.targets.hosts import Completed, script

INFO = {
    "ServerVersion": "29.1",
    "OperatingSystem": "Debian",
    "Architecture": "x86_64",
    "NCPU": 4,
    "MemTotal": 8 * 2**30,
    "Images": 3,
    "Runtimes": {"runc": {}},
}
ENVIRONMENT = Environment("workload-forecast-env:abc")

Answer = Callable[[list[str]], Completed]


class FakeHost:
    """Answers every command by ``answer`` and keeps what it was asked and given."""

    label = "box"
    local = False

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.given: list[bytes] = []
        self.answers: dict[str, Completed] = {"docker info": Completed(0, json.dumps(INFO).encode() + b"\n", "")}
        self.builder: list[str] = ["cat"]

    def argv(self, command: Sequence[str]) -> list[str]:
        self.asked.append(list(command))
        return self.builder

    def run(self, command: Sequence[str], *, given: bytes = b"", seconds: float = 60) -> Completed:  # noqa: ARG002
        self.asked.append(list(command))
        self.given.append(given)
        found = (answer for start, answer in self.answers.items() if " ".join(command).startswith(start))
        return next(found, Completed(0, b"1000:100\n", ""))

    def put(self, folder: Path, files: Iterable[str], target: str, *, links: bool = True) -> None:
        raise AssertionError((folder, files, target, links))

    def get(self, source: str, files: Iterable[str], target: Path) -> None:
        raise AssertionError((source, files, target))

    def docker(self, command: str) -> list[list[str]]:
        """Return what Docker was told with this command."""
        return [argv for argv in self.asked if argv[:2] == ["docker", command]]


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def launcher(host: FakeHost) -> DockerLauncher:
    return DockerLauncher(ComputeTarget(name="t", type="remote-docker", address="box"), host)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "docker").mkdir(parents=True)
    (folder / "docker" / "Dockerfile").write_text("FROM x\n# ü\n")
    (folder / "MLproject").write_text("name: probe\npython_env: env.yaml\nentry_points: {main: {command: 'true'}}\n")
    (folder / "env.yaml").write_text("python: '3.11'\ndependencies: [numpy==2.1.0]\n")
    (folder / "code.py").write_text("print()\n")
    return folder


def configuration(**given: Any) -> RunConfiguration:
    return RunConfiguration.model_validate({"target": "t", **given})


def job_of(launcher: DockerLauncher, **changes: Any) -> Job:
    job = Job(
        run_id="r1",
        target=launcher.target,
        configuration=configuration(),
        folder="/base/runs/r1",
        command="python x.py",
        variables={"A": "1"},
        home="/home/me/outputs",
        home_source="/base/homes/x",
        local_home="/home/me/outputs",
    )
    return dataclasses.replace(job, **changes)


def options_of(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Read the command line of ``docker run`` as Docker does: options up to the image, which the command follows."""
    assert argv[:2] == ["docker", "run"]
    flags, found, rest = {"--detach", "--init"}, [], argv[2:]
    while rest[0].startswith("--"):
        name = rest.pop(0)
        found.append((name, "" if name in flags else rest.pop(0)))
    return found, rest


def mounts_of(argv: list[str]) -> list[dict[str, str]]:
    """Read the mounts as Docker does, as lines of CSV."""
    found = []
    for name, value in options_of(argv)[0]:
        if name == "--mount":
            (fields,) = csv.reader(io.StringIO(value, newline=""))
            found.append({key: text for key, _, text in (field.partition("=") for field in fields)})
    return found


# --- docker run ------------------------------------------------------------------------------------------------------


def test_a_container_runs_the_job_as_the_user_and_goes_on_alone(host: FakeHost, launcher: DockerLauncher) -> None:
    assert launcher.start(job_of(launcher), ENVIRONMENT) == {"container": "workload-forecast-r1"}
    (argv,) = host.docker("run")
    options, command = options_of(argv)
    assert command == [ENVIRONMENT.name, "bash", "/base/runs/r1/runner.sh", "/base/runs/r1"]
    assert [(name, value) for name, value in options if name != "--mount"] == [
        ("--detach", ""),
        ("--init", ""),
        ("--name", "workload-forecast-r1"),
        ("--user", "1000:100"),
        ("--network", "host"),
        ("--workdir", "/base/runs/r1/code"),
        ("--label", "project=workload_forecast"),
        ("--label", "mlflow.run=r1"),
        ("--tmpfs", "/run/workload-forecast:mode=1777"),
        ("--env", "HOME=/tmp"),
    ]
    assert mounts_of(argv) == [
        {"type": "bind", "source": "/base/runs/r1", "target": "/base/runs/r1"},
        {"type": "bind", "source": "/base/homes/x", "target": "/home/me/outputs"},
        {"type": "bind", "source": "/base/runs/r1/passwd", "target": "/etc/passwd", "readonly": ""},
    ]
    assert host.docker("exec") == []


@pytest.mark.parametrize("path", ["/a,b", '/say "so"', "/it's", "/a:b", "/two words", "/ü☂", "/a=b,readonly", '/",",'])
def test_any_path_can_be_mounted(host: FakeHost, launcher: DockerLauncher, path: str) -> None:
    own = Mount(source=path, target=f"{path}/there", read_only=False)
    theirs = configuration(mounts=[{"source": f"/theirs{path}", "target": path}])
    job = job_of(launcher, folder=path, home=f"{path}/home", home_source=path, mounts=[own], configuration=theirs)
    launcher.start(job, ENVIRONMENT)
    (argv,) = host.docker("run")
    assert mounts_of(argv) == [
        {"type": "bind", "source": path, "target": path},
        {"type": "bind", "source": path, "target": f"{path}/home"},
        {"type": "bind", "source": f"{path}/passwd", "target": "/etc/passwd", "readonly": ""},
        {"type": "bind", "source": path, "target": f"{path}/there"},
        {"type": "bind", "source": f"/theirs{path}", "target": path, "readonly": ""},
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"gpu": "all"}, {"--gpus": "all"}),
        ({"gpu": "2", "memory": "8g", "cpus": 1.5}, {"--gpus": "2", "--memory": "8g", "--cpus": "1.5"}),
    ],
)
def test_limits(host: FakeHost, launcher: DockerLauncher, given: dict[str, Any], expected: dict[str, str]) -> None:
    launcher.start(job_of(launcher, configuration=configuration(**given)), ENVIRONMENT)
    options = options_of(host.docker("run")[0])[0]
    assert {name: value for name, value in options if name in {"--gpus", "--memory", "--cpus"}} == expected


def test_secrets_travel_by_standard_input_into_memory_alone(host: FakeHost, launcher: DockerLauncher) -> None:
    job = job_of(launcher, secrets={"MY_KEY": "hunter2 'ü'\n", "MY_TOKEN": "t0ken"}, variables={"A": "plain"})
    launcher.start(job, ENVIRONMENT)
    for argv in host.asked:
        assert not any(secret in word for word in argv for secret in ("hunter2", "t0ken", "MY_KEY"))
    command = options_of(host.docker("run")[0])[1]
    assert command[-1] == "/run/workload-forecast/variables"
    (take,) = host.docker("exec")
    assert take[2:4] == ["--interactive", "workload-forecast-r1"]
    assert command[-1] in take[-1]
    assert [given for given in host.given if given] == [
        b"export MY_KEY='hunter2 '\"'\"'\xc3\xbc'\"'\"'\n'\nexport MY_TOKEN=t0ken\n"
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("bash", "making the run folder failed on box"),
        ("docker run", "starting the container failed on box"),
        ("docker exec", "handing over secret variables failed on box"),
    ],
)
def test_a_start_that_fails_says_at_what(host: FakeHost, launcher: DockerLauncher, command: str, message: str) -> None:
    host.answers[command] = Completed(125, b"", "docker: no such luck.\n")
    with pytest.raises(EnvironmentProblem, match=rf"{message} \(exit code 125\): docker: no such luck\."):
        launcher.start(job_of(launcher, secrets={"MY_KEY": "x"}), ENVIRONMENT)


def test_the_user_has_an_account_in_the_container(tmp_path: Path) -> None:
    """The script that is run before the container is."""
    from workload_forecast.targets.docker import _ACCOUNT
    from workload_forecast.targets.hosts import LocalHost

    answer = script(LocalHost(), _ACCOUNT, str(tmp_path)).output.strip()
    identity = LocalHost().run(["bash", "-c", "echo $(id -u):$(id -g)"]).output.strip()
    assert answer == identity
    lines = [line.split(":") for line in (tmp_path / "passwd").read_text().splitlines()]
    assert all(len(line) == 7 for line in lines)
    assert ":".join(lines[1][2:4]) == identity
    assert lines[0][0] == "root"


# --- the end ---------------------------------------------------------------------------------------------------------


def inspected(**state: object) -> Completed:
    whole = {"Running": False, "OOMKilled": False, "ExitCode": 0, "Error": "", "Status": "exited", **state}
    return Completed(0, json.dumps(whole).encode() + b"\n", "")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (inspected(Running=True, Status="running"), State(True)),
        (inspected(ExitCode=3), State(False, 3, "the container ended: exited")),
        (
            inspected(OOMKilled=True, ExitCode=137, Error="x"),
            State(False, 137, "out of memory: raise memory in the run configuration"),
        ),
        (inspected(ExitCode=127, Error="no bash", Status="created"), State(False, 127, "no bash")),
        (Completed(1, b"\n", "Error: No such object"), State(False, None, "the container is gone")),
    ],
)
def test_state(host: FakeHost, launcher: DockerLauncher, answer: Completed, expected: State) -> None:
    host.answers["docker inspect"] = answer
    assert launcher.state(job_of(launcher, handle={"container": "c"})) == expected
    assert host.asked[-1][-1] == "c"


@pytest.mark.parametrize("ask", [DockerLauncher.state, DockerLauncher.cancel])
def test_an_engine_that_is_down_says_nothing_of_the_job(
    host: FakeHost, launcher: DockerLauncher, ask: Callable[[DockerLauncher, Job], object]
) -> None:
    down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    for command in ("inspect", "stop", "info"):
        host.answers[f"docker {command}"] = Completed(1, b"\n", down)
    with pytest.raises(EnvironmentProblem, match="Cannot connect"):
        ask(launcher, job_of(launcher, handle={"container": "c"}))


def test_cancel_and_clean(host: FakeHost, launcher: DockerLauncher) -> None:
    job = job_of(launcher, handle={"container": "c"})
    launcher.cancel(job)
    launcher.clean(job)
    assert host.asked == [["docker", "stop", "--time", "10", "c"], ["docker", "rm", "--force", "c"]]


# --- the environment -------------------------------------------------------------------------------------------------


def missing(host: FakeHost) -> None:
    host.answers["docker image inspect"] = Completed(1, b"", "No such image")


def image(host: FakeHost, launcher: DockerLauncher, project: Path, **given: Any) -> str:
    host.answers["docker image inspect"] = Completed(0, b"sha256:1\n", "")
    found = launcher.prepared(configuration(**given), project, "/base")
    assert found is not None
    assert found.facts == {"image": "sha256:1"}
    return found.name


def test_an_image_is_named_by_all_that_it_is_made_from_and_nothing_else(
    host: FakeHost, launcher: DockerLauncher, project: Path
) -> None:
    first = image(host, launcher, project)
    assert first.startswith("workload-forecast-env:")
    (project / "code.py").write_text("print('changed')\n")
    (project / "env.yaml").write_text("# a comment\npython: '3.11'\ndependencies:\n- numpy==2.1.0\n")
    assert image(host, launcher, project, memory="8g", environmentVariables={"A": "1"}) == first

    names = {first}
    (project / "other.txt").write_text("numpy==2.1.1\n")
    names.add(image(host, launcher, project, dependenciesFile="other.txt"))
    (project / "env.yaml").write_text("python: '3.11'\ndependencies: [numpy==2.1.2]\n")
    names.add(image(host, launcher, project))
    (project / "docker" / "Dockerfile").write_text("FROM y\n")
    names.add(image(host, launcher, project))
    launcher.target = launcher.target.model_copy(update={"base_image": "z"})
    names.add(image(host, launcher, project))
    (project / "docker" / "Other").write_text("FROM w\n")
    launcher.target = launcher.target.model_copy(update={"dockerfile": "docker/Other"})
    names.add(image(host, launcher, project))
    assert len(names) == 6


def test_an_image_that_is_there_is_not_built(host: FakeHost, launcher: DockerLauncher, project: Path) -> None:
    host.answers["docker image inspect"] = Completed(0, b"sha256:1\n", "")
    said: list[str] = []
    found = launcher.prepare(configuration(), project, "/base", said.append)
    assert not found.built
    assert said == []
    assert [argv[1:3] for argv in host.asked] == [["image", "inspect"]]


def build(host: FakeHost, tmp_path: Path, text: str) -> Path:
    """Let the builder keep its context, run this, and leave an image."""
    context = tmp_path / "context.tar"
    host.builder = ["bash", "-c", f'cat >"$1"; {text}', "x", str(context)]
    missing(host)
    return context


def prepare(host: FakeHost, launcher: DockerLauncher, project: Path, said: list[str]) -> Environment:
    def say(line: str) -> None:
        said.append(line)
        if line.strip() == "built":
            host.answers["docker image inspect"] = Completed(0, b"sha256:2\n", "")

    return launcher.prepare(configuration(), project, "/base", say)


def test_an_image_is_built_from_two_files_and_no_line_of_code(
    host: FakeHost, launcher: DockerLauncher, project: Path, tmp_path: Path
) -> None:
    context, said = build(host, tmp_path, "echo Step 1; echo built >&2"), list[str]()
    launcher.target = launcher.target.model_copy(update={"base_image": "registry/base:1"})
    found = prepare(host, launcher, project, said)
    assert (found.built, found.facts) == (True, {"image": "sha256:2"})
    assert said == ["environment: docker build on box (minutes the first time)", "  Step 1", "  built"]
    (argv,) = host.docker("build")
    assert argv == [
        "docker", "build", "--network", "host", "--tag", found.name, "--label", "project=workload_forecast",
        "--build-arg", "BASE_IMAGE=registry/base:1", "-",
    ]  # fmt: skip
    with tarfile.open(context) as archive:
        assert archive.getnames() == ["Dockerfile", "requirements.txt"]
        texts = [archive.extractfile(name) for name in archive.getnames()]
        assert [text.read().decode() for text in texts if text] == ["FROM x\n# ü\n", "numpy==2.1.0\n"]
        assert {about.mode for about in archive} == {0o644}


@pytest.mark.parametrize("end", ["exit 1", "exit 0"])
def test_an_image_that_could_not_be_built_is_an_error_with_the_builders_last_words(
    host: FakeHost, launcher: DockerLauncher, project: Path, tmp_path: Path, end: str
) -> None:
    build(host, tmp_path, f"printf '%s\\n' 1 2 3 4; {end}")
    with pytest.raises(EnvironmentProblem, match=r"^the image could not be made on box: 2 / 3 / 4$"):
        prepare(host, launcher, project, [])


def test_a_missing_dockerfile_is_named(launcher: DockerLauncher, project: Path) -> None:
    (project / "docker" / "Dockerfile").unlink()
    with pytest.raises(SettingsError, match=r"docker/Dockerfile does not exist; dockerfile names it"):
        launcher.prepared(configuration(), project, "/base")


@pytest.fixture
def own_image(project: Path) -> Path:
    """A project that names an image of its own, as MLflow's documentation shows."""
    (project / "MLproject").write_text(
        "name: p\ndocker_env: {image: team/image:1}\nentry_points: {main: {command: x}}\n"
    )
    return project


def test_the_image_of_the_project_itself_is_taken_or_pulled(
    host: FakeHost, launcher: DockerLauncher, own_image: Path, tmp_path: Path
) -> None:
    assert image(host, launcher, own_image) == "team/image:1"
    build(host, tmp_path, "echo built")
    found = prepare(host, launcher, own_image, [])
    assert (found.name, found.built) == ("team/image:1", True)
    assert host.docker("pull") == [["docker", "pull", "--quiet", "team/image:1"]]
    assert host.docker("build") == []


# --- what the preflight asks -----------------------------------------------------------------------------------------


def checks(launcher: DockerLauncher, project: Path, **given: Any) -> dict[str, tuple[bool, str, str]]:
    found = launcher.checks(configuration(**given), project)
    return {check.name: (check.passed, check.found, check.remedy) for check in found}


def test_an_engine_that_runs(launcher: DockerLauncher, project: Path) -> None:
    found = checks(launcher, project)
    assert list(found) == ["engine", "Dockerfile"]
    assert found["engine"][:2] == (True, "Docker 29.1")
    assert found["Dockerfile"][:2] == (True, "docker/Dockerfile")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Completed(0, json.dumps({"ServerErrors": ["Cannot connect", "twice"]}).encode(), ""), "Cannot connect; twice"),
        (Completed(1, b"", "permission denied while trying to connect\n"), "permission denied while trying to connect"),
        (Completed(127, b"", "bash: line 1: docker: command not found\n"), "docker: command not found"),
        (Completed(1, b"", ""), "exit code 1"),
    ],
)
def test_an_engine_that_is_down(
    host: FakeHost, launcher: DockerLauncher, project: Path, answer: Completed, said: str
) -> None:
    host.answers["docker info"] = answer
    found = checks(launcher, project)
    assert list(found) == ["engine"]
    passed, text, remedy = found["engine"]
    assert not passed
    assert text.startswith("Docker does not answer on box (")
    assert said in text
    assert "docker info" in remedy
    with pytest.raises(EnvironmentProblem, match="Docker does not answer on box"):
        launcher.facts()


def test_what_the_engine_cannot_give(host: FakeHost, launcher: DockerLauncher, project: Path) -> None:
    found = checks(launcher, project, gpu="all", cpus=4.5)
    assert found["gpu"] == (False, "no nvidia runtime", "install nvidia-container-toolkit")
    assert found["cpus"] == (False, "4.5 asked for, 4 there", "lower cpus")
    runtimes = {**INFO, "Runtimes": {"runc": {}, "nvidia": {}}}
    host.answers["docker info"] = Completed(0, json.dumps(runtimes).encode(), "")
    found = checks(launcher, project, gpu="all", cpus=4.0)
    assert found["gpu"][0]
    assert "cpus" not in found


def test_a_dockerfile_is_needed_unless_the_project_names_an_image(launcher: DockerLauncher, project: Path) -> None:
    (project / "docker" / "Dockerfile").unlink()
    assert checks(launcher, project)["Dockerfile"] == (
        False, "docker/Dockerfile", "add it to the project, or name it in dockerfile",
    )  # fmt: skip


@pytest.mark.usefixtures("own_image")
def test_no_dockerfile_is_needed_for_an_image_of_the_project(launcher: DockerLauncher, project: Path) -> None:
    assert "Dockerfile" not in checks(launcher, project)


def test_facts(launcher: DockerLauncher) -> None:
    assert launcher.facts() == {
        "engine": "Docker 29.1 (Debian, x86_64)",
        "cores": "4",
        "memory": "8.0 GiB",
        "gpu": "none",
        "images": "3",
    }
