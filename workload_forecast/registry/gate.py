"""The promotion gate: what a version must be, and must reach on recent rows, before it may serve.

Nothing is read or written here. A version goes through two sets of checks: what it says of itself
(:func:`check_version`), and what it answers on the same rows as the champion and the naive forecasts
(:func:`check_answers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from workload_forecast.config import PromotionLimits, Thresholds
from workload_forecast.model.metrics import Matrix, confusion_scores
from workload_forecast.registry.verdict import Check, Verdict, finite
from workload_forecast.schemas import CLASSES, FEATURE_NAMES, HORIZON_HOURS

Positions = npt.NDArray[np.int64]

#: Largest distance between a probability of the Spark pipeline and the compiled one.
PROBABILITY_TOLERANCE = 1e-9
#: Servers with fewer labelled rows have no accuracy worth the name.
ROWS_OF_A_SERVER = 24


@dataclass(frozen=True)
class Profile:
    """What a version says of itself."""

    version: str
    thresholds: Thresholds
    training_to: datetime  #: the first hour that it was not trained on, UTC
    features: tuple[str, ...]
    classes: tuple[str, ...]
    horizon_hours: int
    #: Column to type, of MLflow's signature; empty where the version has none or its columns have no names.
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    data: str = ""  #: ``configured`` or ``synthetic``; empty if nobody knows


@dataclass(frozen=True)
class Agreement:
    """How far the compiled form's answers are from those of the Spark pipeline, on the same rows."""

    rows: int
    other_classes: int  #: rows of which the two name different classes
    distance: float  #: greatest difference of two probabilities


@dataclass(frozen=True)
class Rows:
    """Recent rows with a known load; all arrays have one entry a row, and a class is its position in ``CLASSES``."""

    labels: Positions
    servers: npt.NDArray[np.str_] | Positions  #: whatever tells servers apart
    baselines: Mapping[str, Positions]  #: what each naive forecast names; at least one


def check_version(
    candidate: Profile,
    champion: Profile | None,
    *,
    asked: Thresholds | None,
    test_from: datetime,
    data: str,
    limits: PromotionLimits,
) -> list[Check]:
    """Check what can be checked before anything is scored.

    Args:
        candidate: the version that is to be promoted.
        champion: the one that serves now, if any does.
        asked: the thresholds of the settings; None where they are learnt from the data.
        test_from: first hour of the rows that will be scored.
        data: kind of these rows: ``configured`` or ``synthetic``.
        limits: of the settings.
    """
    return [
        _schema(candidate, champion),
        _classes(candidate, champion, asked, limits),
        _unseen(candidate, test_from),
        _data(champion, data),
    ]


def check_answers(
    rows: Rows,
    candidate: Positions,
    champion: Positions | str,
    *,
    champion_version: str,
    agreement: Agreement,
    limits: PromotionLimits,
) -> tuple[list[Check], dict[str, float]]:
    """Check what a version answers.

    Args:
        rows: the same for all.
        candidate: its answers.
        champion: its answers, or why there are none to compare with.
        champion_version: for the table.
        agreement: of the candidate's two forms.
        limits: of the settings.

    Returns:
        The checks, and what was measured: ``rows``, ``best_baseline_macro_f1``, and with ``candidate_`` or
        ``champion_`` before them ``macro_f1``, ``accuracy``, ``recall_high`` and ``server_accuracy``, as far as known.
    """
    count = len(rows.labels)
    enough = count >= limits.minimum_rows
    few = f"{count} labelled rows" if enough else f"{count} labelled rows are too few to decide by: test on more hours"
    checks = [Check("rows", enough, few, count, limits.minimum_rows), _agreement(agreement)]
    if not count:
        return checks, {"rows": 0.0}
    ours = _scores(rows, candidate, limits.server_percentile)
    theirs = None if isinstance(champion, str) else _scores(rows, champion, limits.server_percentile)
    naive = {name: confusion_scores(confusion(rows.labels, said))["macro_f1"] for name, said in rows.baselines.items()}
    best = max(naive, key=lambda name: naive[name])
    checks.append(_above_naive(ours["macro_f1"], naive[best], best, limits.minimum_gain))
    checks += _against_champion(ours, theirs, champion if isinstance(champion, str) else "", champion_version, limits)
    numbers = {
        "rows": float(count),
        "best_baseline_macro_f1": naive[best],
        **{f"candidate_{name}": value for name, value in ours.items()},
        **{f"champion_{name}": value for name, value in (theirs or {}).items()},
    }
    return checks, finite(numbers)


def unreadable(version: str, champion: str, reason: str) -> Verdict:
    """The verdict on a version that cannot be loaded."""
    return Verdict(version, champion, (Check("loads", False, reason),))


def confusion(labels: Positions, said: Positions) -> Matrix:
    """Count: true classes as rows, named ones as columns."""
    size = len(CLASSES)
    return np.bincount(labels * size + said, minlength=size * size).reshape(size, size)


def server_accuracies(rows: Rows, said: Positions) -> npt.NDArray[np.float64]:
    """The accuracy of each server with at least :data:`ROWS_OF_A_SERVER` rows."""
    _, server = np.unique(rows.servers, return_inverse=True)
    total = np.bincount(server)
    hits = np.bincount(server, weights=(said == rows.labels).astype(np.float64))
    many = total >= ROWS_OF_A_SERVER
    accuracies: npt.NDArray[np.float64] = hits[many] / total[many]
    return accuracies


def _scores(rows: Rows, said: Positions, percentile: float) -> dict[str, float]:
    scores = confusion_scores(confusion(rows.labels, said))
    servers = server_accuracies(rows, said)
    return {
        **{name: scores[name] for name in ("macro_f1", "accuracy", "recall_high")},
        "server_accuracy": float(np.percentile(servers, percentile)) if len(servers) else np.nan,
    }


