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


def pack(profiles: Profiles, limit: float, movable: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the machine that each server is to run on, as the position of the server whose machine it is now.

    Every server has a machine of its own now. Servers that may not move keep theirs, and the room beside them is used
    first; the largest of the others comes first, and goes to the first machine with room in every hour, else stays.
    Equal input gives an equal plan: of two alike, the one that stands first comes first.

    Args:
        profiles: loads that are to be reckoned with; none is negative.
        limit: load that no machine with several servers may exceed in any hour; a server that exceeds it by itself
            keeps its machine, and nobody joins it.
        movable: which servers may move.
    """
    count, hours = profiles.shape
    machine = np.arange(count)
    peaks = profiles.max(axis=1, initial=0.0)
    free_to_go = movable & (peaks <= limit)
    open_at = np.flatnonzero(~free_to_go)
    # room for the machines that are open, in the order in which they are tried
    used = np.empty((count, hours))
    used[: len(open_at)] = profiles[open_at]
    opened = list(open_at)
    for server in sorted(np.flatnonzero(free_to_go), key=lambda at: (-peaks[at], at)):
        fits = (used[: len(opened)] + profiles[server] <= limit).all(axis=1)
        first = int(np.argmax(fits)) if len(fits) else 0
        if len(fits) and fits[first]:
            used[first] += profiles[server]
            machine[server] = opened[first]
        else:
            used[len(opened)] = profiles[server]
            opened.append(server)
    return machine


def fewest_machines(profiles: Profiles, limit: float) -> int:
    """Return how many machines the servers need at least, however they are packed: their sum must fit in every hour.

    A server that exceeds the limit by itself counts as one machine, alone.
    """
    alone = profiles.max(axis=1, initial=0.0) > limit
    busiest = profiles[~alone].sum(axis=0).max(initial=0.0)
    # a sum that fits but for its last bits does not need a machine more
    return int(alone.sum()) + int(np.ceil(np.round(busiest / limit, 9)))


def overloads(profiles: Profiles, machine: Sequence[int] | npt.NDArray[np.int64], capacity: float) -> int:
    """Return in how many machine-hours the servers on a machine exceed its capacity together."""
    sums = np.zeros_like(profiles)
    np.add.at(sums, np.asarray(machine), profiles)
    return int((sums > capacity).sum())
