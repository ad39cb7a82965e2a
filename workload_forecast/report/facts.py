"""What the page says in words: what the forecast comes to, how good it has been, which model it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from workload_forecast.schemas import CLASSES

#: What a plan's actions are called on the page.
ACTIONS = {"consolidate": "consolidate", "keep": "keep", "scale_out": "scale out"}

#: Who has answered, as it is called on the page.
SOURCES = {"model": "model", "baseline": "naive forecast", "none": "nobody"}


@dataclass(frozen=True)
class Score:
    """A metric on the hours of the model's test period; None where it is not known.

    Attributes:
        metric: its name.
        said: of what is said in operation: the model, or what the training chose in its place.
        model: of the model alone.
        naive: of the best naive forecast.
    """

    metric: str
    said: float | None
    model: float | None
    naive: float | None


@dataclass(frozen=True)
class Scored:
    """A past forecast, held against the loads that came.

    Attributes:
        origin: newest hour that was known then.
        version: of the model.
        hours: of servers that could be scored.
        macro_f1: of what was said; None where nothing was.
        naive: macro-F1 of the class of the newest load known at the same hour of the day; None where none was known.
    """

    origin: str
    version: str
    hours: int
    macro_f1: float | None
    naive: float | None


@dataclass(frozen=True)
class Facts:
    """Everything on the page besides the servers.

    Attributes:
        model: name in the registry, and version.
        low: border between low and medium, in the unit of the load.
        high: border between medium and high.
        reasons: a plan's reasons in words.
        test: the model's scores on its test period.
        naive: name of the best naive forecast there.
        scored: past forecasts; newest first.
        card: the model's data, by what they are called.
        limits: sentences.
    """

    model: str
    low: float
    high: float
    reasons: Mapping[str, str]
    test: tuple[Score, ...] = ()
    naive: str = ""
    scored: tuple[Scored, ...] = ()
    card: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


def summary(forecast: pl.DataFrame, plan: pl.DataFrame, model: str) -> dict[str, str]:
    """Return what a forecast and its plan come to, by what it is called."""
    hours, rows = forecast["hour"].unique().sort(), len(forecast)
    classes = dict(forecast["prediction"].drop_nulls().value_counts().rows())
    sources = dict(forecast["source"].value_counts().rows())
    machines, extra = plan["machine"].n_unique(), int(plan["machines_missing"].sum())
    scaled = int((plan["action"] == "scale_out").sum())
    return {
        "Hours": f"{len(hours)} from {hours[0]:%Y-%m-%d %H:%M} UTC",
        "Servers": f"{len(plan):,}",
        "Machines that can be saved": f"{len(plan) - machines:,} of {len(plan):,}",
        "Servers to scale out": f"{scaled:,}" + (f", which lack {extra:,} machines" if scaled else ""),
        "Server hours": " · ".join(f"{name} {classes.get(name, 0) / rows:.1%}" for name in CLASSES),
        "Answered by": " · ".join(
            f"{word} {sources[name] / rows:.1%}" for name, word in SOURCES.items() if name in sources
        ),
        "Model": model,
    }
