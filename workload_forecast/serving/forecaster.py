"""The answer for every server and hour that was asked for: class, probabilities, confidence, and whose answer it is.

============  ==========================================================================================
source        when, and what
============  ==========================================================================================
``model``     a load of the week that ends 48 hours before the hour is known (or, for a model that goes by the
              expected load, that load): the model's answer
``baseline``  the model's training found a naive forecast to be clearly better on this server: its class, with the
              shares that it had there. Or nothing of the above is known, but a load at the same time of the day is
              (of the last 33 days, before the start): its class, with the shares of the model's test rows
``none``      neither is: the server is unseen, or too new for this hour. Or the training found that nothing tells
              this server's class (:mod:`workload_forecast.sources`). Class, probabilities and confidence are null
============  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workload_forecast.errors import ModelError
from workload_forecast.schemas import (
    EXPECTED_ERROR,
    EXPECTED_FEATURES,
    EXPECTED_LOAD,
    FEATURE_NAMES,
    HORIZON_HOURS,
    KNOWN_FEATURES,
    LAG_HOURS,
    TRAILING_HOURS,
)
from workload_forecast.serving.asked import ask, checked_hours, once
from workload_forecast.serving.facts import Facts
from workload_forecast.serving.history import Prepared, prepare
from workload_forecast.serving.saved_trees import Doubles, Integers
from workload_forecast.serving.scorer import Scorer
from workload_forecast.sources import BASELINE, MODEL, NAIVE_FORECASTS, NONE

SOURCES = (MODEL, BASELINE, NONE)
#: Beside the positions of :data:`SOURCES`: nothing was said of the row yet.
_OPEN = -1

#: Features that are known if any load of the week before the horizon is.
RECENT_FEATURES = tuple(
    name
    for name in FEATURE_NAMES
    if name not in {*KNOWN_FEATURES, *EXPECTED_FEATURES, "observed_hours_7d"}
    and name not in {f"total_load_lag_{k}h" for k in LAG_HOURS if k >= HORIZON_HOURS + TRAILING_HOURS["7d"]}
)
#: Forms of models that go by the expected load alone, or by how far it was off.
_FROM_EXPECTED = ("mixture", "correction")


@dataclass(frozen=True)
class Answers:
    """What is said of each row, as plain arrays."""

    labels: Integers  #: position of the class; without meaning where the source is ``none``
    probabilities: Doubles  #: rows × classes; NaN where the source is ``none``
    sources: Integers  #: position in :data:`SOURCES`


@dataclass(frozen=True)
class Scored:
    """What is said of all rows that were prepared, whatever start is asked for; the rest depends on the start."""

    sources: npt.NDArray[np.int8]  #: servers × hours: position in :data:`SOURCES`, or -1: nothing is said yet
    labels: npt.NDArray[np.int8]  #: servers × hours: position of the class; without meaning where none is named
    probabilities: Doubles  #: servers × hours × classes; NaN where no class is named


class Forecaster:
    """A scorer, the project's features, and the rule of what to say where the features say nothing."""

    def __init__(self, scorer: Scorer) -> None:
        """Take a model of this version's features.

        Raises:
            ModelError: it was trained on other features, or for another horizon.
        """
        _check_features(scorer.facts)
        self.scorer = scorer
        needed = RECENT_FEATURES if scorer.facts.form.kind not in _FROM_EXPECTED else (EXPECTED_LOAD,)
        self._needed = [FEATURE_NAMES.index(name) for name in needed]
        self._shares = np.array(scorer.facts.baseline.probabilities)
        self._naive = {
            name: (FEATURE_NAMES.index(NAIVE_FORECASTS[name]), np.array(shares))
            for name, shares in scorer.facts.sources.shares.items()
        }

    @classmethod
    def load(cls, folder: str | Path) -> Forecaster:
        """Load a logged model from its folder, or from the ``compiled`` folder in it.

        Raises:
            ModelError: see :meth:`Scorer.load`, and other features.
        """
        return cls(Scorer.load(folder))

    def prepare(
        self,
        history: Any,
        start: datetime,
        hours: int = HORIZON_HOURS,
        *,
        servers: Iterable[str] | None = None,
        known_until: datetime | None = None,
    ) -> Prepared:
        """Make the feature rows once, for all or some servers; this is the slow part (see :func:`.history.prepare`)."""
        missing_hours, from_newest = self.scorer.facts.rows
        return prepare(
            history, start, hours, missing_hours=missing_hours, servers=servers, known_until=known_until,
            from_newest=from_newest,
        )  # fmt: skip

    def forecast(
        self,
        history: Any,
        servers: Iterable[str],
        start: datetime,
        hours: int = HORIZON_HOURS,
        *,
        known_until: datetime | None = None,
        load: bool = False,
    ) -> pa.Table:
        """Forecast from a history in one go: arguments, result and errors of :meth:`prepare` and :meth:`answer`."""
        asked = once(servers)
        prepared = self.prepare(history, start, checked_hours(hours), servers=asked, known_until=known_until)
        return self.answer(prepared, asked, start, hours, load=load)

    def answer(
        self,
        prepared: Prepared,
        servers: Iterable[str],
        start: datetime,
        hours: int = HORIZON_HOURS,
        *,
        load: bool = False,
    ) -> pa.Table:
        """Answer from prepared rows.

        Args:
            prepared: by :meth:`prepare`; it may hold more servers, and more hours at both ends.
            servers: in the order of the answer; one that stands there twice is answered once.
            start: first hour, UTC without a zone.
            hours: 1 to 48.
            load: whether the load's numbers are wanted, too.

        Returns:
            One row for each server and hour, in that order: ``server``, ``hour``, ``prediction`` (the class's name),
            ``probability_<class>`` for each class, ``confidence`` (probability of ``prediction``), ``source``;
            the columns of :meth:`loads`, null where unknown, if they are wanted.

        Raises:
            SettingsError: ``hours`` is not 1 to 48, or the prepared rows do not hold these hours.
        """
        asked = once(servers)
        columns = self._columns(self.decide_prepared(prepared, asked, start, hours))
        times = np.datetime64(start, "us") + np.arange(hours) * np.timedelta64(1, "h")
        keys = {
            "server": pa.array([name for name in asked for _ in range(hours)], pa.string()),
            "hour": pa.array(np.tile(times, len(asked)), pa.timestamp("us")),
        }
        numbers = self.loads(prepared, asked, start, hours) if load else {}
        return pa.table(keys | columns | as_columns(numbers))

    def score_prepared(self, prepared: Prepared) -> Scored:
        """Ask the model about all prepared rows, some servers at a time, so that others get their turn in between.

        Trees take some 25 µs a row: answers that are looked up cost a tenth of answers that are asked for.
        """
        servers, hours, _ = prepared.features.shape
        sources = np.full((servers, hours), _OPEN, dtype=np.int8)
        labels = np.zeros((servers, hours), dtype=np.int8)
        probabilities = np.full((servers, hours, len(self.scorer.classes)), np.nan)
        for name, at in prepared.servers.items():
            said = self._say(prepared.features[at], [name] * hours)
            sources[at], labels[at], probabilities[at] = said.sources, said.labels, said.probabilities
        return Scored(sources, labels, probabilities)

    def decide_prepared(
        self,
        prepared: Prepared,
        servers: Iterable[str],
        start: datetime,
        hours: int = HORIZON_HOURS,
        scored: Scored | None = None,
    ) -> Answers:
        """Return what :meth:`answer` says, without names and times: a row for each server and hour, in that order.

        Later starts than the prepared one are answered as if nothing had been observed in between; what is too old
        for such a start is left aside, so that the answer is that of a fresh :meth:`forecast`. With ``scored``, of the
        same rows and this model, the model is not asked again.
        """
        asked = ask(prepared, servers, start, hours)
        near = asked.take(prepared.same_hour_age, np.nan) <= asked.reach
        same_hour = np.where(near, asked.take(prepared.same_hour, np.nan), np.nan)
        if scored is None:
            features = asked.take(prepared.features, np.nan)
            return self.decide(features, same_hour, [name for name in asked.servers for _ in range(hours)])
        said = Answers(
            asked.take(scored.labels, 0), asked.take(scored.probabilities, np.nan), asked.take(scored.sources, _OPEN)
        )
        return self._completed(said, same_hour)

    def loads(
        self, prepared: Prepared, servers: Iterable[str], start: datetime, hours: int = HORIZON_HOURS
    ) -> dict[str, Doubles]:
        """Return the load in numbers, whoever names the class; arguments and errors as :meth:`answer`.

        Returns:
            For each of :data:`~workload_forecast.schemas.LOAD_NUMBERS` a number for each server and hour, in that
            order and in the unit of the sessions' load. NaN: too little is known of the server, or the model knows
            of no quantiles.
        """
        return self.loads_of(ask(prepared, servers, start, hours).take(prepared.features, np.nan))

    def loads_of(self, features: Doubles) -> dict[str, Doubles]:
        """Return :meth:`loads` of rows of features (rows × ``FEATURE_NAMES``, unknown ones as NaN)."""
        known: dict[str, Doubles] = {name: features[:, FEATURE_NAMES.index(name)] for name in EXPECTED_FEATURES}
        return known | self.scorer.facts.load_quantiles.of(known[EXPECTED_LOAD], known[EXPECTED_ERROR])

    def answer_rows(
        self, features: Doubles, same_hour: Doubles | None = None, servers: Sequence[str] | None = None
    ) -> dict[str, pa.Array]:
        """Return the columns ``prediction`` to ``source`` of :meth:`answer` for rows of features.

        Args:
            features: rows × :data:`~workload_forecast.schemas.FEATURE_NAMES`, unknown ones as NaN.
            same_hour: for each row, the load to fall back on, or NaN; without it there is nothing to fall back on.
            servers: of each row; without them every row is answered as a new server's.

        Raises:
            DataError: a row that the model is asked about lacks a feature of the calendar.
        """
        return self._columns(self.decide(features, same_hour, servers))

    def decide(
        self, features: Doubles, same_hour: Doubles | None = None, servers: Sequence[str] | None = None
    ) -> Answers:
        """Return what :meth:`answer_rows` says, as plain arrays; arguments and errors are the same."""
        return self._completed(self._say(features, servers), same_hour)

    def _say(self, features: Doubles, servers: Sequence[str] | None) -> Answers:
        """What the model, or who takes its place for a server, says of each row; -1 is the source of the others."""
        size = len(features)
        labels, sources = np.zeros(size, dtype=np.int64), np.full(size, _OPEN, dtype=np.int64)
        probabilities = np.full((size, len(self.scorer.classes)), np.nan)
        known = self._has_enough(features)
        scores = self.scorer.score_matrix(features[known])
        labels[known], probabilities[known], sources[known] = scores.labels, scores.probabilities, 0
        said = Answers(labels, probabilities, sources)
        return self._with_chosen(said, features, servers) if self._naive or self.scorer.facts.sources.servers else said

    def _with_chosen(self, said: Answers, features: Doubles, servers: Sequence[str] | None) -> Answers:
        """Put, in place, what the training chose where it did not choose the model."""
        chosen = self.scorer.facts.sources
        answering = np.array(
            [chosen.fleet] * len(features) if servers is None else [chosen.of(name) for name in servers]
        )
        for name, (column, shares) in self._naive.items():
            loads = features[:, column]
            rows = (answering == name) & ~np.isnan(loads)
            said.labels[rows], said.sources[rows] = self._classes(loads[rows]), SOURCES.index(BASELINE)
            said.probabilities[rows] = shares[said.labels[rows]]
        silent = answering == NONE
        said.sources[silent], said.probabilities[silent] = SOURCES.index(NONE), np.nan
        return said

    def _classes(self, loads: Doubles) -> Integers:
        facts = self.scorer.facts
        return np.asarray((loads > facts.low).astype(np.int64) + (loads > facts.high))

    def _has_enough(self, features: Doubles) -> npt.NDArray[np.bool_]:
        """Return which rows, whose features are on the last axis, have anything for the model to go by."""
        return np.asarray(~np.isnan(features[..., self._needed]).all(axis=-1))

    def _completed(self, said: Answers, same_hour: Doubles | None) -> Answers:
        """Complete, in place, what was said with what the load of the last known same hour says of the other rows."""
        left = said.sources == _OPEN
        said.sources[left] = SOURCES.index(NONE)
        if same_hour is not None:
            rows = left & ~np.isnan(same_hour)
            said.labels[rows], said.sources[rows] = self._classes(same_hour[rows]), SOURCES.index(BASELINE)
            said.probabilities[rows] = self._shares[said.labels[rows]]
        return said

    def _columns(self, answers: Answers) -> dict[str, pa.Array]:
        classes, silent = self.scorer.classes, answers.sources == SOURCES.index(NONE)
        confidence = np.take_along_axis(answers.probabilities, answers.labels[:, np.newaxis], axis=1)[:, 0]
        shares = answers.probabilities
        return {
            "prediction": _names(answers.labels, classes, silent),
            **{f"probability_{name}": pa.array(shares[:, i], mask=silent) for i, name in enumerate(classes)},
            "confidence": pa.array(confidence, mask=silent),
            "source": _names(answers.sources, SOURCES, np.zeros(len(silent), dtype=np.bool_)),
        }


def as_columns(loads: Mapping[str, Doubles]) -> dict[str, pa.Array]:
    """Return numbers as columns; NaN is null."""
    return {name: pa.array(values, from_pandas=True) for name, values in loads.items()}


def _check_features(facts: Facts) -> None:
    found = tuple(feature.name for feature in facts.features)
    if (found, facts.horizon_hours) != (FEATURE_NAMES, HORIZON_HOURS):
        differ = ", ".join(sorted(set(found) ^ set(FEATURE_NAMES))) or f"order, or horizon of {facts.horizon_hours} h"
        raise ModelError(
            f"the model was trained on other features than this version of the project makes ({differ}): "
            "use the version that logged the model, or train again."
        )


def _names(positions: npt.NDArray[np.int64], names: tuple[str, ...], null: npt.NDArray[np.bool_]) -> pa.Array:
    indices = pa.array(positions.astype(np.int8), mask=null)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string())).cast(pa.string())
