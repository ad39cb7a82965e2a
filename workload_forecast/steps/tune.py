"""``tune``: a search for the algorithm's parameters on folds before the test period, then ``train`` with the best."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow

from workload_forecast.config import Settings, TrainingParameters, TuningParameters
from workload_forecast.model.folds import FoldPlan, folds_before_test
from workload_forecast.model.pipeline import ALGORITHMS, Parameters, resolve_parameters
from workload_forecast.model.search import SearchPlan, best_trial, search, trial_table
from workload_forecast.model.search_objective import fold_objective
from workload_forecast.model.search_plots import best_so_far
from workload_forecast.model.search_spaces import search_space
from workload_forecast.model.split import TimeSplit
from workload_forecast.model.trials import Trial
from workload_forecast.schemas import FEATURES
from workload_forecast.steps.etl import EtlOptions, perform_etl
from workload_forecast.steps.generate import DataSource, data_source
from workload_forecast.steps.lineage import log_table
from workload_forecast.steps.runs import Result, Runs, Step, open_runs, work_key
from workload_forecast.steps.train import perform_train, split_of
from workload_forecast.steps.train import tell as tell_training
from workload_forecast.steps.trial_runs import TrialRuns

TRIALS_TABLE, TRIALS_PLOT = "trials.csv", "best_so_far.png"


def run_tune(options: EtlOptions, tuning: TuningParameters, *, reuse: bool) -> Result:
    """Run the entry point: data → ETL → search → training with the best parameters; return the training's result."""
    search_space(tuning.training.algorithm)
    folds_of(options.settings, tuning)
    with open_runs("tune", reuse=reuse) as runs:
        source = data_source(runs, options.settings)
        with runs.child("etl"):
            etl = perform_etl(runs, options, source)
        tuned = perform_tune(runs, options.settings, tuning, etl, source)
        with runs.child("train"):
            parameters = replace(tuning.training, tuned=tuned.info["tuned"])
            result = perform_train(runs, options.settings, parameters, etl, source)
        runs.summarise(result)
        tell_training(runs, result)
        tell(runs, tuned)
        return result


def perform_tune(runs: Runs, settings: Settings, tuning: TuningParameters, etl: Result, source: DataSource) -> Result:
    """Perform the search in the active run, its trials in nested ones, or reuse a finished one.

    Raises:
        DataError: a fold has no labelled rows.
        ModelError: every trial failed, or a fold's training rows hold a single class.
        SettingsError: the folds do not fit, or the algorithm has nothing to tune.
    """
    # What decides which trials there are and what they are worth; the rest decides how many.
    deciding = {
        "duration": settings.duration,
        "algorithm": tuning.training.algorithm,
        **_start(tuning.training),
        "thresholds": settings.thresholds if settings.thresholds == "auto" else asdict(settings.thresholds),
        "training_from": settings.training_from,
        "test_from": settings.test_from,
        "seed": tuning.training.seed,
        "strategy": tuning.strategy,
        "folds": tuning.folds,
        "test_hours": tuning.test_hours,
    }
    budget = {name: getattr(tuning, name) for name in ("max_evals", "patience", "minimum_gain")}
    inputs = {"etl": etl.key}
    mlflow.set_tags({"data": source.kind, "workload_forecast.etl_run": etl.run_id})
    log_table(etl.folder / FEATURES.name, FEATURES, "training", digest=etl.key)
    work = partial(_tune, runs, settings, tuning, etl, work_key("search", deciding, inputs))
    return runs.perform(Step("tune", {**deciding, **budget}, inputs, work))


def folds_of(settings: Settings, tuning: TuningParameters) -> tuple[TimeSplit, ...]:
    """Return the folds that the settings leave room for before the gap and the test period."""
    return folds_before_test(split_of(settings), FoldPlan(folds=tuning.folds, test_hours=tuning.test_hours))


def _tune(
    runs: Runs, settings: Settings, tuning: TuningParameters, etl: Result, key: str, folder: Path
) -> dict[str, Any]:
    algorithm, start = tuning.training.algorithm, _start(tuning.training)
    engine = runs.engine("spark")
    features = engine.read_table(FEATURES, etl.folder / FEATURES.name).to_native()
    plan = SearchPlan(tuning.max_evals, tuning.strategy, tuning.training.seed, tuning.patience, tuning.minimum_gain)
    with (
        fold_objective(algorithm, features, folds_of(settings, tuning), settings.thresholds) as objective,
        runs.progress.bar("tune", plan.max_evals) as bar,
    ):
        perform = partial(TrialRuns(runs, key, bar).perform, algorithm, objective)
        trials = search(search_space(algorithm), start, plan, perform)
    best = best_trial(trials)
    metrics = _summarise(trials, best)
    mlflow.log_metrics(metrics)
    table = trial_table(trials)
    table.to_csv(folder / TRIALS_TABLE, index=False)
    best_so_far(table, metrics["search_best_baseline_macro_f1"]).savefig(folder / TRIALS_PLOT)
    mlflow.log_artifact(str(folder / TRIALS_TABLE), "tables")
    mlflow.log_artifact(str(folder / TRIALS_PLOT), "plots")
    return {
        "trials": len(trials),
        "best_trial": best.number,
        "parameters": dict(best.parameters),
        # only what differs, so that the start, if it is the best, is the training that it always was
        "tuned": {name: value for name, value in best.parameters.items() if value != start[name]},
        "metrics": metrics,
    }


def _start(training: TrainingParameters) -> dict[str, Any]:
    """All parameters of the first trial: those that were given, where the algorithm has them, and its defaults."""
    own = ALGORITHMS[training.algorithm].defaults
    return resolve_parameters(
        training.algorithm, {name: value for name, value in training.values.items() if name in own}
    )


def _summarise(trials: tuple[Trial, ...], best: Trial) -> dict[str, float]:
    first = trials[0].macro_f1
    scored = {"search_best_macro_f1": best.macro_f1, "search_first_macro_f1": first}
    return {
        "search_trials": float(len(trials)),
        "search_failed_trials": float(sum(trial.failed for trial in trials)),
        "search_best_trial": float(best.number),
        "search_best_baseline_macro_f1": best.metrics["best_baseline_macro_f1"],
        **{name: value for name, value in scored.items() if value is not None},
    }


def tell(runs: Runs, tuned: Result) -> None:
    """Say which parameters are the best on the folds, and how much they are worth."""
    info, metrics = tuned.info, tuned.info["metrics"]
    say = runs.progress.say
    changed: Parameters = info["tuned"]
    found = ", ".join(f"{name}={value}" for name, value in changed.items()) or "the first trial's parameters"
    first = metrics.get("search_first_macro_f1")
    say(f"tune: best of {info['trials']} trials is number {info['best_trial']}: {found}")
    say(
        f"tune: on the folds macro-F1 {metrics['search_best_macro_f1']:.3f}; "
        f"first trial {'failed' if first is None else f'{first:.3f}'}; "
        f"best naive forecast {metrics['search_best_baseline_macro_f1']:.3f}"
    )
    if metrics["search_best_macro_f1"] <= metrics["search_best_baseline_macro_f1"]:
        say("tune: NO TRIAL IS BETTER than the best naive forecast on the folds.")
