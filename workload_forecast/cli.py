"""The command line: one subcommand per entry point of ``MLproject``, with the same parameters.

Parameters are checked here, before anything heavy is imported or any work is begun. An empty value means *not
given*, because that is how MLflow passes a parameter that has no value.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from workload_forecast import __version__, config
from workload_forecast.errors import SettingsError, WorkloadForecastError

Command = TypeVar("Command", bound=Callable[..., Any])


if TYPE_CHECKING:
    from workload_forecast.steps.etl import EtlOptions

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic only in the newest releases


class _Optional(ParamType):
    """A click type for which an empty string means that the parameter was not given."""

    def __init__(self, inner: ParamType) -> None:
        self.inner, self.name = inner, inner.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value == "" else self.inner.convert(value, param, ctx)


def _option(name: str, default: Any, kind: ParamType, text: str) -> Callable[[Command], Command]:
    return click.option(f"--{name}", default=default, show_default=default not in (None, ""), type=kind, help=text)


_TIMES = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d")


def _choice(*values: str) -> ParamType:
    return click.Choice(values)


_OPTIONS = {
    "duration": _option(
        "duration", "", _Optional(_choice(*config.DURATIONS)), "ONE_MONTH (default), FULL, or CUSTOM with a config."
    ),
    "config": _option("config", "", click.STRING, "Settings file (JSON) with dataFile, dates, thresholds."),
    "engine": _option("engine", "auto", _choice(*config.ENGINES), "What runs the ETL."),
    "debug": _option("debug", "FALSE", _choice(*config.DEBUG), "FILTER_IP keeps a few servers, for fast iterations."),
    "sample": _option(
        "sample", "1", _Optional(click.FloatRange(0, 1, min_open=True)), "Share of the servers to take, like 0.1."
    ),
    "algorithm": _option("algorithm", config.DEFAULT_ALGORITHM, _choice(*config.ALGORITHMS), "Kind of model."),
    "num-trees": _option("num-trees", "", _Optional(click.IntRange(1, 5000)), "Trees, of an algorithm that has some."),
    "max-depth": _option("max-depth", "", _Optional(click.IntRange(1, 30)), "Depth of a tree, likewise."),
    "seed": _option("seed", config.DEFAULT_SEED, click.IntRange(0, 2**31 - 1), "Seed of everything random."),
    "folds": _option("folds", config.DEFAULT_FOLDS, click.IntRange(1, 1000), "Folds before the test period."),
    "leads": _option(
        "leads", config.HORIZON_ONLY, _choice(*config.LEADS), "Hours ahead that are judged: 48, or all up to it."
    ),
    "test-hours": _option(
        "test-hours", config.DEFAULT_FOLD_TEST_HOURS, click.IntRange(1), "Hours that each fold is judged on."
    ),
    "minimum-training-hours": _option(
        "minimum-training-hours",
        config.DEFAULT_FOLD_TRAINING_HOURS,
        click.IntRange(1),
        "Least hours that a fold is trained on.",
    ),
    "thresholds": _option("thresholds", "", click.STRING, "'auto' or LOW,HIGH; default: those of the settings."),
    "reuse": _option("reuse", "true", click.BOOL, "false does the work again even if nothing has changed."),
    "preset": _option("preset", "", _Optional(_choice("small", "full_small", "original")), "Size of the fleet."),
    "servers": _option("servers", "", _Optional(click.IntRange(1, 1_000_000)), "Number of servers."),
    "sessions-per-5min": _option(
        "sessions-per-5min", "", _Optional(click.FloatRange(0, 1e6, min_open=True)), "Mean sessions of a server."
    ),
    "layout": _option("layout", "", _Optional(_choice("sessions16", "sessions17")), "Columns of the files."),
    "dirt-rate": _option("dirt-rate", "", _Optional(click.FloatRange(0, 1)), "Share of broken lines."),
    "output": _option("output", "", click.STRING, "Folder for the files; a default is chosen."),
    "model": _option("model", config.DEFAULT_MODEL, click.STRING, "Name in the model registry."),
    "alias": _option("alias", "champion", click.STRING, "Alias of the version that is asked."),
    "as-of": _option(
        "as-of", "", _Optional(click.DateTime(_TIMES)), "Forecast as if it were then (UTC); default: the data's end."
    ),
    "version": _option("version", "", _Optional(click.IntRange(1)), "Version to promote; default: the newest one."),
    "dry-run": _option("dry-run", "false", click.BOOL, "true prints the checks and leaves the registry as it is."),
    "why": _option("why", "", click.STRING, "A reason, kept with the decision."),
    "max-evals": _option("max-evals", config.DEFAULT_MAX_EVALS, click.IntRange(1, 1000), "Most trials of the search."),
    "strategy": _option(
        "strategy", config.STRATEGIES[0], _choice(*config.STRATEGIES), "tpe learns; random is the control."
    ),
    "patience": _option(
        "patience", config.DEFAULT_PATIENCE, click.IntRange(0, 1000), "Trials without a gain before the end; 0: no end."
    ),
    "minimum-gain": _option(
        "minimum-gain",
        config.DEFAULT_MINIMUM_GAIN,
        click.FloatRange(0, 1, max_open=True),
        "Macro-F1 that counts as a gain.",
    ),
    "days": _option("days", "", _Optional(click.IntRange(1)), "Last days of the data; default: those of the settings."),
    "on-alarm": _option(
        "on-alarm", "", _Optional(_choice(*config.ON_ALARM)), "What an alarm brings about; default: as in the settings."
    ),
    "result": _option("result", "model", _choice(*config.RESULTS), "What to fetch."),
}


def _options(*names: str) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return command

    return add


_DATA = ("duration", "config", "engine", "debug", "sample")
_PARAMETERS = ("num-trees", "max-depth", "seed", "thresholds")
_TRAINING = ("algorithm", *_PARAMETERS)
_SEARCH = ("max-evals", "strategy", "patience", "minimum-gain")
_FOLDS = ("folds", "test-hours", "minimum-training-hours")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Forecast the load class of servers for the next 48 hours from their session records."""


