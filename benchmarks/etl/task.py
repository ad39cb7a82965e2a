"""What a contestant is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from workload_forecast.schemas import HOURLY_LOAD
from workload_forecast.sessions.layouts import LAYOUTS

#: The window of the generated month, both ends included.
FIRST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 30, 23, 59, 59)

#: Name of the folder that every contestant leaves somewhere in its output, with Parquet files.
RESULT = HOURLY_LOAD.name
RESULT_FILES = f"**/{RESULT}/**/*.parquet"


@dataclass(frozen=True)
class Task:
    """Headerless CSV files of one layout, the glob that matches just these, and the folder that results go to.

    A contestant makes ``output``/hourly_load with the columns of :data:`~workload_forecast.schemas.HOURLY_LOAD`: of
    each server's hour the five-minute slot with the greatest total load (ties: the earliest), that slot's number of
    sessions, and the sums of their measures, rounded to six decimals.
    """

    pattern: str
    files: Sequence[str]
    layout: str
    output: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The files' columns, in order."""
        return LAYOUTS[self.layout].columns

    @property
    def result(self) -> Path:
        """The folder of the hourly load."""
        return Path(self.output) / RESULT

    def write(self, path: Path) -> None:
        """Write the task to a file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Task:
        """Return the task that was written to a file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
