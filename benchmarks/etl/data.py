"""The generated month that every contestant reads; made once and kept."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.etl.task import FIRST, LAST
from workload_forecast.sessions.generator import GeneratorSettings, generate
from workload_forecast.sessions.generator.manifest import Manifest, read_manifest
from workload_forecast.sessions.generator.settings import MAX_COPIES
from workload_forecast.steps.generate import FILES

#: Bytes of a line for each session that is asked for: some hours of a server have none. Low, so that the files are
#: rather larger than asked.
_BYTES_PER_SESSION = 125

#: A file of the published data has one to three gigabytes; a month of one copy has two files.
_LARGEST_FILE_GB = 3.0


def settings_for(gigabytes: float, servers: int, layout: str, dirt_rate: float = 0.0) -> GeneratorSettings:
    """Return settings for about that much data, rather more than less: one month, in as many copies as it takes.

    Raises:
        SettingsError: it cannot be generated.
    """
    days = (LAST.date() - FIRST.date()).days + 1
    copies = min(MAX_COPIES, math.ceil(gigabytes / (2 * _LARGEST_FILE_GB)))
    sessions = gigabytes * 1e9 / _BYTES_PER_SESSION / (servers * 24 * days * copies)
    return GeneratorSettings(
        FIRST.date(), LAST.date(), servers, max(1.0, sessions), copies, layout=layout, dirt_rate=dirt_rate
    )


def make_data(settings: GeneratorSettings, root: Path) -> Manifest:
    """Generate the data below ``root``, unless it is there from an earlier run, and return what it is."""
    found = read_manifest(root)
    if found is not None and found.settings == settings:
        return found
    return generate(settings, root)


def files_of(root: Path) -> list[str]:
    """Return the data's files, and read each once, so that all contestants find them in the kernel's cache alike."""
    paths = sorted(root.glob(FILES))
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass
    return [str(path) for path in paths]
