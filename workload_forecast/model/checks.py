"""Data checks before training: is there something to learn from, and is the test period like the training period?

Every check has a value, two limits and a verdict: ``ok``, ``warn`` (above the first) or ``refuse`` (above the second).
By default only what makes a training worthless is refused. A test period unlike the training period is warned of, not
refused: such a model has to be judged, and the backtest and the promotion gate do that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from workload_forecast.check_limits import CheckLimits, Limit
from workload_forecast.model.load_summary import LoadSummary, population_stability
from workload_forecast.model.split import TEST, TRAIN
from workload_forecast.schemas import CLASSES, SECONDARY_MEASURES

Verdict = Literal["ok", "warn", "refuse"]
OK: Final = "ok"
WARN: Final = "warn"
REFUSE: Final = "refuse"
_ORDER: tuple[Verdict, ...] = (OK, WARN, REFUSE)

#: How the ETL's reasons for quarantine are summed up; a reason that is not named here counts as unparsable.
NOT_A_SESSION = ("header",)
MISSING_FIELDS = ("start_missing", "load_missing", "server_missing")
OUT_OF_RANGE = ("load_negative", "load_infinite")


@dataclass(frozen=True)
class DataCheck:
    """One question that was asked of the data."""

    name: str
    verdict: Verdict
    value: float  #: NaN where it could not be computed: then it is warned of
    warn_above: float
    refuse_above: float  #: infinite: never
    reason: str  #: what was found and, unless it is ok, what to do


@dataclass(frozen=True)
class DataReport:
    """All checks."""

    checks: tuple[DataCheck, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst one."""
        return max((check.verdict for check in self.checks), key=_ORDER.index, default=OK)

    def reasons(self, verdict: Verdict) -> list[str]:
        """``name: reason`` of every check with this verdict."""
        return [f"{check.name}: {check.reason}" for check in self.checks if check.verdict == verdict]

    def table(self) -> pd.DataFrame:
        """One row a check, its fields as columns."""
        return pd.DataFrame([asdict(check) for check in self.checks])


def check_data(summary: LoadSummary, counts: Mapping[str, int], limits: CheckLimits | None = None) -> DataReport:
    """Ask all questions.

    Args:
        summary: of the feature table over the training's dates.
        counts: of the ETL (:func:`workload_forecast.sessions.reduction.account`): ``rows_used``,
            ``rows_filtered``, ``rows_quarantined_<reason>`` and ``numbers_imputed``.
        limits: or the defaults.
    """
    limits = limits or CheckLimits()
    checks = (
        *_check_rows(counts, limits),
        *_check_gaps(summary, limits),
        *_check_classes(summary.servers, limits),
        *_check_levels(summary, limits),
        *_check_servers(summary, limits),
    )
    return DataReport(checks)


def _check_rows(counts: Mapping[str, int], limits: CheckLimits) -> list[DataCheck]:
    prefix = "rows_quarantined_"
    bad = {name.removeprefix(prefix): number for name, number in counts.items() if name.startswith(prefix)}
    sessions = {reason: number for reason, number in bad.items() if reason not in NOT_A_SESSION}
    # broken lines are those of all servers, so they are held against the rows of all, whatever part of them is used
    rows = counts["rows_used"] + counts.get("rows_filtered", 0) + sum(sessions.values())
    kinds = {
        "missing_fields": sum(sessions.get(reason, 0) for reason in MISSING_FIELDS),
        "out_of_range": sum(sessions.get(reason, 0) for reason in OUT_OF_RANGE),
    }
    kinds["unparsable"] = sum(sessions.values()) - sum(kinds.values())
    facts = {
        "missing_fields": "have no start, no load or no server",
        "unparsable": "cannot be parsed",
        "out_of_range": "have a negative or infinite load",
    }
    remedy = "look at the quarantine table, which has each line with its reason; check the layout and the source"
    checks = [
        _judge(
            name, _share(kinds[name], rows), getattr(limits, name), f"{kinds[name]:,} of {rows:,} rows {fact}", remedy
        )
        for name, fact in facts.items()
    ]
    numbers, imputed = counts["rows_used"] * len(SECONDARY_MEASURES), counts.get("numbers_imputed", 0)
    fact = f"{imputed:,} of {numbers:,} secondary numbers were broken and count as 0"
    remedy = "features made of bytes, connections and sub-loads are too low; check those columns of the source"
    return [*checks, _judge("imputed_numbers", _share(imputed, numbers), limits.imputed_numbers, fact, remedy)]


def _check_gaps(summary: LoadSummary, limits: CheckLimits) -> list[DataCheck]:
    servers, empty = summary.servers, summary.hours - summary.hours_with_data
    checks = [
        _judge(
            "hours_without_data",
            _share(empty, summary.hours),
            limits.hours_without_data,
            f"in {empty:,} of {summary.hours:,} hours no server has a load",
            "files are missing, or the dates reach beyond the data: complete dataFile, or correct the dates",
        )
    ]
    for period in (TRAIN, TEST):
        hours, known = int(servers[f"{period}_hours"].sum()), int(servers[f"{period}_known"].sum())
        checks.append(
            _judge(
                f"unknown_hours_{period}",
                _share(hours - known, hours, default=1.0),
                getattr(limits, f"unknown_hours_{period}"),
                f"{hours - known:,} of {hours:,} hours of the servers in the {period} period have no load",
                "run the ETL over the whole period; if a missing hour means an idle server, set missingHours to zero",
            )
        )
    gaps = int((servers["longest_gap"] > limits.gap_hours).sum())
    longest = int(servers["longest_gap"].max()) if len(servers) else 0
    fact = (
        f"{gaps:,} of {len(servers):,} servers have gaps of more than {limits.gap_hours} hours, the longest {longest:,}"
    )
    remedy = "their lags and averages are unknown after it: look whether files are missing, or leave these servers out"
    value = _share(gaps, len(servers))
    return [*checks, _judge("servers_with_long_gaps", value, limits.servers_with_long_gaps, fact, remedy)]


