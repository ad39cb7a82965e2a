"""``generate``: synthetic sessions; also the data of every run for which none is configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow

from workload_forecast.config import Settings
from workload_forecast.sessions.generator import PRESETS, GeneratorSettings, generate
from workload_forecast.steps.runs import Result, Runs, Step, open_runs

#: The sample that stands in for data that is not configured.
_PRESET_OF = {"ONE_MONTH": "small", "FULL": "full_small", "CUSTOM": "small"}

#: Year, month, half and copy of the published folder pattern.
FILES = "*/*/*/*/request.csv*"

#: Five-minute slots of an hour: the entry point asks for sessions per five minutes, the generator for sessions an hour.
_SLOTS = 12


@dataclass(frozen=True)
class DataSource:
    """The input of an ETL: a glob, whether it is ``configured`` or ``synthetic``, and the key of what made it."""

    pattern: str
    kind: str
    key: str = ""


def run_generate(settings: Settings, fleet: Mapping[str, Any], output: Path | None, *, reuse: bool) -> Result:
    """Run the entry point.

    Args:
        settings: its window is generated.
        fleet: preset, servers, sessions_per_5min, layout, dirt_rate, seed; None keeps the preset's.
        output: folder for the files; by default below the results' home.
    """
    with open_runs("generate", reuse=reuse and output is None) as runs:
        return perform_generate(runs, generator_settings(settings, fleet), output)


def generator_settings(settings: Settings, fleet: Mapping[str, Any]) -> GeneratorSettings:
    """Return the preset for the duration, over the window of ``settings``, with the values of ``fleet`` in it."""
    preset = PRESETS[fleet.get("preset") or _PRESET_OF[settings.duration]]
    given = {name: fleet[name] for name in ("servers", "layout", "dirt_rate", "seed") if fleet.get(name) is not None}
    if fleet.get("sessions_per_5min") is not None:
        given["sessions_per_server_hour"] = fleet["sessions_per_5min"] * _SLOTS
    return replace(preset, start=settings.training_from.date(), end=settings.to.date(), **given)


def data_source(runs: Runs, settings: Settings) -> DataSource:
    """Return the configured data or, where there is none, generate the synthetic sample in a nested run, loudly."""
    if not settings.synthetic:
        return DataSource(settings.data_file, "configured")
    runs.progress.say(
        f"NO DATA IS CONFIGURED for {settings.duration}: using SYNTHETIC sessions. "
        "Give your own with -P config=FILE (field dataFile)."
    )
    with runs.child("generate"):
        result = perform_generate(runs, generator_settings(settings, {}), None)
    return DataSource(str(result.folder / result.info["data_file"]), "synthetic", result.key)


def perform_generate(runs: Runs, wanted: GeneratorSettings, output: Path | None) -> Result:
    """Perform the step in the active run, or reuse a finished one."""
    mlflow.set_tag("data", "synthetic")
    parameters = asdict(wanted) | ({"output": str(output.absolute())} if output else {})
    return runs.perform(Step("generate", parameters, {}, partial(_generate, runs, wanted, output)))


def _generate(runs: Runs, wanted: GeneratorSettings, output: Path | None, folder: Path) -> dict[str, Any]:
    done = [0, 1]
    with runs.progress.stage("generate: write sessions", lambda: 100 * done[0] / done[1]) as stage:

        def show(files: int, total: int, rows: int) -> None:
            done[:] = files, total
            stage.detail = f"({files}/{total} files, {rows:,} rows)"

        manifest = generate(wanted, output or folder / "sessions", progress=show)
    mlflow.log_metrics({"rows": manifest.rows, "bytes": manifest.bytes, "files": len(manifest.files)})
    mlflow.log_text(manifest.to_json(), "manifest.json")
    # relative to the result's folder, which is renamed when it is whole
    root = output.absolute() if output else Path("sessions")
    return {"data_file": str(root / FILES), "rows": manifest.rows}
