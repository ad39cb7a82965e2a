"""The promotion gate: what a version must be, and must reach on recent rows, before it may serve.

Nothing is read or written here. A version goes through two sets of checks: what it says of itself
(:mod:`workload_forecast.registry.profiles`), and what it answers on the same rows as the champion and the naive
forecasts (:func:`check_answers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workload_forecast.config import PromotionLimits
from workload_forecast.model.metrics import Matrix, confusion_scores
from workload_forecast.registry.verdict import Check, Verdict, finite
from workload_forecast.schemas import CLASSES

Positions = npt.NDArray[np.int64]

#: Largest distance between a probability of the Spark pipeline and the compiled one.
PROBABILITY_TOLERANCE = 1e-9
#: Servers with fewer labelled rows have no accuracy worth the name.
ROWS_OF_A_SERVER = 24


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
