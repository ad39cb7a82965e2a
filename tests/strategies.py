"""Hypothesis strategies for small inputs: few servers, many gaps, many ties."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import strategies as st

from tests.oracle import Row
from workload_forecast.schemas import MEASURES, SECONDARY_MEASURES

#: A Friday; a Sunday, a month's end and the holiday of 4 July are a few days away.
START = datetime(2016, 6, 24)

#: Few distinct values, so that ties are common; two decimals, so that sums differ in their last bits.
loads = st.integers(0, 400).map(lambda n: n / 100) | st.sampled_from([0.1, 0.2, 0.3, 1e6, 1e6 + 0.001])
servers = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"])


@st.composite
def session_sets(draw: st.DrawFn, max_sessions: int = 25, hours: int = 3) -> list[Row]:
    """Clean sessions of up to three servers that start within ``hours`` hours; secondary measures can be None."""
    seconds = st.integers(0, hours * 3600 - 1) | st.sampled_from([0, 299, 300, 3599, 3600])
    session = st.fixed_dictionaries(
        {
            "server": servers,
            "start": seconds.map(lambda s: START + timedelta(seconds=s)),
            "total_load": loads,
            **dict.fromkeys(SECONDARY_MEASURES, st.none() | loads),
        }
    )
    return draw(st.lists(session, max_size=max_sessions))


@st.composite
def five_minute_tables(draw: st.DrawFn, max_rows: int = 30) -> list[Row]:
    """Rows of the five-minute load of up to three servers and three hours, unique by key."""
    hour = st.integers(0, 2).map(lambda h: START + timedelta(hours=h))
    keys = draw(st.lists(st.tuples(servers, hour, st.integers(0, 11)), unique=True, max_size=max_rows))
    measures = st.tuples(*[loads] * len(MEASURES))
    return [
        {"server": server, "hour": at, "slot": slot, "sessions": draw(st.integers(1, 5))}
        | dict(zip(MEASURES, draw(measures), strict=True))
        for server, at, slot in keys
    ]


@st.composite
def hourly_tables(draw: st.DrawFn, max_rows_each: int = 12) -> list[Row]:
    """Hourly load of one to three servers: stretches of hours, single rows, gaps of up to four days."""
    rows: list[Row] = []
    for server in draw(st.lists(servers, min_size=1, max_size=3, unique=True)):
        gaps = st.sampled_from([1, 1, 1, 1, 2, 5, 23, 24, 47, 48, 100])
        offset = draw(st.integers(0, 30))
        for gap in [0, *draw(st.lists(gaps, max_size=max_rows_each))]:
            offset += gap
            rows.append(hourly_row(server, START + timedelta(hours=offset), draw(loads), draw(loads)))
    return rows


def hourly_row(server: str, hour: datetime, load: float, secondary: float = 1.0) -> Row:
    """One row of the hourly load; the secondary measures are distinct multiples of ``secondary``."""
    return {"server": server, "hour": hour, "peak_slot": 3, "sessions": 2, "total_load": load} | {
        name: secondary * (1 + number) for number, name in enumerate(SECONDARY_MEASURES)
    }
