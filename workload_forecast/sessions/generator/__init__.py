"""Synthetic sessions in the real layouts: seeded, bit-reproducible, parallel, of any size.

``settings`` says what to make, ``fleet`` how much load every server has when, ``rows`` turns that load into lines,
``dirt`` spoils some of them, ``manifest`` records what was written and ``run`` writes the files.
"""

from __future__ import annotations

from workload_forecast.sessions.generator.dirt import KINDS
from workload_forecast.sessions.generator.manifest import Manifest, read_manifest
from workload_forecast.sessions.generator.run import generate
from workload_forecast.sessions.generator.settings import PRESETS, GeneratorSettings

__all__ = ["KINDS", "PRESETS", "GeneratorSettings", "Manifest", "generate", "read_manifest"]
