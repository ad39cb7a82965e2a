"""The machine that a target's commands run on: this one, or one behind the user's own ``ssh``.

Nothing is installed there for us: a POSIX machine with ``bash`` will do (and ``rsync``, where files have to travel).
Commands travel as arguments or on standard input, so nothing secret ever stands in a process list.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar, Protocol

from workload_forecast.errors import EnvironmentProblem, SettingsError

#: OpenSSH's own exit code for a connection that failed.
_SSH_FAILED = 255

#: What ssh says, and what the person at the terminal can do about it.
_REMEDIES = {
    # the more special ones first: ssh goes on to say the general thing, too
    "bad permissions": "the key file is readable by others: chmod 600",
    "remote host identification has changed": "the host's key has changed: find out why before you remove the old one",
    "permission denied": "the key was not accepted: check username and identityFile, or load the key: ssh-add",
    "host key verification failed": "the host's key is unknown or has changed: connect once by hand with ssh, compare",
    "connection refused": "nothing listens there: check address and port, and that sshd runs",
    "could not resolve": "the name is unknown: check the address, or add a Host entry to your ssh configuration",
    "timed out": "no answer: check address, port, firewall and VPN",
    "no route to host": "no way there: check address and network",
    "no such file": "check identityFile and sshConfig",
}


@dataclass(frozen=True)
class Completed:
    """A command that has ended."""

    code: int
    raw: bytes
    error: str

    @property
    def output(self) -> str:
        """What it wrote to its standard output, as text."""
        return self.raw.decode(errors="replace")

    @property
    def last_line(self) -> str:
        """What it said last, for a message."""
        lines = (self.error.strip() or self.output.strip()).splitlines()
        return lines[-1] if lines else f"exit code {self.code}"


class Host(Protocol):
    """Runs commands on a machine and moves files to and from it."""

    @property
    def label(self) -> str:
        """How messages name the machine."""
        ...

    @property
    def local(self) -> bool:
        """Whether it is this machine."""
        ...

    def argv(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs ``command`` on the machine."""
        ...

    def run(self, command: Sequence[str], *, given: bytes = b"", seconds: float = 60) -> Completed:
        """Run a command to its end.

        Raises:
            EnvironmentProblem: the machine cannot be reached, or the command did not end in time.
        """
        ...

    def put(self, folder: Path, files: Iterable[str], target: str, *, links: bool = True) -> None:
        """Bring ``files`` (relative to ``folder``) into the directory ``target`` of the machine.

        ``links`` says whether symbolic links stay links, or become what they lead to.
        """
        ...

    def get(self, source: str, files: Iterable[str], target: Path) -> None:
        """Bring ``files`` (relative to the machine's directory ``source``) into the folder ``target``."""
        ...


def script(host: Host, text: str, *arguments: str, given: bytes = b"", seconds: float = 60) -> Completed:
    """Run a bash script on the machine; ``$1`` and on are the arguments."""
    return host.run(["bash", "-c", text, "workload-forecast", *arguments], given=given, seconds=seconds)


def told(host: Host, command: Sequence[str], say: Callable[[str], None], given: bytes = b"") -> Completed:
    """Run a long command to its end and tell each line that it writes, standard error included."""
    argv = host.argv(command)
    try:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as problem:
        raise _missing(argv[0], problem) from None
    assert process.stdin is not None
    assert process.stdout is not None
    # fed by a thread, because the command may write before it has read all
    feeder = threading.Thread(target=_feed, args=(process.stdin, given), daemon=True)
    feeder.start()
    lines = []
    with process:
        for line in process.stdout:
            lines.append(line)
            say(line.decode(errors="replace").rstrip())
    code = process.returncode
    output = b"".join(lines)
    if code == _SSH_FAILED and not host.local:
        said = b"".join(lines[-3:])  # what went before are the command's own words
        raise EnvironmentProblem(unreachable(host.label, said.decode(errors="replace")))
    return Completed(code, output, "")


def _feed(pipe: IO[bytes], given: bytes) -> None:
    with suppress(BrokenPipeError), pipe:
        pipe.write(given)


def checked(done: Completed, what: str, label: str) -> str:
    """Return the output of a command that succeeded.

    Raises:
        EnvironmentProblem: it did not.
    """
    if done.code != 0:
        raise EnvironmentProblem(f"{what} failed on {label} (exit code {done.code}): {done.last_line}")
    return done.output


@dataclass(frozen=True)
class LocalHost:
    """This machine."""

    label: ClassVar[str] = "this machine"
    local: ClassVar[bool] = True

    def argv(self, command: Sequence[str]) -> list[str]:
        """See :class:`Host`."""
        return list(command)

    def run(self, command: Sequence[str], *, given: bytes = b"", seconds: float = 60) -> Completed:
        """See :class:`Host`."""
        return _run(self.argv(command), given, seconds, self.label)

    def put(self, folder: Path, files: Iterable[str], target: str, *, links: bool = True) -> None:
        """See :class:`Host`."""
        _copy(folder, files, Path(target), links=links)

    def get(self, source: str, files: Iterable[str], target: Path) -> None:
        """See :class:`Host`."""
        _copy(Path(source), files, target)


