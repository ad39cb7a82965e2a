"""The features of a settings file, and the folds that end before its test period."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson
import pandas as pd
from pyspark.sql import DataFrame

from workload_forecast.config import DEFAULT_FOLD_TEST_HOURS, DEFAULT_FOLDS, Settings, load_settings
from workload_forecast.model.folds import FoldPlan, folds_before_test
from workload_forecast.model.split import TimeSplit
from workload_forecast.schemas import FEATURES
from workload_forecast.steps.etl import EtlOptions, perform_etl
from workload_forecast.steps.generate import data_source
from workload_forecast.steps.runs import open_runs
from workload_forecast.steps.train import split_of

Command = TypeVar("Command", bound=Callable[..., None])

_OPTIONS = (
    click.option("--config", default="", help="Settings file."),
    click.option("--duration", default=None, help="Packaged profile, without a settings file."),
    click.option("--folds", default=DEFAULT_FOLDS, show_default=True, type=click.IntRange(1)),
    click.option("--test-hours", default=DEFAULT_FOLD_TEST_HOURS, show_default=True, type=click.IntRange(1)),
    click.option("--output", default="", help="File for the figures as JSON."),
)


def fold_options(command: Command) -> Command:
    """Add the options ``config``, ``duration``, ``folds``, ``test_hours`` and ``output`` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def write_figures(output: str, asked: Mapping[str, Any], name: str, table: pd.DataFrame) -> None:
    """Write what was asked, and the table under its name, as JSON; nothing where there is no ``output``."""
    if output:
        rows = orjson.loads(table.to_json(orient="records", double_precision=15))
        Path(output).write_bytes(orjson.dumps({**asked, name: rows}, option=orjson.OPT_INDENT_2))


@dataclass(frozen=True)
class FoldFeatures:
    """What a benchmark of features works on."""

    settings: Settings
    splits: Sequence[TimeSplit]  #: the oldest first
    table: DataFrame  #: :data:`~workload_forecast.schemas.FEATURES`, of all hours


@contextmanager
def fold_features(name: str, config: str, duration: str | None, plan: FoldPlan) -> Iterator[FoldFeatures]:
    """Make the features, or find them made, in a run of that name; Spark is there as long as the context is open.

    Raises:
        SettingsError: the settings are wrong, or the folds do not fit.
    """
    settings = load_settings(duration, config or None)
    splits = folds_before_test(split_of(settings), plan)
    with open_runs(name, reuse=True) as runs:
        source = data_source(runs, settings)
        with runs.child("etl"):
            etl = perform_etl(runs, EtlOptions(settings), source)
        table = runs.engine("spark").read_table(FEATURES, etl.folder / FEATURES.name).to_native()
        yield FoldFeatures(settings, splits, table)