@cli.command()
@_options(
    "duration", "config", "preset", "servers", "sessions-per-5min", "layout", "dirt-rate", "seed", "output", "reuse"
)
def generate(duration: str | None, config: str, reuse: bool, output: str, **fleet: Any) -> None:
    """Write synthetic sessions in the published folder pattern."""
    settings = _settings(duration, config)
    from workload_forecast.steps.generate import run_generate

    run_generate(settings, fleet, Path(output) if output else None, reuse=reuse)


@cli.command()
@_options(*_DATA, "reuse")
def etl(reuse: bool, **options: Any) -> None:
    """Reduce sessions to hourly load and features."""
    settings, selection = _settings(options["duration"], options["config"]), _selection(options)
    from workload_forecast.steps.etl import EtlOptions, run_etl

    run_etl(EtlOptions(settings, options["engine"], selection), reuse=reuse)


@cli.command()
@_options(*_DATA, *_TRAINING, "reuse")
def train(**options: Any) -> None:
    """Train, evaluate and register a model; performs the ETL first if no finished run matches."""
    _train(options, whole=False)


@cli.command()
@_options(*_DATA, *_TRAINING, "reuse")
def main(**options: Any) -> None:
    """Run the main job: data, ETL, training, promotion, forecast and plan; finished steps are reused."""
    _train(options, whole=True)


@cli.command()
@_options(*_DATA, *_TRAINING, *_FOLDS, "leads", "reuse")
def backtest(folds: int, test_hours: int, minimum_training_hours: int, leads: str, reuse: bool, **options: Any) -> None:
    """Judge model and naive forecasts on folds before the test period."""
    etl_options, parameters = _training(options)
    from workload_forecast.model.folds import FoldPlan
    from workload_forecast.steps.backtest import run_backtest

    plan = FoldPlan(folds, test_hours, minimum_training_hours=minimum_training_hours)
    run_backtest(etl_options, parameters, plan, leads, reuse=reuse)


@cli.command()
@_options(*_DATA)
@_option("algorithm", config.DEFAULT_TUNED_ALGORITHM, _choice(*config.ALGORITHMS), "Whose parameters are searched.")
@_options(*_PARAMETERS, *_SEARCH, *_FOLDS, "reuse")
def tune(
    folds: int,
    test_hours: int,
    minimum_training_hours: int,
    max_evals: int,
    strategy: str,
    patience: int,
    minimum_gain: float,
    reuse: bool,
    **options: Any,
) -> None:
    """Search for the algorithm's best parameters on folds before the test period, then train with them."""
    etl_options, parameters = _training(options)
    from workload_forecast.model.folds import FoldPlan
    from workload_forecast.model.search import SearchPlan
    from workload_forecast.steps.tune import run_tune

    plan = SearchPlan(max_evals, strategy, parameters.seed, patience, minimum_gain)
    fold_plan = FoldPlan(folds, test_hours, minimum_training_hours=minimum_training_hours)
    run_tune(etl_options, parameters, plan, fold_plan, reuse=reuse)


@cli.command()
@_options("model", "version", "dry-run", "why", "duration", "config", "engine", "reuse")
def promote(duration: str | None, config: str, engine: str, reuse: bool, version: int | None, **wanted: Any) -> None:
    """Make a version the champion, if it passes the checks on recent data."""
    settings = _settings(duration, config)
    from workload_forecast.steps.etl import EtlOptions
    from workload_forecast.steps.promote import PromoteOptions, run_promote

    run_promote(EtlOptions(settings, engine), PromoteOptions(version=str(version or ""), **wanted), reuse=reuse)


