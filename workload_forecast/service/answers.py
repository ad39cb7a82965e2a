"""Answers as plain lists and dictionaries, made straight from arrays: a hundred servers are 4,800 hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from workload_forecast.serving.forecaster import SOURCES, Answers
from workload_forecast.serving.history import HOUR
from workload_forecast.serving.saved_trees import Doubles
from workload_forecast.sources import NONE

_NONE = SOURCES.index(NONE)


def predictions(answers: Answers, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return ``class``, ``probabilities``, ``confidence`` and ``source`` of each row."""
    return [
        {"class": None, "probabilities": None, "confidence": None, "source": NONE}
        if source == _NONE
        else {
            "class": classes[label],
            "probabilities": dict(zip(classes, shares, strict=True)),
            "confidence": shares[label],
            "source": SOURCES[source],
        }
        for label, shares, source in _rows(answers)
    ]


def forecasts(
    answers: Answers,
    classes: Sequence[str],
    servers: Sequence[str],
    start: datetime,
    hours: int,
    loads: Mapping[str, Doubles] | None = None,
) -> list[dict[str, Any]]:
    """Return ``server`` and ``hours``, the predictions with their ``hour``, for each server.

    With ``loads``, numbers by name for each server and hour, these stand in the predictions, too.
    """
    times = [told(start + number * HOUR) for number in range(hours)]
    rows = predictions(answers, classes)
    for position, row in enumerate(rows):
        row["hour"] = times[position % hours]
    _put(loads, rows)
    return [{"server": name, "hours": rows[at * hours : (at + 1) * hours]} for at, name in enumerate(servers)]


def columns(
    answers: Answers, classes: Sequence[str], loads: Mapping[str, Doubles] | None = None
) -> list[dict[str, Any]]:
    """Return ``prediction`` to ``source`` as the ``python_function`` does, each probability under a name of its own.

    ``loads`` as in :func:`forecasts`.
    """
    names = [f"probability_{name}" for name in classes]
    silent = {"prediction": None, **dict.fromkeys(names), "confidence": None, "source": NONE}
    rows = [
        dict(silent)
        if source == _NONE
        else {
            "prediction": classes[label],
            **dict(zip(names, shares, strict=True)),
            "confidence": shares[label],
            "source": SOURCES[source],
        }
        for label, shares, source in _rows(answers)
    ]
    _put(loads, rows)
    return rows


def counts(answers: Answers) -> list[tuple[str, int]]:
    """Return how many rows each source answered."""
    return list(zip(SOURCES, np.bincount(answers.sources, minlength=len(SOURCES)).tolist(), strict=True))


def told(moment: datetime) -> str:
    """Return a time that is UTC without a zone as text with one."""
    return f"{moment.isoformat()}Z"


def _put(loads: Mapping[str, Doubles] | None, rows: list[dict[str, Any]]) -> None:
    """Put numbers, by their names, into the rows; NaN will be written as null."""
    if loads:
        for row, *numbers in zip(rows, *(values.tolist() for values in loads.values()), strict=True):
            row.update(zip(loads, numbers, strict=True))


def _rows(answers: Answers) -> Iterator[tuple[int, list[float], int]]:
    return zip(answers.labels.tolist(), answers.probabilities.tolist(), answers.sources.tolist(), strict=True)
