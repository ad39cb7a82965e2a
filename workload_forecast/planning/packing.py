"""Several servers on one machine: packing of load profiles, hour by hour, under a limit that holds in every hour.

Complementary daily cycles can share a machine, which peaks alone would forbid. The problem is vector bin packing, a
dimension for each hour, and NP-hard already in one. There, first-fit decreasing opens at most 11/9 of the fewest
machines, and one more (Dósa 2007); for several there is no such bound, so :func:`fewest_machines` tells how far from
the optimum a plan can be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: Servers × hours.
Profiles = npt.NDArray[np.float64]


def pack(loads: Profiles, errors: Profiles, limit: float, movable: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the machine that each server is to run on, as the position of the server whose machine it is now.

    Every server has a machine of its own now. Servers that may not move keep theirs, and the room beside them is used
    first; the largest of the others comes first, and goes to the first machine with room in every hour, else stays.
    Room has a machine for the sum of the loads on it and for the error of that sum: errors of several servers seldom
    come at once, so that of the sum is the root of the sum of their squares.
    Equal input gives an equal plan: of two alike, the one that stands first comes first.

    Args:
        loads: that are expected; none is negative.
        errors: of these, that are to be reckoned with.
        limit: that no machine with several servers may exceed in any hour; a server that exceeds it by itself keeps its
            machine, and nobody joins it.
        movable: which servers may move.
    """
    count, hours = loads.shape
    machine, squares = np.arange(count), errors * errors
    peaks = (loads + errors).max(axis=1, initial=0.0)
    free_to_go = movable & (peaks <= limit)
    opened = np.flatnonzero(~free_to_go).tolist()
    # of the machines that are open, in the order in which they are tried
    load, square = np.empty((count, hours)), np.empty((count, hours))
    load[: len(opened)], square[: len(opened)] = loads[opened], squares[opened]
    for server in sorted(np.flatnonzero(free_to_go).tolist(), key=lambda at: (-peaks[at], at)):
        there = slice(len(opened))
        fits = (load[there] + loads[server] + np.sqrt(square[there] + squares[server]) <= limit).all(axis=1)
        first = int(fits.argmax()) if fits.any() else len(opened)
        if first == len(opened):
            opened.append(server)
            load[first], square[first] = loads[server], squares[server]
        else:
            load[first] += loads[server]
            square[first] += squares[server]
            machine[server] = opened[first]
    return machine


def fewest_machines(loads: Profiles, errors: Profiles, limit: float) -> int:
    """Return how many machines the servers need at least, however they are packed: the loads must fit in every hour.

    A server that exceeds the limit by itself counts as one machine, alone.
    """
    alone = (loads + errors).max(axis=1, initial=0.0) > limit
    busiest = loads[~alone].sum(axis=0).max(initial=0.0)
    # a sum that fits but for its last bits does not need a machine more
    return int(alone.sum()) + int(np.ceil(np.round(busiest / limit, 9)))


def overloads(profiles: Profiles, machine: Sequence[int] | npt.NDArray[np.int64], capacity: float) -> int:
    """Return in how many machine-hours the servers on a machine exceed its capacity together."""
    sums = np.zeros_like(profiles)
    np.add.at(sums, np.asarray(machine), profiles)
    return int((sums > capacity).sum())
