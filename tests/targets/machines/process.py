"""What every machine is made of: a server started in the foreground, waited for, and stopped by its process id."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

INSTALL = Path(__file__).with_name("install.sh")


class MachineError(RuntimeError):
    """A machine cannot be built or does not answer. Never a reason to skip: the suite is about these machines."""


def require(*commands: str) -> None:
    """Fail with the remedy when this is not root's machine or one of the commands is not installed."""
    if os.geteuid() != 0:
        raise MachineError("The target tests start an engine and an SSH server with a user: run them as root.")
    missing = [command for command in commands if not which(command)]
    if missing:
        raise MachineError(f"Not installed: {', '.join(missing)}. Run `{INSTALL}` as root, then the tests again.")


def which(command: str) -> str | None:
    """Like the shell's, but with the folders of root's commands, which not every PATH has."""
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")


def check(command: Sequence[str], environment: Mapping[str, str] | None = None, timeout: float = 600) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode:
        raise MachineError(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port() -> int:
    """A port of the loopback that nobody listens on now.

    It is below those that Linux hands out by itself: what is started on it may need seconds until it listens, and
    suites run beside one another.
    """
    for port in random.sample(range(20_000, 32_768), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise MachineError("100 ports of the loopback are taken.")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def fetch(url: str) -> bytes | None:
    """The body, or None while nobody answers. Past any proxy: the machines are on the loopback."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, OSError):
        return None


@contextmanager
def short_folder(topic: str) -> Iterator[Path]:
    """A folder that every user can read, with a path short enough for sockets, gone afterwards.

    pytest's own folders are neither: they are closed to other users, and a socket's path has at most 107 characters.
    """
    remove_what_was_left()
    folder = Path(tempfile.mkdtemp(prefix=f"wf-{topic}-{os.getpid()}-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        unmount_below(folder)
        shutil.rmtree(folder)


def remove_what_was_left() -> None:
    """Remove the folders of suites that were killed: an engine's has gigabytes, and nobody else would."""
    for folder in Path("/tmp").glob("wf-*-*-*"):
        pid = folder.name.split("-")[2]
        if pid.isdigit() and not Path("/proc", pid).exists() and folder.stat().st_uid == os.geteuid():
            unmount_below(folder)
            shutil.rmtree(folder)


def unmount_below(folder: Path) -> None:
    """Release what an engine that was killed has left mounted, the innermost first."""
    points = [Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in sorted((p for p in points if p.is_relative_to(folder)), reverse=True):
        check(["umount", "--lazy", str(point)])


@dataclass(frozen=True)
class ProcessEntry:
    """One line of the process table."""

    pid: int
    parent: int
    name: str
    uid: int


def processes() -> list[ProcessEntry]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name, rest = (entry / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            state, parent = rest.split()[:2]
            uid = entry.stat().st_uid
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        if state != "Z":
            found.append(ProcessEntry(int(entry.name), int(parent), name, uid))
    return found


def descendants(pid: int) -> list[ProcessEntry]:
    """The children of a process, their children and so on; the process itself is not among them."""
    table = processes()
    found: list[ProcessEntry] = []
    parents = {pid}
    while parents:
        children = [entry for entry in table if entry.parent in parents]
        found += children
        parents = {entry.pid for entry in children}
    return found


def kill(*pids: int) -> None:
    """End processes at once, whether or not they are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@dataclass
class Server:
    """A command that runs in the foreground until it is stopped.

    Args:
        name: for messages.
        command: its program's absolute path first.
        log: gets what the command prints; kept over restarts.
        ready: whether the server answers; asked until it does.
        user: who runs it; root when not given.
        stop_timeout: seconds that it has to end by itself, before it and its children are killed.
        stop_signal: what asks it to end.
    """

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] | None = None
    user: str | None = None
    start_timeout: float = 120
    stop_timeout: float = 20
    stop_signal: signal.Signals = signal.SIGTERM
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise MachineError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, wait: bool = True) -> None:
        """Start the command; it is told to end when the tests are killed, so that nothing stays behind."""
        if self.running:
            raise MachineError(f"{self.name} is running already")
        prefix = ["setpriv", "--pdeathsig", self.stop_signal.name.removeprefix("SIG")]
        if self.user:
            prefix += ["--reuid", self.user, "--regid", self.user, "--init-groups"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *self.command],
                env=self.environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        end = time.monotonic() + self.start_timeout
        while not self.ready():
            if not self.running or time.monotonic() > end:
                what = "did not answer in time" if self.running else "ended at its start"
                self.stop()
                raise MachineError(f"{self.name} {what}. The end of {self.log}:\n{self.tail()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask it to end, then kill what is left of it and of its children; nothing to do when it does not run."""
        if self._process is None:
            return
        children = [entry.pid for entry in descendants(self._process.pid)]
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        kill(*children)
        self._process = None

    def crash(self, children: bool = True) -> None:
        """End it without a warning, with its children as a machine does that loses power, or without them."""
        if self._process is not None:
            below = [entry.pid for entry in descendants(self._process.pid)] if children else []
            kill(self._process.pid, *below)
            self._process.wait()
            self._process = None

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
