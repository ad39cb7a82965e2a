"""``serve``: the service in this process, and its follower in another one beside it.

The service imports neither MLflow nor a storage's client, so that it is ready within seconds and small; the follower
needs both. What the follower says goes to this process's standard error.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from workload_forecast.progress import Progress
from workload_forecast.service.keys import Keys
from workload_forecast.service.options import ServiceOptions

#: A follower that ended without being told to is started again, at first soon, then more and more slowly.
FIRST_RESTART_S, LONGEST_RESTART_S = 1.0, 60.0

#: A follower that does not end when it is told to (a download hangs) is killed after this.
END_S = 5.0


def run_serve(options: ServiceOptions, follow: Sequence[str] | None) -> None:
    """Serve until SIGTERM or SIGINT comes.

    Args:
        options: of the service; the file of the keys need not be there yet.
        follow: arguments of the follower; None: it runs elsewhere.

    Raises:
        SettingsError: the key file is none.
        EnvironmentProblem: the port is taken.
    """
    progress = Progress()
    if not Keys(options.keys).all():
        progress.say(
            f"serve: {options.keys} has no keys: every request is answered 401 until you make one with "
            f"`workload-forecast keys create NAME --keys {options.keys}`; nothing has to be started again"
        )
    with follower(follow, progress) if follow is not None else nullcontext():
        from workload_forecast.service.run import run_service

        run_service(options)


@contextmanager
def follower(arguments: Sequence[str], progress: Progress) -> Iterator[None]:
    """Keep a follower running beside this process; it ends with the block, and with this process however that ends."""
    command = [sys.executable, "-m", "workload_forecast", "follow", *arguments, "--parent", str(os.getpid())]
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(command, over, progress), name="follower", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _keep(command: Sequence[str], over: threading.Event, progress: Progress) -> None:
    """Start the follower, and again whenever it ends, until it is over."""
    wait = FIRST_RESTART_S
    while not over.is_set():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        while not over.wait(0.2):
            if process.poll() is not None:
                progress.say(f"serve: the follower ended ({process.returncode}); starting it again in {wait:g} s")
                break
        else:
            _end(process)
            return
        over.wait(wait)
        wait = min(2 * wait, LONGEST_RESTART_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
