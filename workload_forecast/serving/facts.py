"""What a compiled model says of itself, as JSON: inputs, classes, thresholds, periods, the baseline's record."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from workload_forecast.errors import ModelError
from workload_forecast.features.grid import MissingHours
from workload_forecast.load_quantiles import LoadQuantiles
from workload_forecast.serving.saved_stages import Feature
from workload_forecast.sources import Shares, Sources

#: Version of the stored form. Format 1 knows no ``form``: there were votes of trees alone. Format 2 knows no
#: ``sources``: the model answered everywhere. Format 3 knows no ``load_quantiles``.
FORMAT = 4
FORMATS = (1, 2, 3, FORMAT)

Algorithm = Literal[
    "random forest",
    "decision tree",
    "same-hour mixture",
    "boosted correction",
    "boosted trees",
    "logistic regression",
    "XGBoost",
]
Kind = Literal["votes", "boosted", "mixture", "correction", "ordered", "linear"]


@dataclass(frozen=True)
class Form:
    """How the answer is computed (:mod:`~workload_forecast.serving.kinds`), and the numbers that it takes."""

    kind: Kind = "votes"
    weights: tuple[float, ...] = ()  #: of the classes, where the model itself knows of none
    coefficients: tuple[tuple[float, ...], ...] = ()  #: classes × features
    intercepts: tuple[float, ...] = ()

    @property
    def has_trees(self) -> bool:
        """Whether trees belong to it."""
        return self.kind in {"votes", "boosted", "correction", "ordered"}

    @property
    def any_lead(self) -> bool:
        """Whether it answers rows of any lead; what was fitted to rows of 48 hours knows no others."""
        return self.kind == "mixture"


@dataclass(frozen=True)
class Baseline:
    """How far the naive forecast *load of the last known same hour* was right on the test rows."""

    name: str  #: of the baseline that was measured
    #: For each class that it names: the share of each true class, both in the order of the classes.
    probabilities: Shares


@dataclass(frozen=True)
class Facts:
    """Everything about a compiled model besides its trees. Times are UTC without a zone."""

    algorithm: Algorithm
    features: tuple[Feature, ...]
    classes: tuple[str, ...]
    low: float  #: low ≤ ``low`` < medium ≤ ``high`` < high, in the unit of the hourly load
    high: float
    horizon_hours: int
    missing_hours: MissingHours
    training_from: datetime
    training_to: datetime
    baseline: Baseline
    spark_version: str
    treelite_version: str
    form: Form = Form()
    sources: Sources = field(default_factory=Sources)
    load_quantiles: LoadQuantiles = field(default_factory=LoadQuantiles)

    @property
    def rows(self) -> tuple[MissingHours, bool]:
        """What decides which rows a history makes for this model: how missing hours are read, and the leads."""
        return self.missing_hours, self.form.any_lead

    def to_json(self) -> str:
        """Return the facts as a JSON object with the format's version."""
        periods = {name: getattr(self, name).isoformat() for name in ("training_from", "training_to")}
        return json.dumps({"format": FORMAT, **asdict(self), **periods}, indent=2, allow_nan=False) + "\n"


def read_facts(text: str) -> Facts:
    """Return the facts that :meth:`Facts.to_json` wrote.

    Raises:
        ModelError: another format, a missing or unknown field, or a value that cannot be.
    """
    try:
        content = json.loads(text)
        version = content.pop("format")
        if version not in FORMATS:
            raise ModelError(
                f"the compiled model has format {version}, this version of the project reads 1 to {FORMAT}: "
                "install the version of the project that logged the model, or train again."
            )
        form = _form(content.pop("form")) if version > 1 else Form()
        sources = _sources(content.pop("sources")) if version > 2 else Sources()
        quantiles = _load_quantiles(content.pop("load_quantiles")) if version > 3 else LoadQuantiles()
        facts = _facts(content, form, sources, quantiles)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ModelError(f"the compiled model's facts are not what this project writes: {problem!r}.") from None
    problems = list(_problems(facts))
    if problems:
        raise ModelError(f"the compiled model's facts cannot be right: {'; '.join(problems)}. Fetch the model again.")
    return facts


def _form(content: Mapping[str, Any]) -> Form:
    return Form(
        kind=content["kind"],
        weights=tuple(content["weights"]),
        coefficients=tuple(tuple(row) for row in content["coefficients"]),
        intercepts=tuple(content["intercepts"]),
    )


def _sources(content: Mapping[str, Any]) -> Sources:
    return Sources(
        fleet=content["fleet"],
        servers=dict(content["servers"]),
        shares={name: tuple(tuple(row) for row in rows) for name, rows in content["shares"].items()},
    )


def _load_quantiles(content: Mapping[str, Any]) -> LoadQuantiles:
    return LoadQuantiles(float(content["least_error"]), tuple(float(factor) for factor in content["factors"]))


def _facts(content: Mapping[str, Any], form: Form, sources: Sources, quantiles: LoadQuantiles) -> Facts:
    baseline = content["baseline"]
    return Facts(
        **{
            **content,
            "features": tuple(Feature(**feature) for feature in content["features"]),
            "classes": tuple(content["classes"]),
            "training_from": datetime.fromisoformat(content["training_from"]),
            "training_to": datetime.fromisoformat(content["training_to"]),
            "baseline": Baseline(baseline["name"], tuple(tuple(row) for row in baseline["probabilities"])),
            "form": form,
            "sources": sources,
            "load_quantiles": quantiles,
        }
    )


def _problems(facts: Facts) -> list[str]:
    shares = facts.baseline.probabilities
    size = len(facts.classes)
    checks = {
        f"algorithm {facts.algorithm!r}": facts.algorithm in get_args(Algorithm),
        f"missing_hours {facts.missing_hours!r}": facts.missing_hours in get_args(MissingHours),
        f"classes {facts.classes}": size >= 2 and len(set(facts.classes)) == size,
        f"thresholds {facts.low}, {facts.high}": math.isfinite(facts.high - facts.low) and facts.low < facts.high,
        "no features": bool(facts.features),
        f"form {facts.form.kind!r}": _whole(facts.form, size, len(facts.features)),
        "the baseline's shares": _are_shares(shares, size),
        **{f"the shares of {name}": _are_shares(rows, size) for name, rows in facts.sources.shares.items()},
    }
    wrong = (what for what, right in checks.items() if not right)
    return [*wrong, *facts.sources.problems, *facts.load_quantiles.problems]


def _are_shares(rows: Shares, size: int) -> bool:
    return len(rows) == size and all(
        len(row) == size and math.isclose(sum(row), 1.0, abs_tol=1e-9) and min(row) >= 0 for row in rows
    )


def _whole(form: Form, classes: int, features: int) -> bool:
    """Whether a form is known and has the numbers that it takes."""
    if form.kind in {"votes", "boosted"}:
        return True
    if form.kind == "linear":
        sizes = [len(row) for row in form.coefficients]
        return sizes == [features] * classes and len(form.intercepts) == classes
    return form.kind in get_args(Kind) and classes == 3 and len(form.weights) == 3 and min(form.weights) > 0