@cli.command()
@_options("model", "alias", "as-of", *_DATA, "reuse")
def forecast(model: str, alias: str, as_of: datetime | None, reuse: bool, **options: Any) -> None:
    """Forecast the next 48 hours of every server with the champion; performs the ETL first if no run matches."""
    settings, selection = _settings(options["duration"], options["config"]), _selection(options)
    from workload_forecast.steps.etl import EtlOptions
    from workload_forecast.steps.forecast import ForecastOptions, run_forecast

    run_forecast(EtlOptions(settings, options["engine"], selection), ForecastOptions(model, alias, as_of), reuse=reuse)


@cli.command()
@_options("model", "alias", *_DATA, "reuse")
def replay(model: str, alias: str, reuse: bool, **options: Any) -> None:
    """Hold the plans of the test period, as they would have been made then, against the loads that came."""
    settings, selection = _settings(options["duration"], options["config"]), _selection(options)
    from workload_forecast.steps.etl import EtlOptions
    from workload_forecast.steps.replay import ReplayOptions, run_replay

    run_replay(EtlOptions(settings, options["engine"], selection), ReplayOptions(model, alias), reuse=reuse)


@cli.command()
@_options("model", "alias", "days", "on-alarm", *_DATA, "reuse")
def monitor(model: str, alias: str, days: int | None, on_alarm: str | None, reuse: bool, **options: Any) -> None:
    """Score past forecasts by the loads that came; an alarm ends with exit code 7."""
    settings, selection = _settings(options["duration"], options["config"]), _selection(options)
    given = {name: value for name, value in (("days", days), ("on_alarm", on_alarm)) if value is not None}
    limits = settings.monitoring.model_copy(update=given)
    from workload_forecast.steps.etl import EtlOptions
    from workload_forecast.steps.monitor import MonitorOptions, run_monitor

    settings = settings.model_copy(update={"monitoring": limits})
    run_monitor(EtlOptions(settings, options["engine"], selection), MonitorOptions(model, alias), reuse=reuse)


@cli.command()
@_options("model", "why")
def rollback(model: str, why: str) -> None:
    """Make the champion before the present one the champion again."""
    from workload_forecast.steps.promote import run_rollback

    run_rollback(model, why)


@cli.command()
@_options("duration", "config", "debug", "sample", "result", "output")
def download_model(result: str, output: str, **options: Any) -> None:
    """Fetch a published model, or another result, from Azure Blob Storage to a local folder."""
    settings, subset = _settings(options["duration"], options["config"]), _selection(options).subset
    from workload_forecast.steps.download import run_download

    click.echo(run_download(settings, result, Path(output) if output else None, subset=subset))


def _train(options: dict[str, Any], *, whole: bool) -> None:
    etl_options, parameters = _training(options)
    from workload_forecast.steps.main import run_main
    from workload_forecast.steps.train import run_train

    run = run_main if whole else run_train
    run(etl_options, parameters, reuse=options["reuse"])


def _training(options: dict[str, Any]) -> tuple[EtlOptions, config.TrainingParameters]:
    """Check the parameters of a training, and of the ETL before it."""
    settings = _settings(options["duration"], options["config"], options["thresholds"])
    parameters = config.TrainingParameters(
        options["algorithm"], options["num_trees"], options["max_depth"], options["seed"]
    )
    selection = _selection(options)
    from workload_forecast.steps.etl import EtlOptions

    return EtlOptions(settings, options["engine"], selection), parameters


def _selection(options: dict[str, Any]) -> config.Selection:
    return config.Selection(options["debug"], 1.0 if options["sample"] is None else options["sample"])


def _settings(duration: str | None, path: str, thresholds: str = "") -> config.Settings:
    settings = config.load_settings(duration, path or None)
    return settings.model_copy(update={"thresholds": config.parse_thresholds(thresholds)}) if thresholds else settings


def _add_target_commands() -> None:
    from workload_forecast.targets import run_commands, target_commands

    run_commands.add_to(cli)
    cli.add_command(target_commands.target)


def _add_service_commands() -> None:
    from workload_forecast import service_commands

    service_commands.add_to(cli)


_add_target_commands()
_add_service_commands()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors of the project are one line without a stack trace."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        cli.main(given or ["--help"], standalone_mode=False, prog_name="workload-forecast")
    except click.ClickException as problem:
        click.echo(f"error: {problem.format_message()}", err=True)
        return SettingsError.exit_code
    except WorkloadForecastError as problem:
        click.echo(f"error: {problem}", err=True)
        return problem.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("error: interrupted; what was finished is kept and will be reused.", err=True)
        return 130
    return 0


def entry_point() -> None:
    """Run the console script."""
    # what a step downloads it tells itself; MLflow's bars are a line per file wherever the output is kept
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    sys.exit(run())
