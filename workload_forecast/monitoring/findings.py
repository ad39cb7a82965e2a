"""Whether past forecasts are what was promised of them: each question with its answer, and the worst of them.

A finding is ``ok``, a ``warning`` (above its first limit) or an ``alarm`` (above its second one). It is ``unknown``
where fewer than the settings' ``minimumRows`` server-hours, or nothing at all, can say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl

from workload_forecast.monitoring.drift import Drift
from workload_forecast.monitoring.scoring import SERVER
from workload_forecast.monitoring_limits import Levels, MonitoringLimits

Level = Literal["unknown", "ok", "warning", "alarm"]
UNKNOWN: Final = "unknown"
OK: Final = "ok"
WARNING: Final = "warning"
ALARM: Final = "alarm"
_ORDER: tuple[Level, ...] = (UNKNOWN, OK, WARNING, ALARM)

#: Servers with fewer answered hours have no accuracy worth the name.
ROWS_OF_A_SERVER = 24

_AHEAD = "of hours 25 to 48 ahead"


@dataclass(frozen=True)
class Promise:
    """What the training's test said of the version, as far as it is known (NaN elsewhere)."""

    macro_f1: float = math.nan
    recall_high: float = math.nan
    servers: Mapping[str, float] = field(default_factory=dict)  #: accuracy by server


@dataclass(frozen=True)
class Finding:
    """One question that was asked."""

    name: str
    level: Level
    value: float  #: NaN where nothing can be said
    warn: float
    alarm: float | None  #: None: never
    reason: str
    about_data: bool = False  #: rather than about the forecasts: no other version would know it better


@dataclass(frozen=True)
class Findings:
    """All of them."""

    items: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The worst; ``unknown`` where nothing is wrong, but nothing can be said of the forecasts either."""
        worst = max((one.level for one in self.items), key=_ORDER.index)
        blind = all(one.level == UNKNOWN for one in self.items if not one.about_data)
        return UNKNOWN if worst == OK and blind else worst

    def of_level(self, *levels: Level) -> list[Finding]:
        """Those of some levels, in the order of these."""
        return [one for level in levels for one in self.items if one.level == level]

    @property
    def table(self) -> pl.DataFrame:
        """A row each."""
        columns = ("name", "level", "value", "warn", "alarm", "reason")
        rows = [[getattr(one, name) for name in columns] for one in self.items]
        return pl.DataFrame(rows, columns, orient="row").with_columns(pl.col("value").fill_nan(None))


def beside_promise(servers: pl.DataFrame, promise: Promise) -> pl.DataFrame:
    """Add the ``promised_accuracy`` of each server, and the ``loss``, what is missing of it; null where unknown."""
    names = servers[SERVER].to_list()
    promised = pl.Series("promised_accuracy", [promise.servers.get(name) for name in names], dtype=pl.Float64)
    return servers.with_columns(promised).with_columns(loss=pl.col("promised_accuracy") - pl.col("accuracy"))


def find(
    overall: Mapping[str, float],
    far: Mapping[str, float],
    servers: pl.DataFrame,
    promise: Promise,
    drift: Drift,
    since_forecast: float,
    limits: MonitoringLimits,
) -> Findings:
    """Ask everything.

    Args:
        overall: :func:`~workload_forecast.monitoring.scoring.scores` of all scored rows.
        far: of the :data:`~workload_forecast.monitoring.scoring.FAR` ones, which the promise is about.
        servers: by server, see :func:`beside_promise`.
        promise: of the version.
        drift: of the data.
        since_forecast: hours of data after the newest forecast's origin.
        limits: of the settings.
    """
    ask = _Questions(limits)
    silent = 1 - overall["answered"] / overall["rows"]
    return Findings(
        (
            ask.lost("macro-F1", far["macro_f1"], promise.macro_f1, far["answered"], "macro_f1_loss"),
            ask.lost("recall of high", far["recall_high"], promise.recall_high, far["answered"], "high_recall_loss"),
            ask.answer(
                "behind_naive",
                -overall["gain"],
                overall["answered"],
                limits.behind_naive,
                f"macro-F1 {overall['gain']:+.3f} from a naive forecast's of the same hours",
            ),
            ask.answer(
                "unanswered",
                silent,
                overall["rows"],
                limits.unanswered,
                f"nothing was said of {silent:.1%} of the server-hours",
            ),
            ask.fallen(servers),
            ask.drifted(
                "class_drift",
                drift,
                limits.class_drift,
                "{:.1%} of the hours would have to change class for the mix of the training",
            ),
            ask.drifted(
                "level_drift",
                drift,
                limits.level_drift,
                "population stability index {:.3f} of the loads relative to their server's in training",
            ),
            ask.answer(
                "hours_since_forecast",
                since_forecast,
                math.inf,
                limits.hours_since_forecast,
                f"the newest forecast began {since_forecast:.0f} hours before the end of the data",
                about_data=True,
            ),
        )
    )


@dataclass(frozen=True)
class _Questions:
    """Answers by the limits of the settings."""

    limits: MonitoringLimits

    def lost(self, what: str, ours: float, promised: float, rows: float, name: str) -> Finding:
        fact = f"{what} {_AHEAD} {ours:.3f}, promised {promised:.3f} ({ours - promised:+.3f})"
        if math.isnan(ours):
            fact = f"{what} {_AHEAD} is not known yet"
        elif math.isnan(promised):
            fact = f"{what} {_AHEAD} {ours:.3f}; the version's training has left no promise to hold it against"
        return self.answer(name, promised - ours, rows, getattr(self.limits, name), fact)

    def fallen(self, servers: pl.DataFrame) -> Finding:
        compared = servers.filter(pl.col("answered") >= ROWS_OF_A_SERVER, pl.col("loss").is_not_null())
        fallen = compared.filter(pl.col("loss") > self.limits.server_loss).sort(
            "loss", SERVER, descending=[True, False]
        )
        like = f", that of {fallen[SERVER][0]} the most" if len(fallen) else ""
        by = f"more than {self.limits.server_loss:g} below its promise"
        fact = f"the accuracy of {len(fallen):,} of {len(compared):,} servers is {by}{like}"
        share = len(fallen) / len(compared) if len(compared) else math.nan
        rows = int(compared["answered"].sum())
        return self.answer("fallen_servers", share, rows, self.limits.fallen_servers, fact)

    def drifted(self, name: str, drift: Drift, levels: Levels, fact: str) -> Finding:
        value = drift.number(name)
        gone = "the data holds no hour of the version's training to compare with"
        told = gone if math.isnan(value) else fact.format(value)
        return self.answer(name, value, drift.rows, levels, told, about_data=True)

    def answer(
        self, name: str, value: float, rows: float, levels: Levels, fact: str, *, about_data: bool = False
    ) -> Finding:
        level: Level = OK
        if math.isnan(value):
            level = UNKNOWN
        elif rows < self.limits.minimum_rows:
            level, fact = UNKNOWN, f"{fact}; {rows:,.0f} server-hours are too few to decide by"
        elif levels.alarm is not None and value > levels.alarm:
            level, fact = ALARM, f"{fact}; limit {levels.alarm:g}"
        elif value > levels.warn:
            level, fact = WARNING, f"{fact}; limit {levels.warn:g}"
        return Finding(name, level, value, levels.warn, levels.alarm, fact, about_data)
