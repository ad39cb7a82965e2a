"""The two column layouts of the session files, and which of them a file has.

The documented layout has 16 columns; the published files put ``TrafficType`` in front and swap the two addresses
at the end (requirements, *data description*). Files are headerless, comma separated and unquoted; a folder may mix
both, so the layout is a property of a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

_COMMON = (
    "session_start",
    "session_end",
    "concurrent_connections",
    "megabytes_transferred",
    "service_grade",
    "http1",
    "server_type",
    "sub_service_1_load",
    "sub_service_2_load",
    "sub_service_3_load",
    "sub_service_4_load",
    "sub_service_5_load",
    "secure_bytes_load",
    "total_load",
)

#: Lines looked at to tell a file's layout.
DETECTION_LINES = 200


@dataclass(frozen=True)
class Layout:
    """Column names of one layout, in file order."""

    name: str
    columns: tuple[str, ...]

    def position(self, column: str) -> int:
        """Return the zero-based position of ``column``."""
        return self.columns.index(column)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("sessions16", (*_COMMON, "client_ip", "server_ip")),
        Layout("sessions17", ("traffic_type", *_COMMON, "server_ip", "client_ip")),
    )
}


def detect(lines: Iterable[str]) -> Layout | None:
    """Return the layout whose field count most of the first non-blank ``lines`` have, or None if none has.

    Corrupt lines are expected, so the majority decides and a tie goes to the documented layout.
    """
    counts = Counter(line.count(",") + 1 for line in islice(lines, DETECTION_LINES) if line.strip())
    found = [layout for layout in LAYOUTS.values() if counts[len(layout.columns)]]
    return max(found, key=lambda layout: counts[len(layout.columns)], default=None)
