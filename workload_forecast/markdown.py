"""Markdown for what people read among a run's artifacts; MLflow's UI renders it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def plain(text: object) -> str:
    """Return a text in one line that shows as it is: names come from the data, and may look like links or tags."""
    shown = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", shown)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already, without a line end; what begins like a number stands right.

    Args:
        head: one title a column.
        rows: one cell a column.
    """
    cells = [tuple(row) for row in rows]
    numeric = [
        bool(cells) and all(re.match(r"[-+]?(\d|$)", row[column]) for row in cells) for column in range(len(head))
    ]
    rule = ["--:" if right else "---" for right in numeric]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *cells))