def _schema(candidate: Profile, champion: Profile | None) -> Check:
    problems = []
    if (candidate.features, candidate.horizon_hours) != (FEATURE_NAMES, HORIZON_HOURS):
        differ = sorted(set(candidate.features) ^ set(FEATURE_NAMES)) or ["their order, or the horizon"]
        problems.append(f"this version of the project makes other features ({', '.join(differ)})")
    if candidate.classes != CLASSES:
        problems.append(f"its classes are {', '.join(candidate.classes)}, not {', '.join(CLASSES)}")
    if champion:
        new = [name for name in candidate.features if champion.inputs and name not in champion.inputs]
        if new:
            problems.append(f"it needs columns that the champion's callers do not send ({', '.join(new)})")
        problems += _other_types("input", candidate.inputs, champion.inputs)
        problems += _other_types("answer", candidate.outputs, champion.outputs)
        gone = [name for name in champion.outputs if name not in candidate.outputs]
        if gone:
            problems.append(f"its answer lacks columns of the champion's ({', '.join(gone)})")
    against = f"champion, version {champion.version}" if champion else "this version of the project"
    if problems:
        return Check("schema", False, f"{'; '.join(problems)}: train it again", compared_with=against)
    return Check("schema", True, f"{len(candidate.features)} features, types, classes, horizon", compared_with=against)


def _other_types(what: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    differ = [
        f"{name} is {ours[name]}, was {theirs[name]}" for name in theirs if ours.get(name, theirs[name]) != theirs[name]
    ]
    return [f"{what} of other types ({', '.join(differ)})"] if differ else []


def _classes(candidate: Profile, champion: Profile | None, asked: Thresholds | None, limits: PromotionLimits) -> Check:
    name, ours = "classes", _named(candidate.thresholds)
    if asked and asked != candidate.thresholds:
        return Check(name, False, f"it cuts at {ours}, the settings at {_named(asked)}: train with these settings")
    if champion is None or champion.thresholds == candidate.thresholds:
        return Check(name, True, f"cut at {ours}")
    against, theirs = f"champion, version {champion.version}", _named(champion.thresholds)
    if limits.allow_other_classes:
        return Check(
            name, True, f"cut at {ours}, no longer at {theirs}: allowed by the settings", compared_with=against
        )
    return Check(
        name,
        False,
        f"it cuts at {ours}, the champion at {theirs}, so that no comparison is fair: train with these thresholds, "
        "or set allowOtherClasses in the settings",
        compared_with=against,
    )


def _named(thresholds: Thresholds) -> str:
    return f"{thresholds.low:g},{thresholds.high:g}"


def _unseen(candidate: Profile, test_from: datetime) -> Check:
    seen = candidate.training_to > test_from
    explanation = f"trained on hours before {candidate.training_to}, judged on hours from {test_from} on"
    return Check("unseen hours", not seen, f"{explanation}: use later data" if seen else explanation)


def _data(champion: Profile | None, data: str) -> Check:
    name = "data"
    if champion and champion.data == "configured" and data == "synthetic":
        return Check(
            name,
            False,
            "the champion was trained on configured data, these rows are synthetic: give the settings of the data",
            compared_with=f"champion, version {champion.version}",
        )
    return Check(name, True, f"judged on {data} data")


def _agreement(found: Agreement) -> Check:
    passed = found.rows > 0 and found.other_classes == 0 and found.distance <= PROBABILITY_TOLERANCE
    explanation = f"greatest distance of a probability on {found.rows} rows, {found.other_classes} classes differ"
    return Check(
        "compiled form",
        passed,
        explanation,
        finite({"": found.distance}).get(""),
        PROBABILITY_TOLERANCE,
        "Spark pipeline",
    )


def _above_naive(ours: float, naive: float, best: str, gain: float) -> Check:
    limit = naive + gain
    passed = ours > limit
    explanation = "macro-F1 must be greater" if passed else "macro-F1 is not better than a naive forecast's"
    return Check("macro-F1, naive", passed, explanation, ours, limit, f"best naive ({best})")


def _against_champion(
    ours: Mapping[str, float],
    theirs: Mapping[str, float] | None,
    why_not: str,
    version: str,
    limits: PromotionLimits,
) -> list[Check]:
    servers = f"percentile {limits.server_percentile:g} of the servers' accuracies"
    compared = {
        "macro-F1, champion": ("macro_f1", limits.macro_f1_tolerance, "macro-F1"),
        "recall of high, champion": ("recall_high", limits.high_recall_tolerance, "share of high hours called high"),
        "servers, champion": ("server_accuracy", limits.server_accuracy_tolerance, servers),
    }
    checks = [_floor(ours["server_accuracy"], limits.server_accuracy_floor, servers)]
    for name, (number, tolerance, what) in compared.items():
        if theirs is None:
            checks.append(Check(name, None, why_not))
        else:
            checks.append(
                _no_worse(name, what, ours[number], theirs[number], tolerance, f"champion, version {version}")
            )
    return checks


def _floor(value: float, floor: float, what: str) -> Check:
    if np.isnan(value):
        return Check("servers", None, f"no server has {ROWS_OF_A_SERVER} labelled rows")
    return Check("servers", value >= floor, what, value, floor)


def _no_worse(name: str, what: str, ours: float, theirs: float, tolerance: float, against: str) -> Check:
    if np.isnan(ours) or np.isnan(theirs):
        return Check(name, None, f"{what}: unknown on these rows", compared_with=against)
    limit = theirs - tolerance
    return Check(name, ours >= limit, f"{what}: at most {tolerance:g} below {theirs:.4g}", ours, limit, against)
