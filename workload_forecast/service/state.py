"""What is served now: one snapshot, replaced in one step while requests go on with the one that they have.

A thread looks at the notes of the exchange about once a second and loads what is new. What fails to load is
remembered, told in ``/health``, the metrics and the log, and tried again later; the old one stays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

import polars as pl

from workload_forecast.errors import WorkloadForecastError
from workload_forecast.service.exchange import Exchange, FollowerState, ServedHistory, ServedModel
from workload_forecast.service.fleet import History, prepare_fleet, read_history
from workload_forecast.service.logs import LOGGER
from workload_forecast.service.metrics import Metrics
from workload_forecast.serving.forecaster import Forecaster, Scored
from workload_forecast.serving.history import Prepared

#: Seconds between two looks at the notes, and before something that failed is tried again.
LOOK_EVERY_S = 1.0
RETRY_AFTER_S = 10.0

#: Errors that a file of the wrong kind, or one that is gone, can cause.
_BROKEN = (WorkloadForecastError, OSError, ValueError, pl.exceptions.PolarsError)

Note = TypeVar("Note", ServedModel, ServedHistory)
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Snapshot:
    """Everything that one answer is made of."""

    model: ServedModel | None = None
    forecaster: Forecaster | None = None
    served: ServedHistory | None = None
    history: History | None = None
    prepared: Prepared | None = None  #: of the whole fleet, from the first hour that is not known
    scored: Scored | None = None  #: what the model says of these rows; None until it was asked, after they are served


class Holder:
    """Holds the current snapshot and follows the exchange."""

    def __init__(self, exchange: Path, metrics: Metrics) -> None:
        self.current = Snapshot()
        self.follower: FollowerState | None = None
        self.problems: dict[str, str] = {}  #: ``model``, ``history`` or ``follower`` → what is wrong with the newest
        self._exchange, self._metrics = Exchange(exchange), metrics
        self._retry: dict[str, tuple[object, float]] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="exchange", daemon=True)

    def start(self) -> None:
        """Begin to follow; returns at once, before anything is loaded."""
        self._thread.start()

    def stop(self) -> None:
        """End; a load that is under way is left to end with the process."""
        self._ending.set()
        self._thread.join(timeout=2.0)

    def refresh(self) -> None:
        """Look at the notes once, and load what is new."""
        self._look_at_follower()
        before = self.current
        model = self._note("model", self._exchange.model)
        history = self._note("history", self._exchange.history)
        after = before
        if model and model != before.model:
            after = self._attempt("model", model, lambda: self._with_model(after, model)) or after
        if history and history != after.served:
            after = self._attempt("history", history, lambda: self._with_history(after, history)) or after
        if after is not before:
            self.current = after  # one assignment: a request sees the old snapshot or the new one
            self._tell(before, after)
            if after.forecaster and after.prepared:
                # seconds for thousands of servers; until then each request asks the model itself
                self.current = replace(after, scored=after.forecaster.score_prepared(after.prepared))

    def _follow(self) -> None:
        while not self._ending.is_set():
            try:
                self.refresh()
            except Exception:  # noqa: BLE001  # a defect must not end the following; the old snapshot is served on
                LOGGER.exception("following the exchange failed")
            self._ending.wait(LOOK_EVERY_S)

    def _note(self, what: str, read: Callable[[], Note | None]) -> Note | None:
        try:
            note = read()
        except WorkloadForecastError as problem:
            self._failed(what, str(problem), count=what not in self.problems)
            return None
        if note is None or note == getattr(self.current, "model" if what == "model" else "served"):
            self.problems.pop(what, None)
        return note

    def _look_at_follower(self) -> None:
        try:
            self.follower = self._exchange.follower()
            self.problems.pop("follower", None)
        except WorkloadForecastError as problem:
            self.problems["follower"] = str(problem)
        if self.follower:
            self._metrics.follower_failing.set(bool(self.follower.problem))
            self._metrics.follower_checked.set(_seconds(self.follower.checked))

    def _attempt(self, what: str, note: object, load: Callable[[], Loaded]) -> Loaded | None:
        failed, again = self._retry.get(what, (None, 0.0))
        if note == failed and time.monotonic() < again:
            return None
        try:
            loaded = load()
        except _BROKEN as problem:
            self._retry[what] = (note, time.monotonic() + RETRY_AFTER_S)
            self._failed(what, " ".join(str(problem).split())[:500], count=True)
            return None
        self.problems.pop(what, None)
        self._metrics.loads.labels(what).inc()
        return loaded

    def _failed(self, what: str, text: str, *, count: bool) -> None:
        if self.problems.get(what) != text:
            LOGGER.error("the newest %s cannot be served: %s", what, text)
        self.problems[what] = text
        if count:
            self._metrics.load_failures.labels(what).inc()

    def _with_model(self, now: Snapshot, note: ServedModel) -> Snapshot:
        forecaster = Forecaster.load(self._exchange.folder / note.path)
        prepared = now.prepared
        if now.history and (
            now.forecaster is None
            or prepared is None
            or now.forecaster.scorer.facts.rows != forecaster.scorer.facts.rows
        ):
            prepared = prepare_fleet(forecaster, now.history)
        _warm(forecaster, prepared)
        # the rows depend on the history and on how the model reads missing hours, on nothing else of it
        return replace(now, model=note, forecaster=forecaster, prepared=prepared, scored=None)

    def _with_history(self, now: Snapshot, note: ServedHistory) -> Snapshot:
        history = read_history(self._exchange.folder / note.path)
        if note.oldest:  # single rows from before say that a server was there; nothing can be forecast from them
            history = replace(history, oldest=max(history.oldest, datetime.fromisoformat(note.oldest)))
        prepared = prepare_fleet(now.forecaster, history) if now.forecaster else None
        _warm(now.forecaster, prepared)
        return replace(now, served=note, history=history, prepared=prepared, scored=None)

    def _tell(self, before: Snapshot, after: Snapshot) -> None:
        if after.model and after.model != before.model:
            self._metrics.model.clear()
            self._metrics.model.labels(after.model.name, after.model.version, after.model.run_id).set(1)
            LOGGER.info("model %s version %s is served", after.model.name, after.model.version)
        if after.history and after.history is not before.history:
            newest = after.history.newest
            self._metrics.history_newest.set(newest.replace(tzinfo=timezone.utc).timestamp())
            LOGGER.info("hourly load of %d servers up to %s is served", len(after.history.servers), newest)


def _warm(forecaster: Forecaster | None, prepared: Prepared | None) -> None:
    """Answer once, so that the first request does not pay for what libraries put off until they are used."""
    if forecaster and prepared:
        forecaster.decide_prepared(prepared, list(prepared.servers)[:1], prepared.start)


def _seconds(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
