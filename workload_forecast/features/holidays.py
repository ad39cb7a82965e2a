"""The days on which US federal holidays are observed, by plain arithmetic; the service works without pandas."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

_MONDAY, _THURSDAY, _SATURDAY, _SUNDAY = 0, 3, 5, 6

#: First years of the holidays that are younger than the calendar.
_KING, _JUNETEENTH = 1986, 2021


def observed_holidays(year: int) -> list[date]:
    """Return the observed days of the holidays of a year, in ascending order.

    A holiday on a Saturday is observed on the Friday before, one on a Sunday on the Monday after: New Year's day of a
    year may be observed in the year before.
    """
    fixed = [date(year, 1, 1), date(year, 7, 4), date(year, 11, 11), date(year, 12, 25)]
    if year >= _JUNETEENTH:
        fixed.append(date(year, 6, 19))
    return sorted([*map(_working_day, fixed), *_moving(year)])


def _moving(year: int) -> Iterator[date]:
    if year >= _KING:
        yield _nth(year, 1, _MONDAY, 3)
    yield _nth(year, 2, _MONDAY, 3)  # Presidents' Day
    yield _nth(year, 6, _MONDAY, 1) - timedelta(days=7)  # Memorial Day: the last Monday of May
    yield _nth(year, 9, _MONDAY, 1)  # Labor Day
    yield _nth(year, 10, _MONDAY, 2)  # Columbus Day
    yield _nth(year, 11, _THURSDAY, 4)  # Thanksgiving


def _nth(year: int, month: int, weekday: int, number: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))


def _working_day(day: date) -> date:
    return day + timedelta(days={_SATURDAY: -1, _SUNDAY: 1}.get(day.weekday(), 0))
