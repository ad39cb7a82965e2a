"""Follow a job to its end: its console live, its way to the tracking server open, its run ended as it ended.

Nothing here has to live for the job to go on. Whoever follows next begins with the log on the target.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.targets.contract import Job, Launcher
from workload_forecast.targets.history import CANCELLED, CODE, LOG, REASON, TAG, end
from workload_forecast.targets.hosts import SshHost, checked, script
from workload_forecast.targets.tracking import Tunnel

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

POLL_SECONDS = 1.0
#: How often the run shows the log so far, and how often a silent job is asked after.
UPLOAD_SECONDS = 30.0
STATE_SECONDS = 5.0
#: How long a lost connection is tried again before the follower gives up; the job goes on.
PATIENCE_SECONDS = 600.0

#: How much of the console is fetched at once.
CHUNK_BYTES = 2**22

_POLL = f"""
cd "$1" 2>/dev/null || exit 0
# read before the log, so that the log is whole when the end is known
[[ -e exit ]] && echo "exit $(cat exit)" || echo running
tail -c "+$(($2 + 1))" log 2>/dev/null | head -c {CHUNK_BYTES}
"""
_NEW_FILES = 'cd "$1" 2>/dev/null && find . -type f -newer "$2" -not -path "*/.*" -print0'


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    status: str
    code: int | None
    reason: str


@dataclass
class Follower:
    """Follows one job; ``write`` gets what the job writes to its console."""

    client: MlflowClient
    job: Job
    launcher: Launcher
    write: Callable[[bytes], object]
    say: Callable[[str], None]
    tunnel: Tunnel | None = None
    _offset: int = 0
    _lost_since: float = 0.0
    _asked: float = 0.0

    def follow(self) -> Outcome:
        """Follow to the end, end the run, bring results and console back, and clean up.

        Raises:
            EnvironmentProblem: the connection stayed lost; the job may go on and can be followed again.
        """
        tunnel = self.tunnel = self.tunnel or self._tunnel()
        with tempfile.TemporaryDirectory(prefix="wf-log-") as folder:
            console = Path(folder) / LOG
            try:
                code, reason = self._watch(console, tunnel)
                return self._finish(console, code, reason)
            finally:
                if tunnel:
                    tunnel.close()

    def finish_if_ended(self) -> Outcome | None:
        """Do what :meth:`follow` does at the end if the job has ended, else nothing."""
        with tempfile.TemporaryDirectory(prefix="wf-log-") as folder:
            console = Path(folder) / LOG
            with console.open("wb") as log:
                self.write = log.write
                before, ended = -1, None
                while ended is None and self._offset > before:
                    before, ended = self._offset, self.poll(impatient=True)
            return self._finish(console, *ended) if ended else None

    def cancel(self) -> Outcome:
        """End the job and its run, which ends as KILLED.

        Raises:
            EnvironmentProblem: the target cannot be reached.
        """
        # before the job ends, because somebody else may be following it
        self.client.set_tag(self.job.run_id, CANCELLED, f"{getpass.getuser()}@{socket.gethostname()}")
        try:
            self.launcher.cancel(self.job)
        except EnvironmentProblem:
            self.client.delete_tag(self.job.run_id, CANCELLED)
            raise
        return self.follow()

    def poll(self, *, impatient: bool = False) -> tuple[int | None, str] | None:
        """Return exit code and reason if the job has ended, else None; passes on what it has written since.

        ``impatient`` asks after the process or container at once, rather than every few seconds.
        """
        code, wrote = self._read()
        if code is not None:
            return code, ""
        if not impatient and (wrote or time.monotonic() - self._asked < STATE_SECONDS):
            return None
        self._asked = time.monotonic()
        state = self.launcher.state(self.job)
        if state.running:
            return None
        code, wrote = self._read()  # it may have ended between the two questions
        while code is None and wrote:
            code, wrote = self._read()
        return (state.exit_code, state.reason or "the job disappeared") if code is None else (code, "")

    def _read(self) -> tuple[int | None, int]:
        """Pass on what the job has written since; return its exit code, once all is read, and how much there was."""
        first, _, rest = script(self.launcher.host, _POLL, self.job.folder, str(self._offset)).raw.partition(b"\n")
        if rest:
            self._offset += len(rest)
            self.write(rest)
        code = first.removeprefix(b"exit ").strip()
        done = code.isdigit() and len(rest) < CHUNK_BYTES  # the file is there before there is a number in it
        return int(code) if done else None, len(rest)

    def _watch(self, console: Path, tunnel: Tunnel | None) -> tuple[int | None, str]:
        shown, uploaded = self.write, time.monotonic()
        with console.open("ab") as log:

            def both(text: bytes) -> None:
                log.write(text)
                log.flush()
                shown(text)

            self.write = both
            try:
                while True:
                    ended = self._patiently(tunnel)
                    if ended:
                        return ended
                    if time.monotonic() - uploaded > UPLOAD_SECONDS:
                        self._keep(console)
                        uploaded = time.monotonic()
                    time.sleep(POLL_SECONDS)
            finally:
                self.write = shown

    def _patiently(self, tunnel: Tunnel | None) -> tuple[int | None, str] | None:
        try:
            if tunnel:
                tunnel.open()
            ended = self.poll()
        except EnvironmentProblem as problem:
            now = time.monotonic()
            if not self._lost_since:
                self._lost_since = now
                self.say(f"connection lost, trying again: {problem}")
            if now - self._lost_since > PATIENCE_SECONDS:
                raise EnvironmentProblem(
                    f"{problem} The job may go on there: workload-forecast logs -f {self.job.run_id}"
                ) from None
            return None
        if self._lost_since:
            self.say("connected again")
            self._lost_since = 0.0
        return ended

    def _finish(self, console: Path, code: int | None, reason: str) -> Outcome:
        run = self.client.get_run(self.job.run_id)
        if REASON in run.data.tags:  # somebody else has followed it to its end
            return kept_outcome(run)
        cancelled = run.data.tags.get(CANCELLED)
        if cancelled:
            outcome = Outcome("KILLED", code, f"cancelled by {cancelled}")
        elif code == 0:
            outcome = Outcome("FINISHED", 0, "finished")
        else:
            why = reason or ("" if code is None else self.launcher.explain(self.job, code))
            outcome = Outcome("FAILED", code, why or f"exit code {code}")
        self._keep(console)
        if outcome.status == "FINISHED" and run.info.status == "FAILED":
            outcome = Outcome("FAILED", code, "the program ended its run as failed")
        self._fetch()
        end(self.client, self.job.run_id, status=outcome.status, code=outcome.code, reason=outcome.reason)
        self._clean()
        return outcome

    def _keep(self, console: Path) -> None:
        """Keep the console so far with the run, and what it tells."""
        if not console.stat().st_size:
            return
        self.client.log_artifact(self.job.run_id, str(console))
        for name, value in self.launcher.learnt(console.read_text(errors="replace")).items():
            self.client.set_tag(self.job.run_id, TAG + name, value)

    def _fetch(self) -> None:
        """Bring back what the job has left in its results' home."""
        job, host = self.job, self.launcher.host
        wanted = job.configuration.fetch_results
        if host.local or not (wanted is True or (wanted == "auto" and self.launcher.contained)):
            return
        found = script(host, _NEW_FILES, job.home_source, f"{job.folder}/runner.sh", seconds=300)
        checked(found, "looking for results", host.label)
        files = [os.fsdecode(name) for name in found.raw.split(b"\0") if name]
        if files:
            self.say(f"results: {len(files)} files from {host.label} to {job.local_home}")
            host.get(job.home_source, files, Path(job.local_home))

    def _clean(self) -> None:
        host = self.launcher.host
        try:
            self.launcher.clean(self.job)
            checked(script(host, 'rm -rf -- "$1"', self.job.folder), "cleaning up", host.label)
        except EnvironmentProblem as problem:  # the run has ended, and well or not does not depend on this
            self.say(f"left {self.job.folder} on {host.label}: {problem}")

    def _tunnel(self) -> Tunnel | None:
        if not self.job.remote_port:
            return None
        assert isinstance(self.launcher.host, SshHost)
        return Tunnel(self.launcher.host, self.client.tracking_uri, self.job.remote_port)


def kept_outcome(run: Run) -> Outcome:
    """Return how a run ended, as it keeps it."""
    code = run.data.tags.get(CODE, "")
    return Outcome(run.info.status, int(code) if re.fullmatch(r"-?\d+", code) else None, run.data.tags[REASON])
