"""``backtest``: how good a training's parameters are, on rolling-origin folds that end before the test period."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from workload_forecast.config import EVERY_LEAD, HORIZON_ONLY, Settings, TrainingParameters
from workload_forecast.model import plots
from workload_forecast.model.backtest import Backtest, backtest
from workload_forecast.model.backtest_plots import backtest_figures
from workload_forecast.model.baselines import BASELINES, MAJORITY
from workload_forecast.model.differences import DAYS, cautious_differences
from workload_forecast.model.fold_calibration import ALL, calibration_table, probability_scores
from workload_forecast.model.fold_rows import FoldData
from workload_forecast.model.folds import FoldPlan, folds_before_test
from workload_forecast.model.pipeline import own_parameters
from workload_forecast.model.split import SPLIT, TimeSplit
from workload_forecast.registry.log_training import log_files
from workload_forecast.schemas import FEATURES
from workload_forecast.sources import MODEL
from workload_forecast.steps.etl import EtlOptions, perform_etl, tag_input
from workload_forecast.steps.generate import DataSource, data_source
from workload_forecast.steps.lead_rows import write_lead_rows
from workload_forecast.steps.lineage import log_table
from workload_forecast.steps.published import place_of
from workload_forecast.steps.runs import Result, Runs, Step, open_runs
from workload_forecast.steps.train import split_of, training_parameters


def run_backtest(
    options: EtlOptions, parameters: TrainingParameters, plan: FoldPlan, leads: str = HORIZON_ONLY, *, reuse: bool
) -> Result:
    """Run the entry point: the run is the backtest's own, with the ETL nested in it."""
    folds_before_test(split_of(options.settings), plan)
    own_parameters(parameters.algorithm, parameters.values)
    with open_runs("backtest", reuse=reuse) as runs:
        source = data_source(runs, options.settings)
        with runs.child("etl"):
            etl = perform_etl(runs, options, source)
        result = perform_backtest(runs, options.settings, parameters, plan, etl, source, leads)
        tell(runs, result)
        return result


def perform_backtest(
    runs: Runs,
    settings: Settings,
    parameters: TrainingParameters,
    plan: FoldPlan,
    etl: Result,
    source: DataSource,
    leads: str = HORIZON_ONLY,
) -> Result:
    """Perform the step in the active run, or reuse a finished one.

    ``leads`` says which rows are trained on and judged: one of :data:`~workload_forecast.config.LEADS`.

    Raises:
        SettingsError: the folds do not fit before the test period.
        DataError: a fold has no labelled rows.
        ModelError: a fold's training rows hold a single class.
    """
    folds = folds_before_test(split_of(settings), plan)
    tag_input(etl, source)
    log_table(etl.folder / FEATURES.name, FEATURES, "backtest", digest=etl.key)
    logged = {**training_parameters(settings, parameters), **asdict(plan), "leads": leads}
    work = partial(_backtest, runs, settings, parameters, folds, etl, leads)
    place = place_of(settings, "backtest", subset=etl.info["subset"])
    return runs.perform(Step("backtest", logged, {"etl": etl.key}, work, place))


def _backtest(
    runs: Runs,
    settings: Settings,
    parameters: TrainingParameters,
    folds: Sequence[TimeSplit],
    etl: Result,
    leads: str,
    folder: Path,
) -> dict[str, Any]:
    table = etl.folder / FEATURES.name
    if leads == EVERY_LEAD:
        table = folder / "lead_rows"
        write_lead_rows(runs, settings, etl, table)
    rows, facts = _judge(runs, settings, parameters, folds, table)
    if leads == EVERY_LEAD:
        shutil.rmtree(table)  # eight times the features: made again sooner than stored
    with runs.progress.stage("backtest: count and resample"):
        found = backtest(rows, model=MODEL, baselines=BASELINES, default=MAJORITY)
        calibration = calibration_table(rows)
        probabilities = probability_scores(calibration)
    whole = probabilities.set_index(SPLIT).loc[ALL]
    metrics = {**found.metrics, **{f"backtest_{name}": float(whole[name]) for name in ("brier", "calibration_error")}}
    with runs.progress.stage("backtest: draw and log"):
        mlflow.log_metrics(metrics)
        mlflow.set_tag("best_baseline", found.best_baseline)
        reliability = plots.calibration(calibration[calibration[SPLIT] == ALL], "Calibration over all folds")
        log_files(
            {**backtest_figures(found), "backtest_calibration": reliability},
            {**_tables(found), "folds": facts, "calibration": calibration, "probability_scores": probabilities},
        )
    told = cautious_differences(found.differences).set_index("baseline").loc[found.best_baseline]
    return {
        "metrics": metrics,
        "best_baseline": found.best_baseline,
        "confidence": float(told["confidence"]),
        "blocks_of": str(told["blocks_of"]),
    }


