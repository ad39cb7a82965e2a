"""``follow``: champion, newest hourly load and report into the exchange, for as long as the service runs.

The service knows neither MLflow nor a storage: this process looks every few seconds, and what it cannot find or load
never replaces what is served. It does not end by itself: a registry that is away is asked again.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import NoReturn

from workload_forecast.config import PASSWORD_IN_URL, SECRET_IN_TEXT, Settings
from workload_forecast.errors import EnvironmentProblem, WorkloadForecastError
from workload_forecast.progress import Progress
from workload_forecast.service.exchange import Exchange, FollowerState
from workload_forecast.steps.served_history import HistorySource
from workload_forecast.steps.served_model import SCRATCH, ModelSource
from workload_forecast.steps.served_report import ReportSource
from workload_forecast.storage.locks import Lock

#: Seconds between two looks at hourly load and report, which change when a run has ended: hardly once an hour.
HISTORY_INTERVAL_S = 30.0

#: After failures the next look comes later and later, but not later than this.
LONGEST_WAIT_S = 30.0

#: MLflow's own patience is minutes; ours is the next look.
_IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

_LONGEST_PROBLEM = 400
_ENDS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class FollowOptions:
    """What to follow, and where to put it.

    Attributes:
        exchange: the folder; made where it is missing.
        settings: of the profile whose hourly load is served.
        home: of the results on this machine.
        model: name of the registered model.
        alias: of the version that is served.
        history: a folder with hourly load, instead of what the ETL has made.
        interval_s: seconds between two looks at the registry.
        parent: the process whose end ends this one, too; None: none does.
    """

    exchange: Path
    settings: Settings
    home: Path
    model: str
    alias: str
    history: Path | None = None
    interval_s: float = 5.0
    parent: int | None = None


def run_follow(options: FollowOptions) -> None:
    """Follow until SIGTERM or SIGINT comes, or the parent is gone.

    Raises:
        EnvironmentProblem: the exchange cannot be written at all.
    """
    for name, value in _IMPATIENT.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "urllib3"):  # what is wrong is said once, by us
        logging.getLogger(name).setLevel(logging.ERROR)
    for number in _ENDS:
        signal.signal(number, _end)
    if options.parent is not None:
        threading.Thread(target=_end_with, args=(options.parent,), daemon=True).start()
    progress = Progress()
    try:
        own_exchange(options.exchange, progress)
        Follower(options, progress).run()
    except SystemExit:
        # the looks may be in the middle of a download that nobody waits for any more
        _sweep(options.exchange)
        os._exit(0)


def own_exchange(folder: Path, progress: Progress) -> None:
    """Make the exchange ours for as long as this process lives, and remove what a follower that was killed has left.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise EnvironmentProblem(f"the exchange {folder} cannot be made: {problem.strerror}.") from None
    waiting = f"follower: waiting, because another one writes into {folder}"
    Lock(folder / "follower.lock", lambda: progress.stage(waiting)).own()
    _sweep(folder)


def _sweep(folder: Path) -> None:
    for path in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(path, ignore_errors=True)


class Follower:
    """Looks at registry, hourly load and report, each as often as it is due; what is wrong with them is said and kept.

    Each has a thread of its own: a storage that does not answer is waited for for minutes, a promotion is not.
    """

    def __init__(self, options: FollowOptions, progress: Progress) -> None:
        self.exchange = Exchange(options.exchange)
        self._interval, self._say = options.interval_s, progress.say
        model = ModelSource(self.exchange, options.model, options.alias, progress.say)
        history = HistorySource(self.exchange, options.settings, options.home, options.history, progress)
        report = ReportSource(self.exchange, options.model, options.home, progress.say)
        seldom = max(options.interval_s, HISTORY_INTERVAL_S)
        self._looks = (
            Look("model", model.look, options.interval_s, progress.say),
            Look("history", history.look, seldom, progress.say),
            Look("report", report.look, seldom, progress.say),
        )
        self._state, self._telling = Look("exchange", self._tell, 0.0, progress.say), threading.Lock()

    def run(self) -> NoReturn:
        """Look again and again, in threads; this one is for the signals."""
        self._once(self._looks[0])  # alone: what MLflow imports when it is first used is not made for two threads
        for look in self._looks:
            threading.Thread(target=self._follow, args=(look,), name=look.what, daemon=True).start()
        while True:
            time.sleep(3600.0)

    def look(self) -> None:
        """Look once at everything that is due, and tell the service how it went."""
        for look in self._looks:
            self._once(look)

    def _follow(self, look: Look) -> NoReturn:
        while True:
            time.sleep(max(0.0, look.due - time.monotonic()))
            self._once(look)

    def _once(self, look: Look) -> None:
        look.once()
        with self._telling:
            self._state.once()

    def _tell(self) -> None:
        problem = "; ".join(f"{look.what}: {look.problem}" for look in self._looks if look.problem)
        self.exchange.put_follower(FollowerState(datetime.now(timezone.utc).isoformat(timespec="seconds"), problem))


class Look:
    """Something that is looked at again and again, whatever comes of it.

    Args:
        what: it is, for messages.
        act: looks; raises if something is wrong.
        interval_s: between two looks that went well.
        say: is told what is wrong, when it is another thing than before, and when it is over.
    """

    def __init__(self, what: str, act: Callable[[], None], interval_s: float, say: Callable[[str], None]) -> None:
        self.what, self.due, self.problem = what, 0.0, ""
        self._act, self._interval, self._say, self._failures = act, interval_s, say, 0

    def once(self) -> None:
        """Look, if it is time to."""
        if time.monotonic() < self.due:
            return
        wait = self._interval
        try:
            self._act()
        except Exception as problem:  # noqa: BLE001 — whatever it is, the service goes on and so do we
            text = in_one_line(problem)
            if text != self.problem:
                self._say(f"follower: {self.what}: {text}")
            self.problem = text
            wait = min(wait * 2**self._failures, max(wait, LONGEST_WAIT_S))
            self._failures = min(self._failures + 1, 10)
        else:
            if self.problem:
                self._say(f"follower: {self.what}: all is well again")
            self.problem, self._failures = "", 0
        self.due = time.monotonic() + wait


def in_one_line(problem: Exception) -> str:
    """Return what an error says, short and without a credential: everybody may read the service's health."""
    kind = "" if isinstance(problem, WorkloadForecastError) else f"{type(problem).__name__}: "
    text = PASSWORD_IN_URL.sub("://", " ".join(f"{kind}{problem}".split()))
    if SECRET_IN_TEXT.search(text):
        text = re.sub(r"[?;]\S+", "?…", text)
    return text if len(text) <= _LONGEST_PROBLEM else f"{text[:_LONGEST_PROBLEM]}…"


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in _ENDS:  # once is enough: a second one would break off the tidying up
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def _end_with(parent: int) -> None:
    """End this process when it has another parent than at first, which is how a parent's death shows."""
    while os.getppid() == parent:
        time.sleep(1.0)
    with suppress(ProcessLookupError):
        os.kill(os.getpid(), signal.SIGTERM)