def _check_classes(servers: pd.DataFrame, limits: CheckLimits) -> list[DataCheck]:
    checks, mixes = [], {}
    for period in (TRAIN, TEST):
        rows = servers[[f"{period}_{name}" for name in CLASSES]].sum().to_numpy(dtype=np.float64)
        mixes[period] = shares = rows / rows.sum() if rows.sum() else np.full(len(CLASSES), np.nan)
        mix = ", ".join(f"{name} {share:.1%}" for name, share in zip(CLASSES, shares, strict=True))
        fact = f"classes of the {period} rows: {mix}"
        remedy = "choose thresholds between the loads that occur, or thresholds auto"
        largest, absent = f"largest_class_{period}", f"absent_classes_{period}"
        checks.append(_judge(largest, float(shares.max()), getattr(limits, largest), fact, remedy))
        checks.append(_judge(absent, float((rows == 0).sum()), getattr(limits, absent), fact, remedy))
    drift = float(np.abs(mixes[TRAIN] - mixes[TEST]).sum() / 2)
    fact = f"{drift:.1%} of the rows would have to change class for the test mix to be the training mix"
    remedy = "expect naive forecasts to suffer less than the model; train on later data, or on relative features"
    return [*checks, _judge("class_drift", drift, limits.class_drift, fact, remedy)]


def _check_levels(summary: LoadSummary, limits: CheckLimits) -> list[DataCheck]:
    index = population_stability(*(summary.levels[period].to_numpy(dtype=np.int64) for period in (TRAIN, TEST)))
    shift = median_shifts(summary.servers)
    # an element, not a mean of two: those may be infinite in either direction
    middle = float(abs(np.sort(shift)[(len(shift) - 1) // 2])) if len(shift) else math.nan
    far = int((np.abs(shift) > limits.shift_spreads).sum())
    remedy = "look at the plots of load over time; train on later data, or on features relative to the server's level"
    return [
        _judge(
            "level_drift",
            index,
            limits.level_drift,
            f"population stability index {index:.3f} of the loads relative to their server's training loads",
            remedy + "; a test period of a few days may be all weekend or holiday",
        ),
        _judge(
            "fleet_shift",
            middle,
            limits.fleet_shift,
            f"the middle server's median load has moved by {middle:.2f} spreads of its training loads",
            remedy,
        ),
        _judge(
            "shifted_servers",
            _share(far, len(shift)),
            limits.shifted_servers,
            f"{far:,} of {len(shift):,} servers' median loads have moved by more than {limits.shift_spreads:g} spreads",
            remedy,
        ),
    ]


def _check_servers(summary: LoadSummary, limits: CheckLimits) -> list[DataCheck]:
    servers = summary.servers
    tested = servers[servers["test_known"] > 0]
    unseen, copies = int((tested["train_known"] == 0).sum()), len(summary.duplicates)
    pairs = [f"{row.server} = {row.same_as}" for row in summary.duplicates.head(3).itertuples(index=False)]
    named = f", like {', '.join(pairs)}" if pairs else ""
    return [
        _judge(
            "unseen_servers",
            _share(unseen, len(tested)),
            limits.unseen_servers,
            f"{unseen:,} of {len(tested):,} servers of the test period have no known load in training",
            "nothing was learnt from them: train on later data, or read the scores by server",
        ),
        _judge(
            "duplicate_servers",
            _share(copies, len(servers)),
            limits.duplicate_servers,
            f"{copies:,} of {len(servers):,} servers have the loads of another one{named}",
            "they count twice in training and in every score: take out the copies, or correct the server column",
        ),
    ]


def median_shifts(servers: pd.DataFrame) -> npt.NDArray[np.float64]:
    """By how many training spreads each server's median load has moved; of servers with known loads in both periods.

    Infinite where a load that never changed in training has another median now.
    """
    both = servers[(servers["train_known"] > 0) & (servers["test_known"] > 0)]
    moved = (both["test_median"] - both["train_median"]).to_numpy(dtype=np.float64)
    spread = both["spread"].to_numpy(dtype=np.float64)
    shift = np.divide(moved, spread, out=np.copysign(np.inf, moved), where=spread > 0)
    return np.where(moved == 0, 0.0, shift)


def _judge(name: str, value: float, limit: Limit, fact: str, remedy: str) -> DataCheck:
    if math.isnan(value):
        reason = f"could not be computed, because there are no rows to compare. Found: {fact}. Check the dates"
        return DataCheck(name, WARN, value, limit.warn, limit.refuse, f"{reason}.")
    verdict: Verdict = REFUSE if value > limit.refuse else WARN if value > limit.warn else OK
    reason = fact if verdict == OK else f"{fact}: {remedy}"
    return DataCheck(name, verdict, value, limit.warn, limit.refuse, f"{reason}.")


def _share(part: int, whole: int, default: float = math.nan) -> float:
    return part / whole if whole else default
