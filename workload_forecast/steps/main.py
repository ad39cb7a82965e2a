"""``main``: the whole job in one process, each step in a nested run of its own."""

from __future__ import annotations

from mlflow import MlflowClient

from workload_forecast.config import TrainingParameters
from workload_forecast.model.pipeline import own_parameters
from workload_forecast.registry.promotion import CHAMPION, version_of
from workload_forecast.steps.etl import EtlOptions, perform_etl, tag_input
from workload_forecast.steps.forecast import ForecastOptions, perform_forecast
from workload_forecast.steps.generate import data_source
from workload_forecast.steps.promote import promote_trained
from workload_forecast.steps.runs import Result, open_runs
from workload_forecast.steps.train import perform_train, split_of, tell


def run_main(options: EtlOptions, parameters: TrainingParameters, *, reuse: bool) -> Result:
    """Run the entry point: data → ETL → training → promotion → forecast and plan, finished steps reused.

    A model that is not promoted is no failure of the job: the run ``promote`` and the last lines say so, and whatever
    version is the champion forecasts.
    """
    split_of(options.settings)
    own_parameters(parameters.algorithm, parameters.values)
    with open_runs("main", reuse=reuse) as runs:
        source = data_source(runs, options.settings)
        with runs.child("etl"):
            etl = perform_etl(runs, options, source)
        tag_input(etl, source)
        with runs.child("train"):
            result = perform_train(runs, options.settings, parameters, etl, source)
        runs.summarise(result)
        tell(runs, result)
        with runs.child("promote"):
            promote_trained(runs, options, etl, result)
        name = result.info["model"]["name"]
        champion = version_of(MlflowClient(), name, CHAMPION)
        if champion is None:
            runs.progress.say(f"forecast: nothing is forecast, because no version of {name} is the champion")
            return result
        with runs.child("forecast"):
            tag_input(etl, source)
            perform_forecast(runs, options, ForecastOptions(name), champion, etl)
        return result
