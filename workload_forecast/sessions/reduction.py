"""One pass over the sessions: five-minute sums, quarantine and accounting come out of the same aggregation.

A row that is used is a member of the group (server, hour, slot). A row that is not used is a member of a group of
its own kind, whose key is the disposition and, in quarantine, the line and its file. So a single group-by, which both
engines can spill to disk, reads terabytes once and leaves a small table from which everything else is selected.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import narwhals as nw

from workload_forecast.errors import AccountingError
from workload_forecast.schemas import FIVE_MINUTE_LOAD, MEASURES, QUARANTINE, TIMESTAMP, Frame
from workload_forecast.sessions.cleaning import (
    FILTERED,
    OUTSIDE_WINDOW,
    QUARANTINE_REASONS,
    impute_secondary,
    with_disposition,
)

#: Time of a group of lines, in five minutes since 1970.
_TIME = "time"

_KEYS = ("server", _TIME, "disposition", "file", "line")

_SLOT_SECONDS, _SLOTS = 300, 12
_EPOCH, _HOUR = datetime(1970, 1, 1), timedelta(hours=1)


def reduce_sessions(
    raw: Frame, first: datetime, last: datetime, servers: Sequence[str] = (), sample: float = 1.0
) -> Frame:
    """Return :data:`~workload_forecast.schemas.REDUCED`: one row per group, with the sums of its lines.

    Args, window and sample as in :func:`~workload_forecast.sessions.cleaning.with_disposition`.
    """
    rows = impute_secondary(with_disposition(raw, first, last, servers, sample))
    used, quarantined = nw.col("disposition").is_null(), nw.col("disposition").is_in(QUARANTINE_REASONS)
    # a line's time stays a number, because calendars cost more than all else that is done to it; a group gets its hour
    slot = nw.col("start") // _SLOT_SECONDS
    keyed = rows.select(
        "disposition",
        "imputed",
        *MEASURES,
        server=_only(used, nw.col("server")),
        time=nw.when(used).then(slot).otherwise(_only(~quarantined, slot // _SLOTS * _SLOTS)),
        file=_only(quarantined, nw.col("file")),
        line=_only(quarantined, nw.col("line")),
    )
    groups = keyed.group_by(*_KEYS).agg(
        *[nw.col(name).sum() for name in MEASURES],
        sessions=nw.len(),
        imputed=_only(used, nw.col("imputed")).sum(),
    )
    hour = nw.col(_TIME) // _SLOTS
    return groups.with_columns(
        hour=nw.lit(_EPOCH).cast(TIMESTAMP) + hour * nw.lit(_HOUR),
        slot=_only(used, nw.col(_TIME) - hour * _SLOTS),
    )


def _only(condition: nw.Expr, value: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(value)


def five_minute_load(reduced: Frame, *, whole: bool = True) -> Frame:
    """Select the sums of the used rows: table ``FIVE_MINUTE_LOAD``.

    Args:
        reduced: one result of :func:`reduce_sessions`, or several together.
        whole: whether no slot has rows in more than one of them; else they are added up.
    """
    slots = FIVE_MINUTE_LOAD.select(reduced.filter(nw.col("disposition").is_null()))
    if whole:
        return slots
    sums = [nw.col(name).sum() for name in ("sessions", *MEASURES)]
    return FIVE_MINUTE_LOAD.select(slots.group_by(*FIVE_MINUTE_LOAD.key).agg(*sums))


def hours_of(reduced: Frame) -> tuple[datetime, datetime] | None:
    """Return the first and the last hour of the rows whose start is known, in quarantine apart; None if there is none.

    Those outside the window count, too: as long as a window holds these hours, or none of them, it changes nothing.
    """
    row = reduced.select(first=nw.col("hour").min(), last=nw.col("hour").max()).collect("pyarrow")
    first, last = row["first"].to_list()[0], row["last"].to_list()[0]
    return (first, last) if first else None


def quarantine(reduced: Frame) -> Frame:
    """Select the rows that could not be used: table ``QUARANTINE``."""
    bad = reduced.filter(nw.col("disposition").is_in(QUARANTINE_REASONS))
    return QUARANTINE.select(bad.with_columns(reason=nw.col("disposition"), rows=nw.col("sessions")))


def account(reduced: Frame, rows_read: int) -> dict[str, int]:
    """Return the rows of every disposition and check that none was lost.

    Returns:
        ``rows_read``, ``rows_used``, ``rows_outside_window``, ``rows_filtered``, ``rows_quarantined``,
        ``rows_quarantined_<reason>`` for every reason, ``numbers_imputed``.

    Raises:
        AccountingError: the dispositions do not add up to ``rows_read``.
    """
    summary = reduced.group_by("disposition").agg(nw.col("sessions").sum(), nw.col("imputed").sum()).collect("pyarrow")
    rows = {row["disposition"]: row for row in summary.rows(named=True)}
    count = {name: int(row["sessions"]) for name, row in rows.items()}
    reasons = {reason: count.get(reason, 0) for reason in QUARANTINE_REASONS}
    result = {
        "rows_read": rows_read,
        "rows_used": count.get(None, 0),
        "rows_outside_window": count.get(OUTSIDE_WINDOW, 0),
        "rows_filtered": count.get(FILTERED, 0),
        "rows_quarantined": sum(reasons.values()),
        **{f"rows_quarantined_{reason}": number for reason, number in reasons.items()},
        "numbers_imputed": int(rows[None]["imputed"]) if None in rows else 0,
    }
    found = sum(result[name] for name in ("rows_used", "rows_outside_window", "rows_filtered", "rows_quarantined"))
    if found != rows_read or found != sum(count.values()):
        raise AccountingError(
            f"{rows_read} rows were read, but {found} came out: used, quarantined, outside and filtered must add up. "
            "Nothing was stored. Please report this with the input file that causes it; the other engine may read it."
        )
    return result
