"""The data-quality report of a training: one page to read, made of what the data checks have looked at.

It is Markdown for MLflow's UI, and written whatever the verdict is: who is refused needs it most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from workload_forecast.config import Thresholds
from workload_forecast.markdown import plain, table
from workload_forecast.model.checks import OK, REFUSE, WARN, DataReport
from workload_forecast.model.load_summary import LoadSummary
from workload_forecast.model.split import SPLITS, TimeSplit
from workload_forecast.schemas import CLASSES

#: Of the servers with the longest gaps, and of those that are copies of others.
NAMED_SERVERS = 5

_QUARANTINED = "rows_quarantined_"
_WORDS = {
    OK: "**Fit to train on**: every check is passed.",
    WARN: "**Fit to train on, with warnings**: read these before the scores of the model.",
    REFUSE: "**Refused**: there was no training on this data.",
}


def data_quality(
    report: DataReport, summary: LoadSummary, counts: Mapping[str, int], split: TimeSplit, thresholds: Thresholds
) -> str:
    """Write the report.

    Args:
        report: of the checks.
        summary: of the feature table, which they were made on.
        counts: of the ETL, as :func:`~workload_forecast.model.checks.check_data` takes them.
        split: of the training.
        thresholds: where the classes meet.
    """
    parts = (
        f"# Data quality: {report.verdict}",
        _WORDS[report.verdict],
        *_list(report.reasons(REFUSE) + report.reasons(WARN)),
        "## Rows of the sessions",
        *_rows(counts),
        "## Training and test period",
        *_periods(summary.servers, split, thresholds),
        "## Gaps and servers",
        *_list(_servers(summary)),
        "## Every check",
        _checks(report),
    )
    return "\n\n".join(parts) + "\n"


def _list(lines: Iterable[str]) -> list[str]:
    """One block of a list; none of an empty one."""
    items = [f"- {plain(line)}" for line in lines]
    return ["\n".join(items)] if items else []


def _rows(counts: Mapping[str, int]) -> list[str]:
    read = counts["rows_read"]
    bad = {name.removeprefix(_QUARANTINED): n for name, n in counts.items() if name.startswith(_QUARANTINED)}
    found = {f"quarantined: {reason}": number for reason, number in bad.items() if number}
    lines = {
        "used": counts["rows_used"],
        **dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))),
        "outside the window": counts.get("rows_outside_window", 0),
        "of servers that were not asked for": counts.get("rows_filtered", 0),
        "**read**": read,
    }
    absent = ", ".join(sorted(reason for reason, number in bad.items() if not number))
    imputed = counts.get("numbers_imputed", 0)
    return [
        "Every row that was read is in one of these lines; the table `quarantine` of the ETL has each bad one.",
        table(("rows", "number", "share"), ((name, f"{n:,}", _percent(n, read)) for name, n in lines.items())),
        *([f"Looked for and not found: {absent}."] if absent else []),
        f"Broken numbers beside the load that count as 0: {imputed:,}.",
    ]


def _periods(servers: pd.DataFrame, split: TimeSplit, thresholds: Thresholds) -> list[str]:
    totals = {
        name: int(servers[name].sum()) for name in map(str, servers) if name.endswith(("_hours", "_known", *CLASSES))
    }

    def line(title: str, name: str, whole: str = "") -> tuple[str, ...]:
        shown = []
        for period in SPLITS:
            number = totals[f"{period}_{name}"]
            shown.append(f"{number:,} ({_percent(number, totals[f'{period}_{whole}'])})" if whole else f"{number:,}")
        return (title, *shown)

    rows = [
        ("from (UTC)", f"{split.training_from}", f"{split.test_from}"),
        ("to (UTC)", f"before {split.training_to}", f"{split.to}"),
        ("servers with a load", *(f"{int((servers[f'{period}_known'] > 0).sum()):,}" for period in SPLITS)),
        line("hours of the servers", "hours"),
        line("of these with a load", "known", "hours"),
        *(line(f"class {name}", name, "known") for name in CLASSES),
        ("level: the servers' middle median load", *(_number(servers[f"{period}_median"]) for period in SPLITS)),
    ]
    classes = f"Class low: load ≤ {thresholds.low:g}; high: > {thresholds.high:g}; medium: between."
    gap = f"The {split.gap_hours} hours between the periods are neither trained nor tested on."
    return [f"{classes} {gap}", table(("", "training", "test"), rows)]


def _servers(summary: LoadSummary) -> list[str]:
    servers, copies = summary.servers, summary.duplicates
    trained, tested = servers["train_known"] > 0, servers["test_known"] > 0
    new, gone = int((tested & ~trained).sum()), int((trained & ~tested).sum())
    gaps = servers[servers["longest_gap"] > 0].sort_values(["longest_gap", "server"], ascending=[False, True])
    longest = [f"{row.server} ({row.longest_gap:,} h)" for row in gaps.head(NAMED_SERVERS).itertuples(index=False)]
    pairs = [f"{row.server} = {row.same_as}" for row in copies.head(NAMED_SERVERS).itertuples(index=False)]
    return [
        f"{summary.hours - summary.hours_with_data:,} of {summary.hours:,} hours have no load of any server.",
        f"{len(gaps):,} of {len(servers):,} servers have hours without a load between two with one"
        + (f"; the longest gaps: {', '.join(longest)}." if longest else "."),
        f"{new:,} servers are new in the test period, {gone:,} are not seen in it any more.",
        f"{len(copies):,} servers have the loads of another one" + (f": {', '.join(pairs)}." if pairs else "."),
    ]


def _checks(report: DataReport) -> str:
    head = ("check", "verdict", "value", "warn above", "refuse above", "found")
    return table(
        head,
        (
            (
                f"`{check.name}`",
                check.verdict if check.verdict == OK else f"**{check.verdict}**",
                f"{check.value:.4g}",
                f"{check.warn_above:g}",
                f"{check.refuse_above:g}" if check.refuse_above < float("inf") else "never",
                plain(check.reason),
            )
            for check in report.checks
        ),
    )


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "–"


def _number(values: pd.Series[float]) -> str:
    """The median of what is known."""
    known = values.dropna()
    return f"{known.median():,.4g}" if len(known) else "unknown"
