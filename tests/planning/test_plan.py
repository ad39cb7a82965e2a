"""Each action with its reason, and the plan as a whole under a checker of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import fsum
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workload_forecast.errors import DataError, ModelError
from workload_forecast.load_quantiles import LoadQuantiles
from workload_forecast.plan_limits import PlanLimits
from workload_forecast.planning.plan import REASONS, Plan, make_plan, with_quantile
from workload_forecast.schemas import CAPACITY_PLAN

START = datetime(2016, 7, 1)
TEN = PlanLimits(machine_capacity=10.0, margin=0.0, errors=0.0, minimum_confidence=0.6)


def said(loads: list[float | None], low: float | None = 1.0, high: float = 0.0, error: float | None = 0.0) -> Any:
    """What is said of a server: the loads of its hours; the same probabilities in each."""
    return [(load, error, low, high) for load in loads]


def forecast(servers: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "server": name,
                "hour": START + timedelta(hours=n),
                "expected_load": load,
                "expected_error": error,
                "probability_low": low,
                "probability_high": high,
                "origin": "2016-06-30T23",
            }
            for name, rows in servers.items()
            for n, (load, error, low, high) in enumerate(rows)
        ],
        schema_overrides={"expected_load": pl.Float64, "expected_error": pl.Float64, "probability_low": pl.Float64},
        infer_schema_length=None,
    )


def actions(plan: Plan) -> dict[str, tuple[str, str, str]]:
    return {row["server"]: (row["action"], row["machine"], row["reason"]) for row in plan.table.rows(named=True)}


def test_every_action_has_its_reason() -> None:
    plan = make_plan(
        forecast(
            {
                "a night": said([1, 6]),
                "b day": said([6, 1]),
                "c busy": said([9, 9], low=0.1),
                "d pinned": said([1, 1]),
                "e large": said([25, 5], low=0.0, high=0.9),
                "f perhaps": said([11, 5], low=0.2, high=0.3),
                "g new": said([1, None]),
                "h silent": said([1, 1], low=None),
                "i whole": said([10, 10]),
            }
        ),
        TEN.model_copy(update={"pinned": ("d pinned",)}),
        greatest_load=99.0,
    )
    assert actions(plan) == {
        "a night": ("consolidate", "d pinned", "shares"),
        "b day": ("consolidate", "d pinned", "shares"),
        "c busy": ("keep", "c busy", "in_use"),
        "d pinned": ("keep", "d pinned", "hosts"),
        "e large": ("scale_out", "e large", "exceeds"),
        "f perhaps": ("keep", "f perhaps", "may_exceed"),
        "g new": ("keep", "g new", "unknown"),
        "h silent": ("keep", "h silent", "unknown"),
        "i whole": ("keep", "i whole", "no_room"),
    }
    assert {reason for *_, reason in actions(plan).values()} <= set(REASONS)
    assert (plan.capacity, plan.machines, plan.missing) == (10.0, 7, 2)
    large = plan.table.row(by_predicate=pl.col("server") == "e large", named=True)
    assert (large["machines_missing"], large["peak_load"], large["peak_hour"]) == (2, 25.0, START)
    assert large["confidence"] == pytest.approx(0.9), "of the hours in which it is too much"
    new = plan.table.row(by_predicate=pl.col("server") == "g new", named=True)
    assert (new["confidence"], new["peak_load"], new["peak_hour"]) == (None, None, None)
    assert list(plan.table.columns) == list(CAPACITY_PLAN.columns)


def test_margin_and_errors_leave_room() -> None:
    servers = {"a": said([5], error=0.5), "b": said([5], error=None)}
    assert make_plan(forecast(servers), TEN, 1.0).machines == 1
    assert make_plan(forecast(servers), TEN.model_copy(update={"margin": 0.01}), 1.0).machines == 2
    assert make_plan(forecast(servers), TEN.model_copy(update={"errors": 1.0}), 1.0).machines == 2


def test_confidence_decides() -> None:
    servers = {"a": said([1], low=0.6), "b": said([1], low=0.59)}
    assert actions(make_plan(forecast(servers), TEN, 1.0))["a"] == ("consolidate", "b", "shares")
    sure = TEN.model_copy(update={"minimum_confidence": 0.61})
    assert make_plan(forecast(servers), sure, 1.0).machines == 2


def test_machines_are_shared_within_a_group_alone() -> None:
    servers = {name: said([1]) for name in "abcd"}
    plan = make_plan(forecast(servers), TEN.model_copy(update={"groups": {"web": ("a", "c")}}), 1.0)
    assert {name: machine for name, (_, machine, _) in actions(plan).items()} == {
        "a": "a",
        "c": "a",
        "b": "b",
        "d": "b",
    }


def test_capacity_is_the_greatest_load_where_none_is_given() -> None:
    servers = {"a": said([4]), "b": said([4])}
    limits = PlanLimits(margin=0.0, errors=0.0)
    assert make_plan(forecast(servers), limits, 8.0).machines == 1
    assert make_plan(forecast(servers), limits, 7.9).machines == 2


@given(
    st.dictionaries(
        st.sampled_from("abcdefghij"),
        st.lists(st.tuples(st.none() | st.integers(0, 12), st.floats(0, 1)), min_size=3, max_size=3),
        min_size=1,
    )
)
def test_no_shared_machine_is_too_full_and_nobody_is_lost(fleet: dict[str, list[tuple[int | None, float]]]) -> None:
    servers = {name: [(load, 0.5, low, 1 - low) for load, low in hours] for name, hours in fleet.items()}
    limits = PlanLimits(machine_capacity=10.0, margin=0.1, errors=2.0, minimum_confidence=0.4)
    plan = make_plan(forecast(servers), limits, 1.0)
    machine = {row["server"]: row["machine"] for row in plan.table.rows(named=True)}
    assert set(machine) == set(servers)
    assert plan.fewest <= plan.machines == len(set(machine.values()))
    for host in set(machine.values()):
        guests = [name for name in servers if machine[name] == host]
        assert host in guests
        if len(guests) > 1:
            loads = [[load for load, *_ in servers[name]] for name in guests]
            assert all(load is not None for each in loads for load in each)
            error = 2.0 * 0.5 * len(guests) ** 0.5
            assert all(fsum(load or 0 for load in hour) + error <= 9 + 1e-9 for hour in zip(*loads, strict=True))


def test_an_idle_fleet_needs_a_capacity() -> None:
    servers = {"a": said([0]), "b": said([0])}
    with pytest.raises(DataError, match=r"set planning\.machineCapacity"):
        make_plan(forecast(servers), PlanLimits(), 0.0)
    assert make_plan(forecast(servers), TEN, 0.0).machines == 1


def test_a_forecast_with_holes_is_refused() -> None:
    whole = forecast({"a": said([1, 2]), "b": said([1, 2])})
    for broken in (whole.head(3), whole.head(0), whole.with_columns(origin=pl.Series(["x", "x", "x", "y"]))):
        with pytest.raises(DataError, match="one origin, with the same hours"):
            make_plan(broken, TEN, 1.0)


def test_a_server_in_two_groups_is_refused() -> None:
    with pytest.raises(ValidationError, match="a server is in one group: a"):
        PlanLimits(groups={"one": ("a", "b"), "two": ("a",)})


def test_a_quantile_is_as_many_errors_as_the_training_counted() -> None:
    quantiles = LoadQuantiles(1.0, (-2.0, -0.5, 1.5, 2.0, 10.0))
    assert with_quantile(TEN, quantiles) == TEN
    wanted = {level: with_quantile(PlanLimits(quantile=level), quantiles).errors for level in (50, 90, 95, 99)}
    assert wanted == {50: 0.0, 90: 1.5, 95: 2.0, 99: 10.0}
    with pytest.raises(ModelError, match=r"planning\.quantile=90 asks .* counted no quantiles\. Train again"):
        with_quantile(PlanLimits(quantile=90), LoadQuantiles())


def test_errors_and_a_quantile_are_not_given_both() -> None:
    with pytest.raises(ValueError, match="leave one of them out"):
        PlanLimits(quantile=90, errors=0.5)
