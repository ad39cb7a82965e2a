"""What has changed since an earlier result of the same recipe, and so what must be made anew.

Hourly load is taken over for all hours that no part touches which has come, gone or changed. Features are taken over by
months: those that lie before the first change, or further behind the last one than a feature looks back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import narwhals as nw

from workload_forecast.engines.contract import Engine
from workload_forecast.features.build import LOOK_BACK_HOURS
from workload_forecast.load.peaks import hourly_peaks
from workload_forecast.schemas import FEATURES, HOURLY_LOAD, REDUCED, Frame
from workload_forecast.sessions.reduction import five_minute_load
from workload_forecast.steps.parts import Part, Span, span_of
from workload_forecast.storage.local import is_draft, read_info

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Earlier:
    """A result that an earlier run has made, linked so that it stays while it is used.

    Attributes:
        folder: of the links to its tables.
        parts: the hours of each part that it was made of, by the part's id.
    """

    folder: Path
    parts: Mapping[str, Span | None]


def find_earlier(results: Path, recipe: str, parts: Sequence[Part], folder: Path) -> Earlier | None:
    """Return the result of a recipe whose parts differ least, linked into ``folder``.

    None if there is none with a part in common, or it cannot be linked.

    Args:
        results: folder of the step's results.
        recipe: what the result says it was made by (key ``recipe`` of its info).
        parts: that the new result is made of.
        folder: on the same file system; made.
    """
    ids = {part.id for part in parts}
    known = ((path, read_info(path)) for path in results.glob("*/") if not is_draft(path))
    alike = [(path, info) for path, info in known if info and info.get("recipe") == recipe]
    for path, info in sorted(alike, key=lambda found: len(ids ^ found[1]["parts"].keys())):
        if ids.isdisjoint(info["parts"]):
            continue
        try:
            for table in (HOURLY_LOAD, FEATURES):
                for file in (path / table.name).rglob("*.parquet"):
                    link = folder / file.relative_to(path.parent)
                    link.parent.mkdir(parents=True, exist_ok=True)
                    os.link(file, link)
        except OSError:  # it is being replaced, or the file system has no links
            continue
        return Earlier(folder / path.name, {name: span_of(hours) for name, hours in info["parts"].items()})
    return None


def touched(earlier: Mapping[str, Span | None], parts: Sequence[Part]) -> list[Span]:
    """Return the hours of all parts that are on one side alone, as spans in order that neither meet nor overlap."""
    now = {part.id: part.hours for part in parts}
    spans = sorted(
        span
        for one, other in ((earlier, now), (now, earlier))
        for name, span in one.items()
        if span and name not in other
    )
    joined: list[Span] = []
    for first, last in spans:
        if joined and first <= joined[-1][1] + HOUR:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def hourly_load(engine: Engine, parts: Sequence[Part]) -> Frame:
    """Return the hourly load of all parts' sessions."""
    with_rows = sorted((part for part in parts if part.hours), key=lambda part: part.hours or ())
    reduced = engine.read_table(REDUCED, *(part.folder for part in with_rows or parts))
    # where one begins after all before it have ended, no slot has rows in two of them
    ends = [part.hours[1] for part in with_rows if part.hours]
    whole = all(part.hours and part.hours[0] > max(ends[:at]) for at, part in enumerate(with_rows) if at)
    return hourly_peaks(five_minute_load(reduced, whole=whole))


def renewed_load(engine: Engine, parts: Sequence[Part], earlier: Earlier, spans: Sequence[Span]) -> Frame:
    """Return the earlier hourly load with the hours of ``spans`` made anew."""
    kept = engine.read_table(HOURLY_LOAD, earlier.folder / HOURLY_LOAD.name)
    if not spans:
        return kept
    near = [part for part in parts if part.hours and any(_meet(part.hours, span) for span in spans)]
    inside = nw.any_horizontal(*(nw.col("hour").is_between(*span) for span in spans), ignore_nulls=False)
    kept = kept.filter(~inside)
    return nw.concat([kept, hourly_load(engine, near).filter(inside)]) if near else kept


def months_to_make(before: Mapping[str, Span], now: Mapping[str, Span], spans: Sequence[Span]) -> Span | None:
    """Return the first and the last hour of the months whose features may differ, or None if none may.

    A row's features look back :data:`LOOK_BACK_HOURS` hours, on a grid from its server's first hour to its last one.

    Args:
        before, now: the first and the last hour of each server.
        spans: of hours that may differ between them.
    """
    changed = [*spans, *_grid_changes(before, now)]
    if not changed:
        return None
    first = min(first for first, _ in changed)
    last = max(last for _, last in changed) + LOOK_BACK_HOURS * HOUR
    return month_of(first)[0], month_of(last)[1]


def _grid_changes(before: Mapping[str, Span], now: Mapping[str, Span]) -> Iterator[Span]:
    """The hours that servers' grids gained or lost at their ends."""
    for server in {*before, *now}:
        old, new = before.get(server), now.get(server)
        if old is None or new is None:
            yield old or new or ()  # type: ignore[misc]
            continue
        if old[0] != new[0]:
            yield min(old[0], new[0]), max(old[0], new[0])
        if old[1] != new[1]:
            yield min(old[1], new[1]), max(old[1], new[1])


def take_over(earlier: Earlier, folder: Path, made: Span | None, ends: Span) -> int:
    """Move the earlier features' months that were not made anew into ``folder``; return how many they are.

    Args:
        earlier: the result with them.
        folder: of the table.
        made: first and last hour of the months that were made anew.
        ends: first and last hour of the hourly load.
    """
    number = 0
    for month in sorted((earlier.folder / FEATURES.name).glob("year=*/month=*")):
        year, _, of_year = str(month.relative_to(month.parents[1])).removeprefix("year=").partition("/month=")
        span = month_of(datetime(int(year), int(of_year), 1))
        if (made is None or not _meet(span, made)) and _meet(span, ends):
            target = folder / month.relative_to(month.parents[1])
            target.parent.mkdir(parents=True, exist_ok=True)
            month.rename(target)
            number += 1
    return number


def month_of(hour: datetime) -> Span:
    """Return the first and the last hour of the month that an hour is in."""
    first = hour.replace(day=1, hour=0)
    return first, (first + timedelta(days=31)).replace(day=1) - HOUR


def _meet(one: Span, other: Span) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def hours_by_id(parts: Iterable[Part]) -> dict[str, Span | None]:
    """Return what :attr:`Earlier.parts` says of a result made of these parts."""
    return {part.id: part.hours for part in parts}
