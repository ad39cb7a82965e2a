"""What every type of target offers to the room, and what the room tells it about a job."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from workload_forecast.targets.files import ComputeTarget, Mount, RunConfiguration
from workload_forecast.targets.hosts import Host

#: Tells the person at the terminal what goes on.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Check:
    """One answer of the preflight: what was looked at, what was found, and what to do if it will not do."""

    name: str
    passed: bool
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class State:
    """Whether a job runs, and how it ended if it does not."""

    running: bool
    exit_code: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Environment:
    """What a job runs in: an image or a folder on the target, named by the digest of all that it was made from."""

    name: str
    built: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One run of an entry point on a target. Everything but the secrets is kept with the run, to find the job again.

    ``folder`` is the run folder on the target: ``code/``, ``environment``, ``command``, ``log``, ``exit``.
    ``home`` is where the job finds and leaves results, ``home_source`` that directory as the target's machine knows it,
    ``local_home`` the launching machine's.
    ``handle`` is what the launcher knows of the started job (a container's name, a process).
    """

    run_id: str
    target: ComputeTarget
    configuration: RunConfiguration
    folder: str
    command: str
    variables: Mapping[str, str]
    home: str
    home_source: str
    local_home: str
    mounts: Sequence[Mount] = ()
    remote_port: int = 0
    handle: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def record(self) -> dict[str, Any]:
        """Return what is kept with the run: no secret, no code."""
        kept = {name: getattr(self, name) for name in ("run_id", "folder", "home", "home_source", "local_home")}
        return {
            **kept,
            "remote_port": self.remote_port,
            "handle": dict(self.handle),
            "mounts": [mount.model_dump(by_alias=True) for mount in self.mounts],
            "target": self.target.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "configuration": self.configuration.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Job:
        """Return the job that a record describes; its command and variables stay on the target."""
        return cls(
            run_id=record["run_id"],
            target=ComputeTarget.model_validate(record["target"]),
            configuration=RunConfiguration.model_validate(record["configuration"]),
            folder=record["folder"],
            command="",
            variables={},
            home=record["home"],
            home_source=record["home_source"],
            local_home=record["local_home"],
            mounts=[Mount.model_validate(mount) for mount in record["mounts"]],
            remote_port=record["remote_port"],
            handle=record["handle"],
        )


class Launcher(ABC):
    """Prepares environments and runs jobs on one type of target."""

    #: Whether the job sees a file system of its own, in which any directory can be mounted under any name.
    contained: ClassVar[bool]

    def __init__(self, target: ComputeTarget, host: Host) -> None:
        self.target, self.host = target, host

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """Return what ``target show`` tells: engine and version, cores, memory, disk, Java, Spark; quickly."""

    @abstractmethod
    def checks(self, configuration: RunConfiguration, project: Path) -> Iterator[Check]:
        """Yield what the preflight has to know of this type; connection, disk and tracking are looked at elsewhere."""

    @abstractmethod
    def prepare(self, configuration: RunConfiguration, project: Path, base: str, say: Say) -> Environment:
        """Build the environment unless the target has it; a second call does nothing.

        Args:
            configuration: names the dependencies.
            project: folder of the project, with its dependency files.
            base: the target's directory for our files, absolute.
            say: tells what goes on.

        Raises:
            EnvironmentProblem: it cannot be built, with the last lines of what the builder said.
        """

    @abstractmethod
    def prepared(self, configuration: RunConfiguration, project: Path, base: str) -> Environment | None:
        """Return the environment if the target has it."""

    @abstractmethod
    def start(self, job: Job, environment: Environment) -> Mapping[str, str]:
        """Start the job so that it goes on without us, and return its handle."""

    @abstractmethod
    def state(self, job: Job) -> State:
        """Return whether the job runs; only asked where its ``exit`` file is not there."""

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """End the job and all that it started; does nothing if it has ended."""

    def variables(self, store: str) -> Mapping[str, str]:  # noqa: ARG002  most types need none of their own
        """Return variables that every job of this type gets.

        Args:
            store: directory of the target that every node sees, if any does.
        """
        return {}

    def explain(self, job: Job, code: int) -> str:  # noqa: ARG002  most types know no more than the code
        """Return why a job ended with this exit code, where the target knows."""
        return ""

    def learnt(self, console: str) -> Mapping[str, str]:  # noqa: ARG002  most consoles tell nothing of that kind
        """Return tags that the job's console tells, like the cluster's own number of the application."""
        return {}

    def clean(self, job: Job) -> None:  # noqa: B027  most types leave nothing but the run folder
        """Remove what the job leaves on the target besides its run folder."""
