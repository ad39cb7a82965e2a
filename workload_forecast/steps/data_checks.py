"""Whether the data is fit to train on: asked before the fit, and kept with the run whatever the answer is."""

from __future__ import annotations

import mlflow
from pydantic.alias_generators import to_camel

from workload_forecast.check_limits import CheckLimits
from workload_forecast.config import Thresholds
from workload_forecast.errors import DataError
from workload_forecast.model.checks import REFUSE, WARN, Verdict, check_data
from workload_forecast.model.data_quality import data_quality
from workload_forecast.model.load_summary import summarise_loads
from workload_forecast.model.split import TimeSplit
from workload_forecast.registry.log_training import log_files
from workload_forecast.schemas import FEATURES
from workload_forecast.steps.runs import TAG, Result, Runs

#: Name of the table among the run's artifacts, and of the tag that holds the verdict.
DATA_CHECKS = "data_checks"

#: The same and what it is made of, as a page to read.
QUALITY_FILE = "data_quality.md"


def check_training_data(
    runs: Runs, etl: Result, split: TimeSplit, thresholds: Thresholds, limits: CheckLimits
) -> Verdict:
    """Check what the ETL has made, log the table of checks, the report and the verdict, and say each warning.

    Returns:
        The verdict: ``ok`` or ``warn``.

    Raises:
        DataError: a check refuses the data; the message has every reason.
    """
    # not always Spark, although the fit is about to need it: DuckDB takes a second where Spark takes ten or more
    engine = runs.engine("auto")
    with runs.progress.stage("train: check the data") as stage:
        summary = summarise_loads(engine.read_table(FEATURES, etl.folder / FEATURES.name), split, thresholds)
        counts = etl.info["counts"]
        report = check_data(summary, counts, limits)
        stage.detail = f"({len(report.checks)} checks: {report.verdict})"
    mlflow.set_tag(f"{TAG}{DATA_CHECKS}", report.verdict)
    page = data_quality(report, summary, counts, split, thresholds)
    log_files({}, {DATA_CHECKS: report.table()}, {QUALITY_FILE: page})
    for reason in report.reasons(WARN):
        runs.progress.say(f"train: WARNING: {reason}")
    if report.verdict == REFUSE:
        limits_named = ", ".join(to_camel(check.name) for check in report.checks if check.verdict == REFUSE)
        raise DataError(
            f"the data is not fit to train on: {' '.join(report.reasons(REFUSE))} "
            f"To train on it nevertheless, raise `refuse` of {limits_named} in the settings' section `checks`."
        )
    return report.verdict
