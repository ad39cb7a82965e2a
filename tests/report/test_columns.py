"""What the page is given, unpacked again by a few lines that know the format's description alone."""

from __future__ import annotations

import json
import struct
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.fleets import HOSTILE, HOUR, START, class_of, made_up
from workload_forecast.errors import DataError
from workload_forecast.report.columns import Fleet, pack_fleet

CODES = {"uint8": "B", "uint16": "H", "uint32": "I", "float32": "f"}


def unpacked(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<I", data)
    head: dict[str, Any] = json.loads(data[4 : 4 + length])
    for name, (kind, offset, size) in head["arrays"].items():
        assert offset % 4 == length % 4 == 0
        head[name] = struct.unpack_from(f"<{size}{CODES[kind]}", data, 4 + length + offset)
    return head


def loads(page: dict[str, Any], name: str, server: int) -> list[float | None]:
    hours = len(page[name]) // len(page["servers"])
    steps = page[name][server * hours : (server + 1) * hours]
    return [None if step == 65_535 else step * page["unit"][server] for step in steps]


def equal(found: list[float | None], wanted: list[float | None], greatest: float) -> bool:
    """Unknown where unknown; else closer than half of a 4,095th of the server's greatest load."""
    return len(found) == len(wanted) and all(
        a is None if b is None else a is not None and abs(a - b) <= greatest * (0.5 / 4_095 + 1e-6)
        for a, b in zip(found, wanted, strict=True)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 12), st.integers(0, 5))
def test_the_page_has_what_the_tables_have(servers: int, seed: int) -> None:
    made = made_up(servers, seed)
    page = unpacked(pack_fleet(made.fleet, {"low": 1.0}))
    assert page["servers"] == sorted(made.week)
    assert (page["low"], page["start"], page["hours"], page["historyHours"]) == (1.0, "2016-07-01T00:00:00Z", 48, 168)
    plan = {row["server"]: row for row in made.fleet.plan.rows(named=True)}
    for at, name in enumerate(page["servers"]):
        week, expected = made.week[name], made.expected[name]
        error = [None if load is None else load / 10 for load in expected]
        greatest = max([load for load in (*week, *expected, *error) if load is not None])
        assert equal(loads(page, "history", at), week, greatest)
        assert equal(loads(page, "expected", at), expected, greatest)
        assert equal(loads(page, "error", at), error, greatest)
        said = [(*page["classNames"], None)[code] for code in page["classes"][at * 48 : at * 48 + 48]]
        assert said == [None if load is None else class_of(load) for load in expected]
        answered = {page["sources"][code] for code in page["answered"][at * 48 : at * 48 + 48]}
        assert answered == {"none" if expected[0] is None else "model"}
        row = plan[name]
        assert page["actions"][page["action"][at]] == row["action"]
        assert page["reasons"][page["reason"][at]] == row["reason"]
        assert page["servers"][page["machine"][at]] == row["machine"]
        assert page["missing"][at] == row["machines_missing"]
        if row["peak_load"] is None:
            assert page["peak"][at] != page["peak"][at]
            assert page["peakHour"][at] == 255
        else:
            assert page["peak"][at] == pytest.approx(row["peak_load"], rel=1e-6)
            assert START + page["peakHour"][at] * HOUR == row["peak_hour"]


def test_an_hour_without_a_row_was_idle_from_the_servers_first_hour_on() -> None:
    made = made_up(4)
    name = min(made.week)  # whose 100th hour is missing
    since = {name: START - timedelta(hours=100)}
    fleet = made.fleet
    from_then = unpacked(pack_fleet(Fleet(fleet.forecast, fleet.plan, fleet.history.clear(), since), {}))
    assert loads(from_then, "history", 0) == [None] * 68 + [0.0] * 100
    long_ago = {name: START - timedelta(days=300)}
    always = unpacked(pack_fleet(Fleet(fleet.forecast, fleet.plan, fleet.history, long_ago), {}))
    assert [hour for hour, load in enumerate(loads(always, "history", 0)) if load == 0.0] == [100]


def test_what_is_no_load_is_unknown_and_what_is_below_none_is_none() -> None:
    fleet = made_up(4).fleet
    name = fleet.plan["server"].min()
    odd = {168: 5.0, 1: float("inf"), 2: float("nan"), 3: -4.0, 169: 9.0, 0: 9.0}  # hours before the forecast
    rows = [(name, START - n * HOUR, load) for n, load in odd.items()]
    history = pl.DataFrame(rows, schema=["server", "hour", "total_load"], orient="row")
    found = loads(unpacked(pack_fleet(Fleet(fleet.forecast, fleet.plan, history), {})), "history", 0)
    assert found[0] == pytest.approx(5.0, abs=0.1)
    assert found[-3:] == [0.0, None, None]
    assert found[1:-3] == [None] * 164


def test_names_stay_what_they_are() -> None:
    assert set(HOSTILE) < set(unpacked(pack_fleet(made_up(9).fleet, {}))["servers"])


@pytest.mark.parametrize("broken", ["hours", "origins", "plan", "empty"])
def test_tables_that_do_not_belong_together_are_refused(broken: str) -> None:
    fleet = made_up(5).fleet
    forecast, plan = fleet.forecast, fleet.plan
    if broken == "hours":
        forecast = forecast.head(-1)
    elif broken == "origins":
        forecast = forecast.with_columns(origin=pl.when(pl.col("lead_hours") > 1).then("origin"))
    elif broken == "plan":
        plan = plan.head(-1)
    else:
        forecast, plan = forecast.clear(), plan.clear()
    with pytest.raises(DataError, match=r"one origin and the same servers\. Forecast again"):
        pack_fleet(Fleet(forecast, plan, fleet.history), {})
