"""Docker, here or on a machine behind ssh: the same commands, run by the one host or the other.

The image holds the environment alone and is built once per digest of all that goes into it. The code is mounted.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.contract import Check, Environment, Job, Launcher, Say, State
from workload_forecast.targets.dependencies import environment_hash, read_dependencies
from workload_forecast.targets.files import RunConfiguration
from workload_forecast.targets.hosts import checked, script, told
from workload_forecast.targets.job import as_exports

IMAGE = "workload-forecast-env"

#: Where secrets reach a container: a file system in memory, gone with the container.
_MEMORY = "/run/workload-forecast"
_SECRETS = f"{_MEMORY}/variables"

_ACCOUNTS = "passwd"
_ACCOUNT = f"""
id="$(id -u):$(id -g)"
printf 'root:x:0:0:root:/root:/bin/bash\\nforecast:x:%s::/tmp:/bin/bash\\n' "$id" >"$1/{_ACCOUNTS}"
echo "$id"
"""

_KILLED = 128 + 9
_OUT_OF_MEMORY = "out of memory: raise memory in the run configuration"

_ENGINE_DOWN = "start Docker (dockerd, or Docker Desktop) and see that you may use it: docker info"


class DockerLauncher(Launcher):
    """See :class:`~workload_forecast.targets.contract.Launcher`."""

    contained: ClassVar[bool] = True

    def facts(self) -> dict[str, str]:
        """Return what the engine says of itself."""
        about = self._engine()
        gpus = "nvidia" in about.get("Runtimes", {})
        return {
            "engine": f"Docker {about['ServerVersion']} ({about['OperatingSystem']}, {about['Architecture']})",
            "cores": str(about["NCPU"]),
            "memory": f"{about['MemTotal'] / 2**30:.1f} GiB",
            "gpu": "nvidia runtime" if gpus else "none",
            "images": str(about["Images"]),
        }

    def checks(self, configuration: RunConfiguration, project: Path) -> Iterator[Check]:
        """Look at the engine, the Dockerfile and the limits."""
        try:
            about = self._engine()
        except EnvironmentProblem as problem:
            yield Check("engine", False, str(problem), _ENGINE_DOWN)
            return
        yield Check("engine", True, f"Docker {about['ServerVersion']}")
        if configuration.gpu:
            found = "nvidia" in about.get("Runtimes", {})
            yield Check(
                "gpu", found, "nvidia runtime" if found else "no nvidia runtime", "install nvidia-container-toolkit"
            )
        if configuration.cpus and configuration.cpus > about["NCPU"]:
            yield Check("cpus", False, f"{configuration.cpus} asked for, {about['NCPU']} there", "lower cpus")
        if not _image_of(project):
            there = (project / self.target.dockerfile).is_file()
            yield Check("Dockerfile", there, self.target.dockerfile, "add it to the project, or name it in dockerfile")

    def prepared(self, configuration: RunConfiguration, project: Path, base: str) -> Environment | None:  # noqa: ARG002
        """Look for the image."""
        name = _image_of(project) or f"{IMAGE}:{self._digest(configuration, project)[0]}"
        found = self.host.run(["docker", "image", "inspect", "--format", "{{.Id}}", name])
        return Environment(name, facts={"image": found.output.strip()}) if found.code == 0 else None

    def prepare(self, configuration: RunConfiguration, project: Path, base: str, say: Say) -> Environment:
        """Build the image, or pull the one that MLproject's ``docker_env`` names."""
        found = self.prepared(configuration, project, base)
        if found:
            return found
        own = _image_of(project)
        if own:
            command, context = ["docker", "pull", "--quiet", own], b""
        else:
            digest, dockerfile, requirements = self._digest(configuration, project)
            command = ["docker", "build", "--network", "host", "--tag", f"{IMAGE}:{digest}"]
            command += ["--label", "project=workload_forecast"]
            if self.target.base_image:
                command += ["--build-arg", f"BASE_IMAGE={self.target.base_image}"]
            command, context = [*command, "-"], _context(dockerfile, requirements)
        say(f"environment: {shlex.join(command[:2])} on {self.host.label} (minutes the first time)")
        done = told(self.host, command, lambda line: say(f"  {line}"), context)
        built = self.prepared(configuration, project, base)
        if done.code != 0 or built is None:
            raise EnvironmentProblem(
                f"the image could not be made on {self.host.label}: {' / '.join(done.output.splitlines()[-3:])}"
            )
        return Environment(built.name, built=True, facts=built.facts)

    def start(self, job: Job, environment: Environment) -> Mapping[str, str]:
        """Run a container as the caller's user; it goes on without us."""
        name = f"workload-forecast-{job.run_id}"
        user = checked(script(self.host, _ACCOUNT, job.folder), "making the run folder", self.host.label).strip()
        command = ["docker", "run", "--detach", "--init", "--name", name, *self._options(job, user)]
        secrets = [_SECRETS] if job.secrets else []
        command += [environment.name, "bash", f"{job.folder}/runner.sh", job.folder, *secrets]
        checked(self.host.run(command, seconds=120), "starting the container", self.host.label)
        if job.secrets:
            take = f"umask 077; cat >{_SECRETS}.part && mv {_SECRETS}.part {_SECRETS}"
            given = as_exports(job.secrets).encode(errors="surrogateescape")
            done = self.host.run(["docker", "exec", "--interactive", name, "sh", "-c", take], given=given)
            if done.code != 0:  # it would wait for them for ever
                self.host.run(["docker", "rm", "--force", name])
            checked(done, "handing over secret variables", self.host.label)
        return {"container": name}

    def state(self, job: Job) -> State:
        """Ask the engine."""
        answer = self.host.run(["docker", "inspect", "--format", "{{json .State}}", job.handle["container"]])
        if "no such object" in answer.error.lower():
            return State(False, None, "the container is gone")
        checked(answer, "asking after the container", self.host.label)
        state = json.loads(answer.output)
        if state["Running"]:
            return State(True)
        reason = _OUT_OF_MEMORY if state["OOMKilled"] else state["Error"]
        return State(False, state["ExitCode"], reason or f"the container ended: {state['Status']}")

    def explain(self, job: Job, code: int) -> str:
        """Tell a job that the kernel ended for its memory from one that was killed."""
        if code != _KILLED:
            return ""
        asked = ["docker", "inspect", "--format", "{{.State.OOMKilled}}", job.handle["container"]]
        return _OUT_OF_MEMORY if self.host.run(asked).output.strip() == "true" else ""

    def cancel(self, job: Job) -> None:
        """Stop the container: asked at first, killed after ten seconds."""
        done = self.host.run(["docker", "stop", "--time", "10", job.handle["container"]], seconds=60)
        if "no such container" not in done.error.lower():
            checked(done, "stopping the container", self.host.label)

    def clean(self, job: Job) -> None:
        """Remove the container."""
        self.host.run(["docker", "rm", "--force", job.handle["container"]])

    def _engine(self) -> dict[str, Any]:
        answer = self.host.run(["docker", "info", "--format", "{{json .}}"], seconds=20)
        about: dict[str, Any] = json.loads(answer.output) if answer.output.startswith("{") else {}
        if answer.code != 0 or not about.get("ServerVersion"):
            said = "; ".join(about.get("ServerErrors") or []) or answer.last_line
            raise EnvironmentProblem(f"Docker does not answer on {self.host.label} ({said}).")
        return about

    def _digest(self, configuration: RunConfiguration, project: Path) -> tuple[str, str, str]:
        """Return digest, Dockerfile and requirements of the image."""
        try:
            dockerfile = (project / self.target.dockerfile).read_text(encoding="utf-8")
        except OSError:
            raise SettingsError(f"{project / self.target.dockerfile} does not exist; dockerfile names it.") from None
        requirements = read_dependencies(project, configuration.dependencies_file).requirements
        return environment_hash(dockerfile, requirements, self.target.base_image), dockerfile, requirements

    def _options(self, job: Job, user: str) -> Iterator[str]:
        configuration = job.configuration
        yield from ("--user", user, "--network", "host", "--workdir", f"{job.folder}/code")
        yield from ("--label", "project=workload_forecast", "--label", f"mlflow.run={job.run_id}")
        yield from ("--tmpfs", f"{_MEMORY}:mode=1777")
        yield from _bind(job.folder, job.folder)
        yield from _bind(job.home_source, job.home)
        # Java asks for the name of its user, who has no account in the image
        yield from _bind(f"{job.folder}/{_ACCOUNTS}", "/etc/passwd", read_only=True)
        yield from ("--env", "HOME=/tmp")
        for mount in (*job.mounts, *configuration.mounts):
            yield from _bind(mount.source, mount.target, read_only=mount.read_only)
        for flag, value in (("--gpus", configuration.gpu), ("--memory", configuration.memory)):
            if value:
                yield from (flag, value)
        if configuration.cpus:
            yield from ("--cpus", str(configuration.cpus))


def _bind(source: str, target: str, *, read_only: bool = False) -> tuple[str, str]:
    """Return the option for a mount; unlike ``--volume`` it takes any path and makes no missing directory up."""
    fields = ["type=bind", f"source={source}", f"target={target}", *(["readonly"] if read_only else [])]
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(fields)
    return "--mount", row.getvalue()


def _image_of(project: Path) -> str:
    """Return the image of MLproject's own ``docker_env``, if it has one."""
    from mlflow.projects.utils import load_project

    image: str = (load_project(str(project)).docker_env or {}).get("image", "")
    return image


def _context(dockerfile: str, requirements: str) -> bytes:
    """Return what ``docker build -`` reads: Dockerfile and requirements, and no line of code."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in (("Dockerfile", dockerfile), ("requirements.txt", requirements)):
            about = tarfile.TarInfo(name)
            content = text.encode()
            about.size, about.mode = len(content), 0o644
            archive.addfile(about, io.BytesIO(content))
    return packed.getvalue()
