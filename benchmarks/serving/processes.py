"""Real processes: started, waited for, looked at, ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workload_forecast.errors import EnvironmentProblem

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[2]

#: Seconds between two looks whether a server is ready, and until one that was told to end is killed.
LOOK_EVERY_S, END_S = 0.005, 20.0


@dataclass(frozen=True)
class Server:
    """A process that answers."""

    pid: int
    port: int
    ready_s: float  #: from its start to the first 200 of its health path

    @property
    def url(self) -> str:
        """Without a path."""
        return f"http://{HOST}:{self.port}"

    @property
    def children(self) -> list[int]:
        """Processes that it has started, by any of its threads."""
        lists = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [int(child) for one in lists for child in one.read_text(encoding="ascii").split()]

    @property
    def memory_mb(self) -> float:
        """Resident memory, 10⁶ bytes, of this process without its children."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def running(
    arguments: Sequence[str], port: int, health: str, environment: Mapping[str, str], log: Path, limit_s: float = 180.0
) -> Iterator[Server]:
    """Run ``python -m ARGUMENTS`` until the block ends; it is entered when ``health`` is answered 200.

    Raises:
        EnvironmentProblem: the process ended, or is not ready in time; ``log`` has what it said.
    """
    with log.open("ab") as out:
        begun = time.perf_counter()
        # a session of its own, so that what it starts ends with it
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            cwd=log.parent, start_new_session=True,
        )  # fmt: skip
        try:
            while not _answers(port, health):
                if process.poll() is not None or time.perf_counter() - begun > limit_s:
                    raise EnvironmentProblem(f"{arguments[0]} did not become ready: see {log}.")
                time.sleep(LOOK_EVERY_S)
            yield Server(process.pid, port, time.perf_counter() - begun)
        finally:
            _end(process)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Tell the process and what it started to end, and see that they do."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
