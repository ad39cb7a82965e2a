"""Spoil some lines, each in exactly one way, so that the number of bad lines of every kind is known exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from workload_forecast.schemas import PRIMARY_MEASURE, SECONDARY_MEASURES
from workload_forecast.sessions.generator.rows import as_bytes, fields
from workload_forecast.sessions.layouts import Layout

#: The kind of the lines that stay usable: secondary numbers are broken, which counts numbers instead of lines.
IMPUTED = "imputed"

_BAD_STARTS = ("not a date", "2016-02-30 10:00:00", "2016/06/01 10:00:00", "01.06.2016 10:00", "2016-06-01 25:61:00")
_BAD_LOADS = ("n/a", "NaN", "-", "12.5.1", "unknown")
_INFINITE = ("inf", "Infinity")
_BAD_NUMBERS = ("", "n/a", "NaN", "inf", "-1.5", "?")

_Spoiler = Callable[[list[str], Layout, np.random.Generator], int]


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _replace(column: str, *choices: str) -> _Spoiler:
    def spoil(line: list[str], layout: Layout, rng: np.random.Generator) -> int:
        line[layout.position(column)] = _pick(choices, rng)
        return 1

    return spoil


def _header(line: list[str], layout: Layout, _rng: np.random.Generator) -> int:
    line[:] = layout.columns
    return 1


def _field_count(line: list[str], _layout: Layout, rng: np.random.Generator) -> int:
    if rng.random() < 0.5:
        del line[int(rng.integers(2, len(line))) :]  # cut off, as when a writer dies
    else:
        line += ["extra"] * int(rng.integers(1, 4))
    return 1


def _negative_load(line: list[str], layout: Layout, _rng: np.random.Generator) -> int:
    position = layout.position(PRIMARY_MEASURE)
    line[position] = f"-{line[position]}"  # never zero to begin with
    return 1


def _broken_numbers(line: list[str], layout: Layout, rng: np.random.Generator) -> int:
    broken = int(rng.integers(1, 4))
    for column in rng.choice(len(SECONDARY_MEASURES), broken, replace=False):
        line[layout.position(SECONDARY_MEASURES[int(column)])] = _pick(_BAD_NUMBERS, rng)
    return broken


_SPOILERS: dict[str, _Spoiler] = {
    "header": _header,
    "field_count": _field_count,
    "start_missing": _replace("session_start", ""),
    "start_unparsable": _replace("session_start", *_BAD_STARTS),
    "load_missing": _replace(PRIMARY_MEASURE, ""),
    "load_not_numeric": _replace(PRIMARY_MEASURE, *_BAD_LOADS),
    "load_negative": _negative_load,
    "load_infinite": _replace(PRIMARY_MEASURE, *_INFINITE),
    "server_missing": _replace("server_ip", ""),
    IMPUTED: _broken_numbers,
}
#: What can be wrong with a line: the cleaning rules' reasons for quarantine, and :data:`IMPUTED`.
KINDS = tuple(_SPOILERS)


def spoilt_bytes(
    table: NDArray[np.void], layout: Layout, rate: float, rng: np.random.Generator
) -> tuple[bytes, Counter[str]]:
    """Return the table as CSV with about a share ``rate`` of its lines spoilt, and the exact count of every kind.

    Kinds are equally frequent. The counts are of lines, but for :data:`IMPUTED`: of broken numbers.
    """
    rows = np.sort(rng.choice(len(table), rng.binomial(len(table), rate), replace=False))
    counts: Counter[str] = Counter()
    parts, written = [], 0
    for row in rows.tolist():
        kind = KINDS[int(rng.integers(len(KINDS)))]
        line = fields(table, row, layout)
        counts[kind] += _SPOILERS[kind](line, layout, rng)
        parts += [as_bytes(table[written:row]), f"{','.join(line)}\n".encode("ascii")]
        written = row + 1
    parts.append(as_bytes(table[written:]))
    return b"".join(parts), counts
