"""What the promotion gate found: its checks, whether all of them are passed, and both as a table and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from workload_forecast import markdown

PASSED, FAILED, NOT_APPLICABLE = "passed", "FAILED", "not applicable"

_HEAD = ("check", "result", "value", "limit", "compared with", "explanation")


@dataclass(frozen=True)
class Check:
    """One question that was asked of a version."""

    name: str
    passed: bool | None  #: None: it could not be asked, and ``explanation`` says why
    explanation: str
    value: float | None = None
    limit: float | None = None
    compared_with: str = ""

    @property
    def result(self) -> str:
        """The outcome as a word."""
        return NOT_APPLICABLE if self.passed is None else PASSED if self.passed else FAILED


@dataclass(frozen=True)
class Verdict:
    """All checks of one version. One that failed refuses it; one that was not applicable does not."""

    version: str
    champion: str  #: empty if there is none
    checks: tuple[Check, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)  #: what was measured, finite; see ``gate.judge``

    @property
    def passed(self) -> bool:
        """Whether the version may be promoted."""
        return bool(self.checks) and all(check.passed is not False for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that refuse it."""
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def why(self) -> str:
        """One line: what was reached, or what was not."""
        if not self.passed:
            return " ".join("; ".join(f"{check.name}: {check.explanation}" for check in self.failed).split())
        asked = sum(check.passed is not None for check in self.checks)
        against = f"champion version {self.champion}" if self.champion else "no champion before it"
        return f"all {asked} checks passed, {against}"

    def to_json(self) -> str:
        """Return everything as a JSON object; a check's ``passed`` is null where it is not applicable."""
        content: dict[str, Any] = {**asdict(self), "passed": self.passed, "why": self.why}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def table(self) -> str:
        """Return the checks as aligned text for a terminal."""
        rows = [_HEAD, *(_cells(check) for check in self.checks)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        return "\n".join("  ".join(cell.ljust(widths[i]) for i, cell in enumerate(row)).rstrip() for row in rows)

    def markdown(self) -> str:
        """Return the checks as a Markdown table under a heading that says the outcome."""
        outcome = "may be promoted" if self.passed else "is refused"
        rows = [[markdown.plain(cell) for cell in _cells(check)] for check in self.checks]
        return f"# Version {self.version} {outcome}\n\n{markdown.table(_HEAD, rows)}\n"


def finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """Leave out what is unknown (NaN), which neither JSON nor MLflow keeps well."""
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _cells(check: Check) -> tuple[str, ...]:
    numbers = ("" if number is None else f"{number:.4g}" for number in (check.value, check.limit))
    return (check.name, check.result, *numbers, check.compared_with, " ".join(check.explanation.split()))
