"""The tables computed again in plain Python, slowly and independently; the tests hold the real code against these."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from math import fsum
from statistics import pstdev
from typing import Any

from workload_forecast.schemas import LAG_HOURS, MEASURES

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
HOUR = timedelta(hours=1)


def five_minute_load(sessions: Rows) -> list[Row]:
    """From clean sessions (``server``, ``start``, measures; a broken secondary measure is None and counts as 0)."""
    groups: dict[tuple[str, datetime, int], list[Mapping[str, Any]]] = {}
    for session in sessions:
        start = session["start"]
        hour = start.replace(minute=0, second=0, microsecond=0)
        groups.setdefault((session["server"], hour, start.minute // 5), []).append(session)
    return [
        {"server": server, "hour": hour, "slot": slot, "sessions": len(group)}
        | {name: fsum(session[name] or 0.0 for session in group) for name in MEASURES}
        for (server, hour, slot), group in groups.items()
    ]


def hourly_load(five_minute: Rows) -> list[Row]:
    """Walk the slots in ascending order and keep one only if it beats the best so far."""
    best: dict[tuple[str, datetime], Mapping[str, Any]] = {}
    for row in sorted(five_minute, key=lambda row: row["slot"]):
        key = (row["server"], row["hour"])
        if key not in best or round(row["total_load"], 6) > round(best[key]["total_load"], 6):
            best[key] = row
    return [
        {"server": server, "hour": hour, "peak_slot": row["slot"], "sessions": row["sessions"]}
        | {name: round(row[name], 6) for name in MEASURES}
        for (server, hour), row in best.items()
    ]


def grid(hourly: Rows, missing_hours: str, extend_hours: int = 0) -> dict[str, dict[datetime, Row]]:
    """Measures per server and hour, None where unknown."""
    servers: dict[str, dict[datetime, Row]] = {}
    for row in hourly:
        servers.setdefault(row["server"], {})[row["hour"]] = {name: row[name] for name in MEASURES}
    for hours in servers.values():
        first, last = min(hours), max(hours)
        for hour in hours_between(first, last + extend_hours * HOUR):
            idle = missing_hours == "zero" and hour < last
            hours.setdefault(hour, dict.fromkeys(MEASURES, 0.0 if idle else None))
    return servers


def features(hourly: Rows, missing_hours: str, extend_hours: int = 0, holidays: Collection[date] = ()) -> list[Row]:
    """Every definition read off the requirements, hour by hour."""
    rows = []
    for server, hours in grid(hourly, missing_hours, extend_hours).items():
        for hour, now in hours.items():

            def back(
                offsets: Iterable[int], name: str = "total_load", hour: datetime = hour, hours: Any = hours
            ) -> list[float]:
                values = [hours[hour - k * HOUR][name] for k in offsets if hour - k * HOUR in hours]
                return [value for value in values if value is not None]

            row = {"server": server, "hour": hour, "total_load": now["total_load"]} | calendar_row(hour, holidays)
            for k in LAG_HOURS:
                row[f"total_load_lag_{k}h"] = next(iter(back([k])), None)
            for name in MEASURES:
                row[f"{name}_mean_1d"] = _mean(back(range(48, 72), name))
                row[f"{name}_mean_7d"] = _mean(back(range(48, 216), name))
            week = back(range(48, 216))
            row["total_load_std_7d"] = pstdev(week) if week else None
            row["total_load_min_7d"] = min(week, default=None)
            row["total_load_max_7d"] = max(week, default=None)
            row["total_load_same_hour_mean_7d"] = _mean(back((48, 72, 96, 120, 144, 168, 192)))
            row["observed_hours_7d"] = float(len(week))
            rows.append(row)
    return rows


def calendar_row(hour: datetime, holidays: Collection[date] = ()) -> Row:
    """One hour's calendar; ``holidays`` are the observed days."""
    return {
        "hour_of_day": hour.hour,
        "weekday": hour.isoweekday(),
        "day_of_month": hour.day,
        "week_of_year": hour.isocalendar()[1],
        "month": hour.month,
        "year": hour.year,
        "is_us_holiday": int(hour.date() in holidays),
        "is_business_hour": int(8 <= hour.hour < 18),
        "is_morning": int(6 <= hour.hour < 9),
        "trend_days": hour.toordinal() - date(1970, 1, 1).toordinal() + hour.hour / 24,
    }


def hours_between(first: datetime, last: datetime) -> list[datetime]:
    """Every hour from ``first`` to ``last``, both included."""
    return [first + k * HOUR for k in range((last - first) // HOUR + 1)]


def _mean(values: Sequence[float]) -> float | None:
    return fsum(values) / len(values) if values else None
