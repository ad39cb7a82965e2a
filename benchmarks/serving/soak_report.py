"""What a soak saw, as Markdown and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.machine import machine_line
from benchmarks.serving.figures import PERCENTILES, slope_per_hour

#: Servers of a large request; the others ask for one.
LARGE = 100

#: Kinds of failures that are told, the most frequent ones.
TOLD_FAILURES = 10


@dataclass
class Seen:
    """What happened."""

    latencies_ms: dict[int, list[float]] = field(default_factory=lambda: {1: [], LARGE: []})
    versions: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    inconsistent: int = 0
    promotions: int = 0
    followed_s: list[float] = field(default_factory=list)  #: from the move of the alias to the first answer with it
    histories: int = 0
    rotations: int = 0
    closed: int = 0  #: rotated keys that were tried after their grace and refused
    still_open: int = 0
    samples: list[tuple[float, float, float]] = field(default_factory=list)  #: s, MB of service, MB of follower

    @property
    def good(self) -> bool:
        """Whether nothing went wrong."""
        all_seen = len(self.followed_s) == self.promotions
        return not self.failures and not self.inconsistent and not self.still_open and all_seen


def content(seen: Seen, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything for a file."""
    seconds, service, follower = zip(*seen.samples, strict=True)
    return {
        "machine": facts,
        "settings": settings,
        "requests": {str(size): len(times) for size, times in seen.latencies_ms.items()},
        "latency_ms": {
            str(size): {f"p{p}": round(float(np.percentile(times, p)), 2) for p in (*PERCENTILES, 100)}
            for size, times in seen.latencies_ms.items()
            if times
        },
        "answered_by": dict(seen.versions),
        "failed": sum(seen.failures.values()),
        "failures": dict(seen.failures.most_common(TOLD_FAILURES)),
        "inconsistent": seen.inconsistent,
        "promotions": seen.promotions,
        "followed_s": [round(one, 2) for one in seen.followed_s],
        "histories_renewed": seen.histories,
        "keys_rotated": seen.rotations,
        "old_keys_refused": seen.closed,
        "old_keys_still_open": seen.still_open,
        "memory_mb": {
            "service": _memory(seconds, service),
            "follower": _memory(seconds, follower),
            "samples": [[round(value, 1) for value in sample] for sample in seen.samples],
        },
        "good": seen.good,
    }


def _memory(seconds: tuple[float, ...], values: tuple[float, ...]) -> dict[str, float]:
    slope = slope_per_hour(seconds, values) if len(values) >= 4 else 0.0
    facts = {"first": values[0], "most": max(values), "last": values[-1], "slope_per_hour": slope}
    return {name: round(value, 1) for name, value in facts.items()}


def table(found: Mapping[str, Any]) -> str:
    """Return the content as Markdown."""
    followed = found["followed_s"] or [float("nan")]
    rows = {
        "minutes": f"{found['settings']['minutes']:g}",
        "requests for 1 server / 100 servers": " / ".join(f"{number:,}" for number in found["requests"].values()),
        "**failed**": found["failed"],
        "**answers that are not their version's**": found["inconsistent"],
        "answers by version": ", ".join(f"{version}: {n:,}" for version, n in sorted(found["answered_by"].items())),
        "promotions": f"{found['promotions']}, of these followed: {len(found['followed_s'])}",
        "from promotion to first answer": f"median {np.median(followed):.1f} s, slowest {max(followed):.1f} s",
        "histories renewed": found["histories_renewed"],
        "keys rotated": f"{found['keys_rotated']}, old ones refused after their grace: {found['old_keys_refused']}",
    }
    for size, times in found["latency_ms"].items():
        rows[f"latency, {size} × 48 h"] = ", ".join(f"{name} {value} ms" for name, value in times.items())
    for name in ("service", "follower"):
        facts = found["memory_mb"][name]
        rows[f"memory of the {name}"] = (
            f"first {facts['first']} MB, most {facts['most']} MB, last {facts['last']} MB; "
            f"second half: {facts['slope_per_hour']:+} MB an hour"
        )
    lines = ["| soak | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    lines += [f"\nFailed: {number} × {text}" for text, number in found["failures"].items()]
    return "\n".join([*lines, "", machine_line(found["machine"])])
