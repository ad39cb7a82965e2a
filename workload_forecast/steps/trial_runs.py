"""The nested runs of a search: one a trial, and the record from which a search that was killed goes on."""

from __future__ import annotations

import mlflow
from mlflow import MlflowClient

from workload_forecast.model.pipeline import Parameters
from workload_forecast.model.search import Objective, attempt
from workload_forecast.model.trials import Trial
from workload_forecast.progress import Bar
from workload_forecast.steps.runs import TAG, Runs

#: Key of the search that a trial's run belongs to; and the whole trial, set last: what has it is finished.
SEARCH_TAG, TRIAL_TAG = f"{TAG}search", f"{TAG}trial"

#: Metric of a trial's run that the search maximises.
SCORE = "macro_f1"

#: Metrics of the search's own run, whose steps are the trials: MLflow's UI draws them while the search goes on.
TRIAL_CURVE, BEST_CURVE = "search_trial_macro_f1", "search_best_so_far_macro_f1"


class TrialRuns:
    """Performs the trials of the search with a key in runs nested in the active one.

    What an earlier run of the same search has finished, whether that run was killed or went on to its end, is not done
    again: its trial gets a run here too, with the same parameters and metrics, so that all trials of a search stand
    below one parent.
    """

    def __init__(self, runs: Runs, key: str, bar: Bar) -> None:
        self._runs, self._key, self._bar = runs, key, bar
        self._finished = finished_trials(key) if runs.reuse else {}
        self._best: Trial | None = None

    def perform(self, algorithm: str, objective: Objective, number: int, parameters: Parameters) -> Trial:
        """Do a trial, or answer it from the record."""
        with self._runs.child(f"trial {number}"):
            mlflow.set_tags({f"{TAG}step": "trial", SEARCH_TAG: self._key})
            mlflow.log_params({"algorithm": algorithm, **parameters})
            trial, source = self._finished.get(number, (None, ""))
            if trial is None or trial.parameters != parameters:
                trial, source = attempt(objective, number, parameters), ""
            _log(trial, source)
        self._tell(trial, reused=bool(source))
        if trial.macro_f1 is not None and self._best:
            mlflow.log_metrics({TRIAL_CURVE: trial.macro_f1, BEST_CURVE: self._best.macro_f1 or 0.0}, step=number)
        return trial

    def _tell(self, trial: Trial, *, reused: bool) -> None:
        if trial.macro_f1 is not None and (self._best is None or trial.macro_f1 > (self._best.macro_f1 or 0.0)):
            self._best = trial
        best = f"best {self._best.macro_f1:.4f} (trial {self._best.number})" if self._best else "none yet"
        said = f"failed: {trial.reason}" if trial.macro_f1 is None else f"macro-F1 {trial.macro_f1:.4f}"
        self._bar.advance(f"trial {trial.number}: {said}{', from the record' if reused else ''}; {best}", best)


def finished_trials(key: str) -> dict[int, tuple[Trial, str]]:
    """The trials of the search with a key that any run has finished, by number, with the first run that did each."""
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found: dict[int, tuple[Trial, str]] = {}
    token = None
    while token != "":
        page = client.search_runs(
            experiments, f"tags.`{SEARCH_TAG}` = '{key}'", order_by=["attributes.start_time ASC"], page_token=token
        )
        for run in page:
            if TRIAL_TAG in run.data.tags:
                trial = Trial.from_json(run.data.tags[TRIAL_TAG])
                found.setdefault(trial.number, (trial, run.info.run_id))
        token = page.token or ""
    return found


def _log(trial: Trial, source: str) -> None:
    """Log a finished trial to the active run; a failed one ends the run as FAILED, with the reason."""
    if trial.macro_f1 is None:
        mlflow.set_tag(f"{TAG}error", trial.reason)
    else:
        mlflow.log_metrics({SCORE: trial.macro_f1, **trial.metrics})
    tags = {TRIAL_TAG: trial.to_json()} | ({f"{TAG}reused_run": source} if source else {})
    mlflow.set_tags(tags)
    if trial.failed:
        mlflow.end_run("FAILED")
