"""``train``: features → model, metrics, plots, registered version; performs the ETL first where none matches."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow

from workload_forecast import __version__
from workload_forecast.config import ClassWeights, Settings, TrainingParameters
from workload_forecast.model.checks import Verdict
from workload_forecast.model.pipeline import own_parameters
from workload_forecast.model.rows import resolve_thresholds
from workload_forecast.model.source_choice import describe_sources
from workload_forecast.model.split import TimeSplit
from workload_forecast.model.training import train
from workload_forecast.registry.log_model import RegisteredVersion, log_model
from workload_forecast.registry.log_training import log_training
from workload_forecast.registry.model_card import CARD_FILE, CardFacts, model_card
from workload_forecast.schemas import FEATURES
from workload_forecast.sources import Sources
from workload_forecast.steps.data_checks import check_training_data
from workload_forecast.steps.etl import EtlOptions, perform_etl, tag_input
from workload_forecast.steps.generate import DataSource, data_source
from workload_forecast.steps.lineage import log_table
from workload_forecast.steps.provenance import library_versions
from workload_forecast.steps.published import MODEL, place_of
from workload_forecast.steps.runs import Result, Runs, Step, open_runs


def run_train(options: EtlOptions, parameters: TrainingParameters, *, reuse: bool) -> Result:
    """Run the entry point: the run is the training's own, with the ETL nested in it."""
    split_of(options.settings)
    own_parameters(parameters.algorithm, parameters.values)
    with open_runs("train", reuse=reuse) as runs:
        source = data_source(runs, options.settings)
        with runs.child("etl"):
            etl = perform_etl(runs, options, source)
        result = perform_train(runs, options.settings, parameters, etl, source)
        tell(runs, result)
        return result


def perform_train(
    runs: Runs, settings: Settings, parameters: TrainingParameters, etl: Result, source: DataSource
) -> Result:
    """Perform the step in the active run, or reuse a finished one.

    Raises:
        DataError: a period has no labelled rows, or the data checks refuse the data.
        ModelError: the training rows hold a single class.
    """
    asked = {name: getattr(settings, name) for name in ("checks", "sources")}
    limits = {n: one.model_dump(mode="json", by_alias=True, exclude_defaults=True) for n, one in asked.items()}
    logged = {**training_parameters(settings, parameters), **limits}
    tag_input(etl, source)
    log_table(etl.folder / FEATURES.name, FEATURES, "training", digest=etl.key)
    work = partial(_train, runs, settings, parameters, etl, source)
    place = place_of(settings, "train", subset=etl.info["subset"])
    return runs.perform(Step("train", logged, {"etl": etl.key}, work, place))


def training_parameters(settings: Settings, parameters: TrainingParameters) -> dict[str, Any]:
    """What decides the result of a training besides the data: logged, and part of the key."""
    return {
        "duration": settings.duration,
        "algorithm": parameters.algorithm,
        **own_parameters(parameters.algorithm, parameters.values),
        **({} if settings.class_weights == ClassWeights() else {"class_weights": settings.class_weights.model_dump()}),
        "thresholds": settings.thresholds if settings.thresholds == "auto" else asdict(settings.thresholds),
        "training_from": settings.training_from,
        "test_from": settings.test_from,
        "to": settings.to,
    }


def split_of(settings: Settings) -> TimeSplit:
    """Return the split that the settings ask for; an impossible one is an error before any work is done."""
    return TimeSplit(settings.training_from, settings.test_from, settings.to)


def _train(
    runs: Runs, settings: Settings, parameters: TrainingParameters, etl: Result, source: DataSource, folder: Path
) -> dict[str, Any]:
    engine = runs.engine("spark")
    features = engine.read_table(FEATURES, etl.folder / FEATURES.name).to_native()
    split = split_of(settings)
    thresholds = resolve_thresholds(features, split, settings.thresholds)
    checked = check_training_data(runs, etl, split, thresholds, settings.checks)
    own = own_parameters(parameters.algorithm, parameters.values)
    trained = train(
        features, split, thresholds, parameters.algorithm, own, runs.progress, settings.class_weights, settings.sources
    )
    result = replace(trained, thresholds_auto=settings.thresholds == "auto")
    with runs.progress.stage("train: log and register the model"):
        log_training(result)
        tags = {"duration": settings.duration, "data": source.kind}
        tags |= {"subset": etl.info["subset"]} if etl.info["subset"] else {}
        version = log_model(result, tags, missing_hours=settings.missing_hours)
        mlflow.log_text(model_card(result, _card_facts(settings, etl, source, version, checked)), CARD_FILE)
        Path(mlflow.artifacts.download_artifacts(version.uri, dst_path=str(folder / "download"))).rename(folder / MODEL)
    mlflow.set_tags({f"workload_forecast.engine.{name}": number for name, number in engine.versions().items()})
    return {
        "model": {**asdict(version), "uri": version.uri},
        "thresholds": asdict(result.thresholds),
        "best_baseline": result.best_baseline,
        "data_checks": checked,
        "sources": "" if result.sources == Sources() else describe_sources(result.tables["sources"]),
        "metrics": dict(result.metrics),
    }


def _card_facts(
    settings: Settings, etl: Result, source: DataSource, version: RegisteredVersion, checked: Verdict
) -> CardFacts:
    return CardFacts(
        version=version,
        data=source.kind,
        duration=settings.duration,
        subset=etl.info["subset"],
        servers=etl.info["servers"],
        sessions=etl.info["counts"]["rows_used"],
        digest=etl.key,
        missing_hours=settings.missing_hours,
        data_checks=checked,
        libraries={"workload_forecast": __version__, **library_versions()},
    )


def tell(runs: Runs, result: Result) -> None:
    """Say where the results are and how good the model is."""
    model, metrics = result.info["model"], result.info["metrics"]
    say = runs.progress.say
    say(f"train: registered {model['name']} version {model['version']} ({model['uri']})")
    say(
        f"train: test macro-F1 {metrics['test_macro_f1']:.3f}, accuracy {metrics['test_accuracy']:.3f}; "
        f"best naive forecast ({result.info['best_baseline']}) {metrics['best_baseline_test_macro_f1']:.3f}"
    )
    if metrics["test_macro_f1_gain"] <= 0:
        say("train: THE MODEL IS NOT BETTER than the best naive forecast on the test period.")
    if result.info.get("sources"):
        say(f"train: {result.info['sources']}; with that test macro-F1 {metrics['forecast_test_macro_f1']:.3f}")
    say(f"results: {runs.home}")
    say(f"runs:    {mlflow.get_tracking_uri()}   open them with: make ui")
