"""Plans are looked over by a checker of a few plain lines that knows nothing of how they were made."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workload_forecast.planning.packing import fewest_machines, overloads, pack

Rows = list[list[float]]


LOAD = st.integers(0, 130).map(lambda n: n / 10)


def fleets(most: int = 12) -> st.SearchStrategy[tuple[Rows, list[bool]]]:
    """Loads of some servers over one to four hours, and which of them may move."""
    servers = st.integers(1, 4).flatmap(
        lambda hours: st.lists(st.tuples(st.lists(LOAD, min_size=hours, max_size=hours), st.booleans()), max_size=most)
    )
    return servers.map(lambda drawn: ([loads for loads, _ in drawn], [may for _, may in drawn]))


def as_array(rows: Rows) -> np.ndarray:
    return np.array(rows, dtype=float).reshape(len(rows), -1 if rows else 1)


def check(rows: Rows, errors: list[float], movable: list[bool], machines: list[int], limit: float) -> None:
    """Every server is somewhere, who may not move has not moved, and nothing that is shared is too full."""
    assert len(machines) == len(rows)
    for server, machine in enumerate(machines):
        assert machines[machine] == machine, "a machine whose own server has left takes nobody"
        assert movable[server] or machine == server
    for machine in set(machines):
        guests = [server for server, at in enumerate(machines) if at == machine]
        if len(guests) > 1:
            error = math.hypot(*(errors[guest] for guest in guests))
            for hour in zip(*(rows[guest] for guest in guests), strict=True):
                assert math.fsum(hour) + error <= limit + 1e-9


@given(fleets(), st.sampled_from([3.0, 10.0, 12.5]), st.sampled_from([0.0, 0.5, 2.0]))
def test_no_machine_that_is_shared_is_too_full_in_any_hour(
    fleet: tuple[Rows, list[bool]], limit: float, error: float
) -> None:
    rows, movable = fleet
    errors = [error * (1 + n % 3) for n in range(len(rows))]
    loads, may = as_array(rows), np.array(movable, dtype=bool)
    spread = np.array(errors)[:, None] * np.ones_like(loads)
    machines = pack(loads, spread, limit, may).tolist()
    check(rows, errors, movable, machines, limit)
    assert pack(loads, spread, limit, may).tolist() == machines
    assert fewest_machines(loads, spread, limit) <= len(set(machines))


@given(fleets(most=5))
def test_no_packing_needs_fewer_machines_than_the_bound(fleet: tuple[Rows, list[bool]]) -> None:
    """All ways to share machines are tried."""
    rows, _ = fleet
    limit = 10.0
    best = len(rows)
    for tried in itertools.product(range(len(rows)), repeat=len(rows)):
        groups = [[row for row, at in zip(rows, tried, strict=True) if at == machine] for machine in set(tried)]
        if all(
            len(group) == 1 or all(math.fsum(hour) <= limit for hour in zip(*group, strict=True)) for group in groups
        ):
            best = min(best, len(groups))
    loads = as_array(rows)
    assert fewest_machines(loads, 0 * loads, limit) <= best
    assert len(set(pack(loads, 0 * loads, limit, np.ones(len(rows), dtype=bool)).tolist())) >= best


def test_complementary_cycles_share_a_machine() -> None:
    """By their peaks each would need its own; hour by hour, day and night fit together."""
    day, night = [8.0, 1.0], [1.0, 8.0]
    loads = np.array([day, night, day, night])
    assert len(set(pack(loads, 0 * loads, 10.0, np.ones(4, dtype=bool)).tolist())) == 2
    assert fewest_machines(loads, 0 * loads, 10.0) == 2


def test_the_error_of_a_sum_is_less_than_the_sum_of_the_errors() -> None:
    loads, errors = np.array([[3.5], [3.5]]), np.array([[2.0], [2.0]])
    both = np.ones(2, dtype=bool)
    assert pack(loads, errors, 9.9, both).tolist() == [0, 0], "7 and the root of 8, not 7 and 4"
    assert pack(loads, errors, 9.8, both).tolist() == [0, 1]


def test_the_room_beside_servers_that_stay_is_used_first() -> None:
    profiles = np.array([[2.0], [6.0], [3.0]])
    assert pack(profiles, 0 * profiles, 10.0, np.array([True, False, True])).tolist() == [0, 1, 1], (
        "the larger one comes first"
    )


def test_a_server_that_is_too_large_keeps_its_machine_alone() -> None:
    profiles = np.array([[0.0], [11.0], [1.0]])
    assert pack(profiles, 0 * profiles, 10.0, np.ones(3, dtype=bool)).tolist() == [2, 1, 2]
    assert fewest_machines(profiles, 0 * profiles, 10.0) == 2


def test_an_overload_is_a_machine_and_an_hour() -> None:
    profiles = np.array([[6.0, 6.0, 6.0], [5.0, 4.0, 3.0], [11.0, 10.0, 9.0]])
    assert overloads(profiles, [0, 0, 2], 10.0) == 2
    assert overloads(profiles, [0, 1, 2], 10.0) == 1
    assert overloads(profiles, [0, 0, 2], 9.0) == 4
