"""From load to sessions: draw a block's sessions, share the load out among them, lay them out as text.

A block is a table of fixed-width text fields with the separators in between, filled a column at a time; taking the
padding out turns it into CSV. Nothing is done row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from workload_forecast.sessions.generator import texts
from workload_forecast.sessions.generator.fleet import SLOTS, Fleet, Load
from workload_forecast.sessions.generator.texts import Texts
from workload_forecast.sessions.generator.traits import Floats
from workload_forecast.sessions.layouts import Layout

Integers = NDArray[np.int64]

HOUR, SLOT = 3_600, 300
#: Longest session in days; the median is three minutes.
LONGEST_DAYS = 1
_ADDRESS, _TIME, _INTEGER, _NUMBER = "S15", "S19", "S4", "S10"
_FORMATS = {  # of the columns that are not numbers with a fraction
    "concurrent_connections": _INTEGER,
    "traffic_type": "S1",
    "session_start": _TIME,
    "session_end": _TIME,
    "service_grade": "S1",
    "http1": "S1",
    "server_type": "S1",
    "client_ip": _ADDRESS,
    "server_ip": _ADDRESS,
}
#: Fields that are filled in two parts: name and length of each.
_PARTS = {_TIME: (("day", 11), ("clock", 8)), _NUMBER: (("head", 7), ("tail", 3))}


@dataclass(frozen=True)
class Sessions:
    """One entry per session, in order of start: seconds since the window's first midnight, server number, load."""

    start: Integers
    server: Integers
    load: Floats


def draw_sessions(fleet: Fleet, load: Load, hours: range, rate: float, rng: np.random.Generator) -> Sessions:
    """Draw the sessions of ``hours`` (counted from the window's first midnight).

    Every active server has at least one session an hour, and the first one falls into the hour's peak slot. A slot's
    load is shared out among the sessions that start in it. So the hourly peak is that of the load model, whatever
    the rate is.
    """
    rows = slice(hours.start, hours.stop)
    peak, active, slots = load.peak[rows], load.active[rows], load.slots[rows]
    busy = np.clip((peak / np.exp(fleet.traits.log_level)) ** 0.3, 0.3, 3)
    count = active * (1 + rng.poisson(np.maximum(rate * fleet.traits.popularity * busy - 1, 0)))
    flat = count.ravel()
    cell = np.repeat(np.arange(flat.size), flat)
    slot = rng.integers(0, SLOTS, cell.size)
    slot[(np.cumsum(flat) - flat)[flat > 0]] = slots.argmax(axis=2).ravel()[flat > 0]
    start = (hours.start + cell // fleet.servers) * HOUR + slot * SLOT + rng.integers(0, SLOT, cell.size)
    order = np.argsort(start, kind="stable")
    place = (cell * SLOTS + slot)[order]
    weight = 0.2 + rng.standard_exponential(cell.size)
    together = np.bincount(place, weight, minlength=slots.size)
    shared = (peak[:, :, None] * slots).ravel()[place] * weight / together[place]
    return Sessions(start[order], cell[order] % fleet.servers, shared)


def lay_out(
    sessions: Sessions, fleet: Fleet, first: date, days: int, *, layout: Layout, rng: np.random.Generator
) -> NDArray[np.void]:
    """Return the sessions as a table of text fields; a window of ``days`` days begins on ``first``."""
    n, server, load, traits = len(sessions.start), sessions.server, sessions.load, fleet.traits
    table = np.empty(n, dtype=_record(layout))
    for position in range(len(layout.columns)):
        table[f"separator {position}"] = b"," if position < len(layout.columns) - 1 else b"\n"
    day, clock = texts.day_texts(first, days + LONGEST_DAYS + 1), texts.clock_texts()
    duration = np.exp(5.2 + 1.3 * rng.standard_normal(n)).astype(np.int64) + 1
    end = sessions.start + np.minimum(duration, LONGEST_DAYS * 24 * HOUR)
    for name, second in (("session_start", sessions.start), ("session_end", end)):
        table[f"{name} day"], table[f"{name} clock"] = day[second // 86_400], clock[second % 86_400]
    kind = rng.integers(0, 1_000, n)  # of which the digits are three independent draws
    encrypted = kind % 10 < 4
    megabytes = load * traits.megabytes[server] * np.exp(0.5 * rng.standard_normal(n))
    connections = 1 + (np.sqrt(load) * (4 * rng.random(n))).astype(np.int64)
    columns: dict[str, Texts] = {
        "concurrent_connections": texts.integer_texts(connections),
        "service_grade": texts.integer_texts(1 + kind // 10 % 10 // 2),
        "http1": texts.integer_texts(1 + encrypted.astype(np.int64)),
        "server_type": texts.integer_texts(1 + server * 7 % 6),
        "client_ip": texts.client_texts(fleet.seed)[rng.integers(0, texts.CLIENTS, n)],
        "server_ip": texts.server_texts(fleet.servers)[server],
    }
    if "traffic_type" in layout.columns:
        columns["traffic_type"] = texts.integer_texts(1 + kind // 100 // 4)
    numbers = {
        "megabytes_transferred": megabytes,
        "secure_bytes_load": np.where(encrypted, 0.4 * megabytes, 0),
        # never zero: a session that was served has cost something
        "total_load": np.maximum(load, 0.001),
    }
    for k in range(5):
        numbers[f"sub_service_{k + 1}_load"] = load * traits.mix[server, k] * (0.7 + 0.6 * rng.random(n))
    for name, text in columns.items():
        table[name] = text
    for name, number in numbers.items():
        table[f"{name} head"] = texts.number_texts(number)
        table[f"{name} tail"] = texts.digit_texts()[rng.integers(0, 1_000, n, dtype=np.uint16)]
    table["secure_bytes_load tail"][~encrypted] = b""
    return table


def as_bytes(table: NDArray[np.void]) -> bytes:
    """Return the table's rows as lines of CSV."""
    return table.tobytes().translate(None, b"\0")


def fields(table: NDArray[np.void], row: int, layout: Layout) -> list[str]:
    """Return the fields of one row of the table."""
    return [bytes(table[name][row]).replace(b"\0", b"").decode("ascii") for name in layout.columns]


def _record(layout: Layout) -> np.dtype[np.void]:
    """Return the record of one line: fields and separators; some fields are made of two parts."""
    names, formats, offsets, width = [], [], [], 0
    for position, name in enumerate(layout.columns):
        form = _FORMATS.get(name, _NUMBER)
        size = np.dtype(form).itemsize
        names += [name, f"separator {position}"]
        formats += [form, "S1"]
        offsets += [width, width + size]
        begin = width
        for part, length in _PARTS.get(form, ()):
            names.append(f"{name} {part}")
            formats.append(f"S{length}")
            offsets.append(begin)
            begin += length
        width += size + 1
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": width})
