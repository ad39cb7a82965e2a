"""The tables computed again in plain Python, slowly and independently; the tests hold the real code against these."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from math import exp, fsum, pi, sqrt
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
        expected = Expected({hour: now["total_load"] for hour, now in hours.items()})
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
            load, error = expected.at(hour, 48)
            error = row["total_load_std_7d"] if error is None else error
            load = None if load is None else max(0.0, load + expected.moved(hour, 48, error))
            row["total_load_last_same_hour"] = row["total_load_lag_48h"]
            row |= {"expected_load": load, "expected_error": error}
            rows.append(row | {"lead_hours": 48})
    return rows


class Expected:
    """The mixture of simple forecasts of one server, hour by hour as its definition reads."""

    def __init__(self, loads: Mapping[datetime, float | None]) -> None:
        self.loads = loads
        self._experts: dict[tuple[datetime, int], list[float] | None] = {}
        self._days: dict[datetime, list[float]] = {}
        self._off: dict[datetime, list[float] | None] = {}
        self._mixtures: dict[tuple[datetime, int], tuple[float | None, float | None]] = {}

    def at(self, hour: datetime, lead: int) -> tuple[float | None, float | None]:
        """Expected load and error, before the spread stands in for an unknown error."""
        days = 1 if lead <= 24 else 2
        load, error = self.mixture(hour, days)
        if error is None and days == 1:
            error = self.mixture(hour, 2)[1]
        return load, error

    def moved(self, hour: datetime, lead: int, error: float | None) -> float:
        """What the surprise of the origin adds."""
        return 0.0 if error is None else error * self.surprise(hour - lead * HOUR) * exp(-lead / 12)

    def known(self, hours: Iterable[datetime]) -> list[float]:
        return [load for hour in hours if (load := self.loads.get(hour)) is not None]

    def day(self, hour: datetime) -> list[float]:
        """The known loads of the 24 hours that end with this one."""
        if hour not in self._days:
            self._days[hour] = self.known(hour - k * HOUR for k in range(24))
        return self._days[hour]

    def off(self, hour: datetime) -> list[float] | None:
        """How far each of the seven, made two days before, was off, or None where that is not known."""
        if hour not in self._off:
            load, made = self.loads.get(hour), self.experts(hour, 2)
            self._off[hour] = None if load is None or made is None else [abs(load - value) for value in made]
        return self._off[hour]

    def experts(self, hour: datetime, days: int) -> list[float] | None:
        """The seven, or None where nothing at all is known."""
        key = (hour, days)
        if key not in self._experts:
            self._experts[key] = self._made(hour, days)
        return self._experts[key]

    def _made(self, hour: datetime, days: int) -> list[float] | None:
        newest = hour - 24 * days * HOUR
        same = [newest - 24 * j * HOUR for j in range(14)]
        day_of = [self.day(at) for at in same]
        usual, level = _mean(self.known(same)), _mean([load for day in day_of[:7] for load in day])
        base = level if usual is None else usual
        if base is None:
            return None
        smooth = []
        for j, at in enumerate(same):
            own = self.loads.get(at)
            if own is not None:
                sides = (at - HOUR, at + HOUR if j else at - 23 * HOUR)
                around = [own if (side := self.loads.get(x)) is None else side for x in sides]
                smooth.append((0.85**j, own / 2 + sum(around) / 4))
        thirds = [_middle(self.known(same[k : k + 3])) for k in (0, 3, 6)]
        newest_day, days14 = _mean(day_of[0]), _mean([load for day in day_of for load in day])
        shifted = None if usual is None or newest_day is None or days14 is None else usual + (newest_day - days14) / 2
        made = [
            self.loads.get(newest),
            usual,
            _middle([x for x in thirds if x is not None]),
            _mean(self.known([hour - 168 * HOUR, hour - 336 * HOUR])),
            fsum(w * x for w, x in smooth) / fsum(w for w, _ in smooth) if smooth else None,
            shifted,
            _mean(self.known(newest - k * HOUR for k in range(3))),
        ]
        return [base if value is None else value for value in made]

    def mixture(self, hour: datetime, days: int) -> tuple[float | None, float | None]:
        key = (hour, days)
        if key not in self._mixtures:
            self._mixtures[key] = self._mixed(hour, days)
        return self._mixtures[key]

    def _mixed(self, hour: datetime, days: int) -> tuple[float | None, float | None]:
        experts = self.experts(hour, days)
        newest = hour - 24 * days * HOUR
        wrong = [each for k in range(336) if (each := self.off(newest - k * HOUR)) is not None]
        if experts is None:
            return None, None
        same, _, ninther, weeks, *_ = experts
        always = same == ninther == weeks
        if len(wrong) < 24:
            return same if always else fsum(experts) / 7, None
        errors = [fsum(map(sqrt, column)) for column in zip(*wrong, strict=True)]
        raised = fsum(errors) / 7 * 0.001 + 1e-9
        weights = [((min(errors) + raised) / (error + raised)) ** 12 for error in errors]
        week = _mean(self.known(newest - k * HOUR for k in range(168)))
        root = fsum(w * e for w, e in zip(weights, errors, strict=True)) / fsum(weights) / len(wrong)
        error = root**2 * 4 / pi
        load = same if always else fsum(w * x for w, x in zip(weights, experts, strict=True)) / fsum(weights)
        return load, None if week is None else error + 0.005 * abs(week)

    def surprise(self, hour: datetime) -> float:
        off = []
        for k in range(6):
            load = self.loads.get(hour - k * HOUR)
            expected, error = self.mixture(hour - k * HOUR, 1) if load is not None else (None, None)
            known = load is not None and expected is not None and error is not None
            off.append(max(-4.0, min(4.0, (load - expected) / (error + 1e-9))) if known else None)  # type: ignore[operator]
        six = _mean([value for value in off if value is not None])
        return 0.3 * (off[0] or 0.0) + 0.2 * (six or 0.0)


def _middle(values: Sequence[float]) -> float | None:
    """The middle of three, the first of fewer."""
    return sorted(values)[1] if len(values) == 3 else next(iter(values), None)


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
