"""``tune``: a search for the algorithm's parameters on folds before the test period, then ``train`` with the best."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow

from workload_forecast.config import Settings, TrainingParameters
from workload_forecast.model.folds import FoldPlan, folds_before_test
from workload_forecast.model.pipeline import Parameter, Parameters, own_parameters, resolve_parameters
from workload_forecast.model.search import SearchPlan, best_trial, search, trial_table
from workload_forecast.model.search_objective import fold_objective
from workload_forecast.model.search_plots import trials_and_best
from workload_forecast.model.search_spaces import search_space
from workload_forecast.model.split import TimeSplit
from workload_forecast.model.trials import Trial
from workload_forecast.registry.log_training import log_files
from workload_forecast.schemas import FEATURES
from workload_forecast.steps.etl import EtlOptions, perform_etl, tag_input
from workload_forecast.steps.generate import DataSource, data_source
from workload_forecast.steps.lineage import log_table
from workload_forecast.steps.published import place_of
from workload_forecast.steps.runs import Result, Runs, Step, open_runs, work_key
from workload_forecast.steps.train import perform_train, split_of, training_parameters
from workload_forecast.steps.train import tell as tell_training
from workload_forecast.steps.trial_runs import TrialRuns


def run_tune(
    options: EtlOptions, parameters: TrainingParameters, plan: SearchPlan, fold_plan: FoldPlan, *, reuse: bool
) -> Result:
    """Run the entry point: data → ETL → search → training with the best parameters; return the training's result."""
    search_space(parameters.algorithm)
    folds_before_test(split_of(options.settings), fold_plan)
    first_parameters(parameters)
    with open_runs("tune", reuse=reuse) as runs:
        source = data_source(runs, options.settings)
        with runs.child("etl"):
            etl = perform_etl(runs, options, source)
        tuned = perform_tune(runs, options.settings, parameters, plan, fold_plan, etl, source)
        with runs.child("train"):
            best = replace(parameters, tuned=tuned.info["tuned"])
            result = perform_train(runs, options.settings, best, etl, source)
        runs.summarise(result)
        tell_training(runs, result)
        tell(runs, tuned)
        return result


def perform_tune(
    runs: Runs,
    settings: Settings,
    parameters: TrainingParameters,
    plan: SearchPlan,
    fold_plan: FoldPlan,
    etl: Result,
    source: DataSource,
) -> Result:
    """Perform the search in the active run, its trials in nested ones, or reuse a finished one.

    Raises:
        DataError: a fold has no labelled rows.
        ModelError: every trial failed, or a fold's training rows hold a single class.
        SettingsError: the folds do not fit before the test period, or the algorithm has nothing to tune.
    """
    folds = folds_before_test(split_of(settings), fold_plan)
    # What decides which trials there are and what they are worth; the rest of the plan decides how many.
    deciding = {
        **training_parameters(settings, parameters),
        **first_parameters(parameters),
        **asdict(fold_plan),
        "strategy": plan.strategy,
        "seed": plan.seed,
    }
    inputs = {"etl": etl.key}
    tag_input(etl, source)
    log_table(etl.folder / FEATURES.name, FEATURES, "tuning", digest=etl.key)
    key = work_key("search", deciding, inputs)
    work = partial(_tune, runs, settings, parameters, plan, folds, etl, key)
    place = place_of(settings, "tune", subset=etl.info["subset"])
    return runs.perform(Step("tune", {**deciding, **asdict(plan)}, inputs, work, place))


def _tune(
    runs: Runs,
    settings: Settings,
    parameters: TrainingParameters,
    plan: SearchPlan,
    folds: Sequence[TimeSplit],
    etl: Result,
    key: str,
    _: Path,
) -> dict[str, Any]:
    algorithm, start = parameters.algorithm, first_parameters(parameters)
    features = runs.engine("spark").read_table(FEATURES, etl.folder / FEATURES.name).to_native()
    with ExitStack() as stack:
        with runs.progress.stage("tune: prepare the folds"):
            objective = stack.enter_context(
                fold_objective(algorithm, features, folds, settings.thresholds, settings.class_weights)
            )
        bar = stack.enter_context(runs.progress.bar("tune", plan.max_evals))
        perform = partial(TrialRuns(runs, key, bar).perform, algorithm, objective)
        trials = search(search_space(algorithm), start, plan, perform)
    best = best_trial(trials)
    metrics, table = _summarise(trials, best), trial_table(trials)
    mlflow.log_metrics(metrics)
    log_files({"trials": trials_and_best(table, metrics["search_best_baseline_macro_f1"])}, {"trials": table})
    return {
        "trials": len(trials),
        "best_trial": best.number,
        # only what differs, so that the start, if it is the best, is the training that it always was
        "tuned": {name: value for name, value in best.parameters.items() if value != start[name]},
        "metrics": metrics,
    }


def first_parameters(parameters: TrainingParameters) -> dict[str, Parameter]:
    """All parameters of the first trial: those that were given, where the algorithm has them, and its defaults."""
    algorithm = parameters.algorithm
    return resolve_parameters(algorithm, own_parameters(algorithm, parameters.values))


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