@dataclass(frozen=True)
class SshHost:
    """A machine behind ssh. The user's configuration, keys, agent and jump hosts apply; a password is never asked for.

    One connection is shared by all commands and ends a minute after the last one.
    """

    address: str
    username: str = ""
    port: int | None = None
    identity_file: str = ""
    ssh_config: str = ""
    label: str = field(init=False)
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", f"{self.username}@{self.address}" if self.username else self.address)

    def options(self) -> list[str]:
        """Return ssh's options, without those that share the connection."""
        own = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
        own += ["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]
        if self.ssh_config:
            own += ["-F", str(expanded(self.ssh_config))]
        if self.identity_file:
            own += ["-i", str(expanded(self.identity_file)), "-o", "IdentitiesOnly=yes"]
        if self.port:
            own += ["-p", str(self.port)]
        if self.username:
            own += ["-l", self.username]
        return own

    def _shared(self) -> list[str]:
        sharing = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", f"ControlPath={_sockets()}/%C"]
        return [*self.options(), *sharing]

    def argv(self, command: Sequence[str]) -> list[str]:
        """See :class:`Host`."""
        return ["ssh", *self._shared(), "-T", "--", self.address, shlex.join(command)]

    def run(self, command: Sequence[str], *, given: bytes = b"", seconds: float = 60) -> Completed:
        """See :class:`Host`."""
        done = _run(self.argv(command), given, seconds, self.label)
        if done.code == _SSH_FAILED:
            raise EnvironmentProblem(unreachable(self.label, done.error))
        return done

    def put(self, folder: Path, files: Iterable[str], target: str, *, links: bool = True) -> None:
        """See :class:`Host`."""
        checked(script(self, 'mkdir -p -- "$1"', target), f"making {target}", self.label)
        self._rsync(f"{folder}/", f"{self._host()}:{target}/", files, links=links)

    def get(self, source: str, files: Iterable[str], target: Path) -> None:
        """See :class:`Host`."""
        target.mkdir(parents=True, exist_ok=True)
        self._rsync(f"{self._host()}:{source}/", f"{target}/", files)

    def _host(self) -> str:
        return f"[{self.address}]" if ":" in self.address else self.address

    def _rsync(self, source: str, target: str, files: Iterable[str], *, links: bool = True) -> None:
        shell = shlex.join(["ssh", *self._shared()])
        command = [
            "rsync",
            "-rltp" if links else "-rLtp",
            "--partial",
            "--protect-args",
            "--files-from=-",
            "--from0",
            "-e",
            shell,
        ]
        listed = b"\0".join(os.fsencode(name) for name in files)
        done = _run([*command, "--", source, target], listed, None, self.label)
        if done.code == _SSH_FAILED:
            raise EnvironmentProblem(unreachable(self.label, done.error))
        checked(done, "copying files with rsync", self.label)


def unreachable(label: str, error: str) -> str:
    """Return what ssh's complaint means, in one line."""
    lines = [line for line in error.strip().splitlines() if line.strip(" @-")]
    said = lines[-1].strip() if lines else "the connection failed"
    remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in error.lower()), "try: ssh " + label)
    return f"{label} cannot be reached ({said}); {remedy}."


def _run(command: list[str], given: bytes, seconds: float | None, label: str) -> Completed:
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=seconds, check=False)
    except OSError as problem:
        raise _missing(command[0], problem) from None
    except subprocess.TimeoutExpired:
        raise EnvironmentProblem(
            f"{label} did not answer within {seconds:.0f} s: check its load and network."
        ) from None
    return Completed(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def _missing(command: str, problem: OSError) -> EnvironmentProblem:
    if isinstance(problem, FileNotFoundError):
        return EnvironmentProblem(f"the command '{command}' is missing on this machine: install it.")
    return EnvironmentProblem(f"the command '{command}' cannot be run on this machine: {problem}.")


def expanded(path: str) -> Path:
    """Return a path of this machine with ``~`` replaced.

    Raises:
        SettingsError: it names a user that does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise SettingsError(f"{path}: there is no such user on this machine; write the path in full.") from None


def started(pid: int) -> str:
    """Return when a process of this machine was started, or nothing if there is none.

    With its number it names one process; numbers alone are used again.
    """
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _sockets() -> Path:
    """Return the folder for shared connections: short, because a socket's path has at most about 100 characters."""
    folder = Path(tempfile.gettempdir()) / f"wf-ssh-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.stat()
    if about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise EnvironmentProblem(f"{folder} must belong to you alone: remove it and try again.")
    return folder


def _copy(folder: Path, files: Iterable[str], target: Path, *, links: bool = True) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / name, target / name, follow_symlinks=not links)
