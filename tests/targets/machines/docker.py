"""A container engine of the tests' own: Debian's ``dockerd``, with a data folder and a socket that nobody else has."""

from __future__ import annotations

import grp
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.targets.machines.process import MachineError, Server, check, require, unmount_below, which

GROUP = "docker"  # its members may use the socket; Debian's package creates it
LONGEST_SOCKET = 100  # the kernel's limit is 107 characters


@dataclass(frozen=True)
class DockerEngine:
    """A running engine. It has no bridge: give ``--network host`` to what needs a network.

    Attributes:
        socket: where the engine listens.
        group: the group whose members may use it.
        server: the process.
    """

    socket: Path
    group: str
    server: Server

    @property
    def host(self) -> str:
        """The value for ``DOCKER_HOST``."""
        return f"unix://{self.socket}"

    @property
    def log(self) -> Path:
        return self.server.log

    def environment(self) -> dict[str, str]:
        """This process's environment, in which ``docker`` talks to this engine and knows no user's settings."""
        return _client_environment(self.socket)

    def docker(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the client, standard output and error apart."""
        return subprocess.run(
            ["docker", *arguments], env=self.environment(), capture_output=True, text=True, check=check, timeout=600
        )

    def stop(self) -> None:
        """Stop the engine with its containers; images and volumes stay."""
        if self.server.running:
            self.remove_containers()
        self.server.stop()

    def start(self) -> None:
        """Start it again after :meth:`stop`."""
        self.server.start()

    def remove_containers(self) -> None:
        found = self.docker("ps", "--all", "--quiet").stdout.split()
        if found:
            self.docker("rm", "--force", "--volumes", *found)


@contextmanager
def docker_engine(folder: Path) -> Iterator[DockerEngine]:
    """Run an engine until the block ends, whatever other engine this machine may have.

    Args:
        folder: where all of the engine's files go, with a short path that every user can read (``short_folder``).

    Raises:
        MachineError: not root, nothing installed, or the engine does not start; with the end of its log.
    """
    require("dockerd", "docker", "containerd", "setpriv")
    socket = folder / "docker.sock"
    if len(str(socket)) > LONGEST_SOCKET:
        raise MachineError(f"{socket} is too long for a socket: give the engine a folder with a short path")
    try:
        grp.getgrnam(GROUP)
    except KeyError:
        check(["groupadd", "--system", GROUP])
    (folder / "client").mkdir()
    (folder / "daemon.json").write_text("{}\n")  # else the machine's own settings would contradict the options
    server = Server("dockerd", _command(folder, socket), folder / "dockerd.log", lambda: _answers(socket))
    engine = DockerEngine(socket, GROUP, server)
    server.start()
    try:
        yield engine
    finally:
        engine.stop()
        unmount_below(folder)


def _command(folder: Path, socket: Path) -> list[str]:
    places = {
        "config-file": folder / "daemon.json",
        "data-root": folder / "data",
        "exec-root": folder / "exec",
        "pidfile": folder / "dockerd.pid",
        "host": f"unix://{socket}",
        "group": GROUP,
        # The machine's own network stays as it is: containers use it with `--network host`.
        "bridge": "none",
        "iptables": "false",
        "ip6tables": "false",
        "ip-forward": "false",
    }
    return [which("dockerd") or "dockerd", *(f"--{option}={value}" for option, value in places.items())]


def _client_environment(socket: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    return {**kept, "DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(socket.parent / "client")}


def _answers(socket: Path) -> bool:
    asked = subprocess.run(
        ["docker", "version"], env=_client_environment(socket), capture_output=True, check=False, timeout=60
    )
    return asked.returncode == 0
