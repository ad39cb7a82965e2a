"""What can be told of session files from their first lines: the layout, and the busiest servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from workload_forecast.sessions.layouts import LAYOUTS, Layout, detect


def layout_of(lines: Iterable[str], declared: str) -> Layout:
    """Return the declared layout or, for ``auto``, the detected one.

    A file in which no line has the field count of a layout is read as the documented one: all its lines are then
    quarantined with their reason rather than lost.
    """
    return LAYOUTS[declared] if declared != "auto" else detect(lines) or LAYOUTS["sessions16"]


def busiest_servers(lines: Iterable[str], layout: Layout, number: int = 2) -> tuple[str, ...]:
    """Return the servers with the most lines, ties in alphabetical order; lines that cannot be split do not count."""
    width, position = len(layout.columns), layout.position("server_ip")
    rows = (line.split(",") for line in lines)
    counts = Counter(fields[position].strip() for fields in rows if len(fields) == width and fields[position].strip())
    return tuple(sorted(counts, key=lambda server: (-counts[server], server))[:number])
