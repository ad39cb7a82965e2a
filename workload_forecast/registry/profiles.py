"""What a version says of itself, and the checks of the promotion gate that need no more than that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from workload_forecast.config import PromotionLimits, Thresholds
from workload_forecast.registry.verdict import Check
from workload_forecast.schemas import CLASSES, FEATURE_NAMES, HORIZON_HOURS


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
    subset: str = ""  #: which part of the servers it was trained on; empty for all


def check_version(
    candidate: Profile,
    champion: Profile | None,
    *,
    asked: Thresholds | None,
    trained_before: datetime,
    data: str,
    limits: PromotionLimits,
) -> list[Check]:
    """Check what can be checked before anything is scored.

    Args:
        candidate: the version that is to be promoted.
        champion: the one that serves now, if any does.
        asked: the thresholds of the settings; None where they are learnt from the data.
        trained_before: no training row of a fair candidate lies at or after this hour; that is one horizon before the
            first row that will be scored (:class:`~workload_forecast.model.split.TimeSplit`).
        data: kind of these rows: ``configured`` or ``synthetic``.
        limits: of the settings.
    """
    return [
        _schema(candidate, champion),
        _classes(candidate, champion, asked, limits),
        _unseen(candidate, trained_before),
        _data(champion, data),
        _all_servers(candidate),
    ]


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


def _unseen(candidate: Profile, trained_before: datetime) -> Check:
    said = f"trained on hours before {candidate.training_to}"
    if candidate.training_to <= trained_before:
        return Check("unseen hours", True, said)
    return Check("unseen hours", False, f"{said}, these rows are fair only before {trained_before}: use later rows")


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


def _all_servers(candidate: Profile) -> Check:
    if candidate.subset:
        why = f"it was trained on a part of the servers ({candidate.subset}), for a quick look: train it on all"
        return Check("all servers", False, why)
    return Check("all servers", True, "no part of them was left out of its training")
