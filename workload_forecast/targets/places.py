"""Hosts, launchers and directories of a target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from workload_forecast.errors import SettingsError
from workload_forecast.targets.contract import Launcher
from workload_forecast.targets.files import ComputeTarget
from workload_forecast.targets.hosts import Host, LocalHost, SshHost, checked, script

_MAKE = 'path=$1; [[ $path == "~"* ]] && path=$HOME${path:1}; mkdir -p -- "$path" && cd -- "$path" && pwd -P'


@dataclass(frozen=True)
class Places:
    """Directories on the target, absolute."""

    base: str
    shared: str

    def run(self, run_id: str) -> str:
        """Return the run folder."""
        return str(PurePosixPath(self.base) / "runs" / run_id)

    @property
    def store(self) -> str:
        """Directory for what has to be seen by every node of a cluster: data and results."""
        return self.shared or self.base


def open_host(target: ComputeTarget) -> Host:
    """Return the machine that the target's commands run on."""
    if not target.remote:
        return LocalHost()
    return SshHost(target.address, target.username, target.port, target.identity_file, target.ssh_config)


def open_launcher(target: ComputeTarget) -> Launcher:
    """Return the launcher of the target's type."""
    host = open_host(target)
    if target.type in {"docker", "remote-docker"}:
        from workload_forecast.targets.docker import DockerLauncher

        return DockerLauncher(target, host)
    if target.type == "spark-cluster":
        from workload_forecast.targets.spark.launcher import SparkLauncher

        return SparkLauncher(target, host)
    raise SettingsError(
        f"target {target.name} is of type {target.type}, whose runs go through the Jobs API: use workload-forecast "
        "submit, and look at the run and its job in the workspace."
    )


def find_places(target: ComputeTarget, host: Host) -> Places:
    """Make the target's directories where they are missing, and return their absolute paths.

    Raises:
        EnvironmentProblem: the machine cannot be reached, or a directory cannot be made.
    """
    base = checked(script(host, _MAKE, target.base_directory), f"making {target.base_directory}", host.label).strip()
    shared = ""
    if target.shared_directory:
        made = script(host, _MAKE, target.shared_directory)
        shared = checked(made, f"making {target.shared_directory}", host.label).strip()
    return Places(base, shared)