def _judge(
    runs: Runs, settings: Settings, parameters: TrainingParameters, folds: Sequence[TimeSplit], table: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The judged rows of all folds, and a table of the folds."""
    features = runs.engine("spark").read_table(FEATURES, table).to_native()
    own = own_parameters(parameters.algorithm, parameters.values)
    rows, facts = [], []
    for number, split in enumerate(folds, start=1):
        with runs.progress.stage("backtest: prepare the fold") as stage:
            stage.detail = f"({number} of {len(folds)})"
            data = FoldData.of_features(features, split, settings.thresholds, number, settings.class_weights)
        with closing(data), runs.progress.stage("backtest: fit and answer") as stage:
            stage.detail = f"({number} of {len(folds)}: judged from {split.test_from} to {split.to})"
            rows.append(data.judge(parameters.algorithm, own))
        facts.append(
            {
                "fold": number,
                "training_from": split.training_from,
                "training_to": split.training_to,
                "judged_from": split.test_from,
                "judged_to": split.to,
                "threshold_low": data.thresholds.low,
                "threshold_high": data.thresholds.high,
                "majority": data.majority,
            }
        )
    return pd.concat(rows, ignore_index=True), pd.DataFrame(facts)


def _tables(found: Backtest) -> dict[str, pd.DataFrame]:
    tables = {
        "scores": found.scores,
        "scores_by_fold": found.by_fold,
        "scores_by_weekday": found.by_weekday,
        "accuracy_by_server": found.by_server,
        "differences": found.differences,
    }
    return tables if found.by_lead is None else {**tables, "scores_by_lead": found.by_lead}


def tell(runs: Runs, result: Result) -> None:
    """Say how good the model is and how much better than naive, and how sure that is."""
    metrics, best = result.info["metrics"], result.info["best_baseline"]
    say = runs.progress.say
    say(
        f"backtest: {metrics['backtest_rows']:,.0f} rows of {metrics['backtest_servers']:,.0f} servers in "
        f"{metrics['backtest_folds']:.0f} folds; at least as accurate as the best naive forecast on "
        f"{metrics.get('backtest_servers_at_least_best_baseline_share', float('nan')):.0%} of the servers"
    )
    say(f"runs:     {mlflow.get_tracking_uri()}   open them with: make ui")
    say(
        f"backtest: macro-F1 {metrics['backtest_macro_f1']:.3f}; best naive forecast ({best}) "
        f"{metrics['backtest_best_baseline_macro_f1']:.3f}"
    )
    say(f"backtest: {_gain(metrics, result.info['confidence'], result.info['blocks_of'])}")


def _gain(metrics: dict[str, float], confidence: float, blocks_of: str) -> str:
    gain, suffix = f"gain {metrics['backtest_macro_f1_gain']:+.3f}", "_days" if blocks_of == DAYS else ""
    if f"backtest_macro_f1_gain_low{suffix}" not in metrics:
        return f"{gain}; too few {blocks_of} to say how sure that is"
    low, high = (metrics[f"backtest_macro_f1_gain_{end}{suffix}"] for end in ("low", "high"))
    text = f"{gain}, {confidence:.0%} interval by {blocks_of} {low:+.3f} to {high:+.3f}"
    if high < 0:
        return f"{text}: THE MODEL IS WORSE than the best naive forecast"
    return text if low > 0 else f"{text}: THE MODEL IS NOT CLEARLY BETTER than the best naive forecast"
