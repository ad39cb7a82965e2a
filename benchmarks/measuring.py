"""``python -m benchmarks.measuring LOG COMMAND…``: run a command and print what it cost, with all that it started.

This process adopts whatever the command leaves behind (Linux calls it a subreaper), so that a JVM or a Python worker
that outlives the command's first process is still counted. It is a process of its own because of that.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from workload_forecast.errors import EnvironmentProblem

ROOT = Path(__file__).parents[1]

#: Seconds between two looks at the memory, and that whatever outlives the command is given to end by itself.
LOOK_EVERY_S, END_S = 0.05, 10.0

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Usage:
    """What a command cost.

    Attributes:
        wall_s: from its start to the end of its first process.
        cpu_s: processor time, user and system, of all its processes.
        peak_mb: greatest memory of all its processes together, 10⁶ bytes: what belongs to them, without the mapped
            pages of files, which the kernel may drop whenever it likes. Pages that forked processes share count for
            each of them. It is looked at :data:`LOOK_EVERY_S` apart, so what is shorter may be missed.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Usage:
    """Run ``command`` in ``folder``, wait for it and return what it cost.

    Raises:
        EnvironmentProblem: it failed; ``log`` has what it said.
    """
    own = [sys.executable, "-m", "benchmarks.measuring", str(log), *command]
    path = {**environment, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(own, env=path, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    if found.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2] if log.exists() else ""
        raise EnvironmentProblem(f"'{' '.join(command)}' failed ({last}): see {log}.")
    return Usage(**json.loads(found.stdout))


def supervise(command: Sequence[str], log: Path) -> tuple[int, Usage]:
    """Run ``command`` as a child of this process; return its exit status and what it cost."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this system cannot count the processes that outlive their parents")
    memory = _Memory()
    with log.open("wb") as out:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        memory.start()
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu_s = used.ru_utime + used.ru_stime + _reap_the_rest()
    memory.finish()
    return process.returncode, Usage(round(wall_s, 3), round(cpu_s, 3), round(memory.peak_bytes / 1e6, 1))


def _reap_the_rest() -> float:
    """Wait for what the command has left behind, kill it if it stays, and return its processor time, s."""
    cpu_s, limit = 0.0, time.monotonic() + END_S
    while True:
        try:
            pid, _, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return cpu_s
        if pid:
            cpu_s += used.ru_utime + used.ru_stime
        elif time.monotonic() > limit:
            for child in children(os.getpid()):
                os.kill(child, signal.SIGKILL)
        else:
            time.sleep(LOOK_EVERY_S)


class _Memory(threading.Thread):
    """Looks at the memory of this process's descendants until it is told to finish."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self.peak_bytes = max(self.peak_bytes, sum(map(own_bytes, descendants(os.getpid()))))

    def finish(self) -> None:
        self._ended.set()
        self.join()


def children(pid: int) -> list[int]:
    """Return the processes that any thread of a process has started; none if it has ended."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, thread.read_text(encoding="ascii").split())
        except OSError:  # ended meanwhile
            continue
    return found


def descendants(pid: int) -> list[int]:
    """Return the children of a process, and theirs."""
    found = children(pid)
    for child in found:  # grows while it is walked
        found += children(child)
    return found


def own_bytes(pid: int) -> int:
    """Return the resident memory of a process without pages of files; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem") if name in fields)


if __name__ == "__main__":
    code, usage = supervise(sys.argv[2:], Path(sys.argv[1]))
    print(json.dumps(asdict(usage)))
    sys.exit(code)
