"""``promote``: a version through the gate, then the alias ``champion``; ``rollback``: the champion before it again."""

from __future__ import annotations

import getpass
import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from workload_forecast.config import DEFAULT_MODEL, Settings, Thresholds
from workload_forecast.errors import PromotionRefused
from workload_forecast.registry import promotion
from workload_forecast.registry.promotion import CHAMPION, Decision, OvertakenError, find_version, version_of
from workload_forecast.registry.verdict import Verdict
from workload_forecast.schemas import FEATURES
from workload_forecast.steps.etl import EtlOptions, perform_etl
from workload_forecast.steps.generate import data_source
from workload_forecast.steps.judging import Judge, ReadRows
from workload_forecast.steps.recent_rows import RecentRows, read_recent_rows
from workload_forecast.steps.runs import TAG, Result, Runs, open_runs
from workload_forecast.steps.train import split_of

PROMOTED, REFUSED, UNCHANGED = "promoted", "refused", "unchanged"

#: Artifacts of a promotion's run.
TABLE, CHECKS, DECIDED = "promotion/checks.md", "promotion/checks.json", "promotion/decision.json"

#: How often a version is compared again because another one has become the champion meanwhile.
TRIES = 5


@dataclass(frozen=True)
class PromoteOptions:
    """Checked parameters of the entry point."""

    model: str = DEFAULT_MODEL
    version: str = ""  #: empty: the newest one
    why: str = ""
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it; after a dry run, what would have come of it."""

    action: str  #: :data:`PROMOTED`, :data:`REFUSED` or :data:`UNCHANGED`
    version: str
    why: str
    verdict: Verdict | None = None  #: None where nothing was asked


def run_promote(options: EtlOptions, wanted: PromoteOptions, *, reuse: bool) -> Outcome:
    """Run the entry point; performs the ETL first if no finished run matches.

    Raises:
        PromotionRefused: the version did not pass, and this was no dry run. Nothing but this decision was recorded.
        ModelError: there is no such version.
    """
    split_of(options.settings)
    with open_runs("promote", reuse=reuse) as runs:
        version = find_version(MlflowClient(), wanted.model, wanted.version)

        def read(thresholds: Thresholds) -> RecentRows:
            source = data_source(runs, options.settings)
            with runs.child("etl"):
                etl = perform_etl(runs, options, source)
            return _recent_rows(runs, options, etl, thresholds)

        outcome = decide(runs, options.settings, wanted, version, read)
        if outcome.action == REFUSED and not wanted.dry_run:
            raise PromotionRefused(f"{wanted.model} version {version.version} is not promoted: {outcome.why}")
        _say(runs, wanted, outcome)
        return outcome


def promote_trained(runs: Runs, options: EtlOptions, etl: Result, trained: Result) -> Outcome:
    """Decide, in the active run, on the version that the main job has trained. A refusal is said, and is no error.

    A version that was decided on before is left alone: the main job, run again on unchanged data, must not bring back
    what somebody has rolled back. A quick look (``debug``, ``sample``) is never promoted.
    """
    name, number = trained.info["model"]["name"], str(trained.info["model"]["version"])
    wanted = PromoteOptions(name, number, "trained by the main job")
    client = MlflowClient()
    version = find_version(client, name, number)
    before, reason = promotion.read_decision(version), ""
    if options.selection.subset:
        reason = f"it was trained on a part of the servers ({options.selection.subset})"
    elif before and not _serves(client, name, number):
        reason = f"it was {before.action} before ({before.why}); to decide again: -e promote -P version={number}"
    if reason:
        runs.begin("promote", {"version": number})
        outcome = _kept(Outcome(UNCHANGED, number, f"not looked at: {reason}"))
    else:
        outcome = decide(runs, options.settings, wanted, version, partial(_recent_rows, runs, options, etl))
    _say(runs, wanted, outcome)
    return outcome


def run_rollback(model: str, why: str) -> Decision:
    """Run the entry point: the champion before the present one serves again.

    Raises:
        ModelError: there is none.
    """
    with open_runs("rollback", reuse=False) as runs:
        return perform_rollback(runs, model, why or "no reason given")


def perform_rollback(runs: Runs, model: str, why: str, *, instead_of: str = "") -> Decision:
    """Go back in the active run; see :func:`~workload_forecast.registry.promotion.roll_back`."""
    run = runs.begin("rollback", {"model": model, "why": why})
    decision = promotion.roll_back(MlflowClient(), model, user(), why, run, instead_of=instead_of)
    mlflow.log_text(decision.as_json() + "\n", DECIDED)
    mlflow.set_tags({f"{TAG}decision": decision.action, f"{TAG}model_version": decision.version})
    runs.progress.say(
        f"rollback: version {decision.version} of {model} is the champion again, instead of {decision.champion}"
    )
    return decision


def decide(runs: Runs, settings: Settings, wanted: PromoteOptions, version: ModelVersion, read: ReadRows) -> Outcome:
    """Judge a version in the active run, and promote it or record why not; a dry run leaves the registry alone."""
    client, number = MlflowClient(), str(version.version)
    limits = settings.promotion.model_dump()
    run = runs.begin("promote", {"model": wanted.model, "version": number, "dry_run": wanted.dry_run, **limits})
    if _serves(client, wanted.model, number) and not wanted.dry_run:
        promotion.complete(client, wanted.model)
        return _kept(Outcome(UNCHANGED, number, "it is the champion already"))
    with tempfile.TemporaryDirectory(prefix="workload-forecast-") as scratch:
        judge = Judge(runs, settings, client, version, Path(scratch), read)
        for attempt in range(1, TRIES + 1):
            verdict = judge.judge(version_of(client, wanted.model, CHAMPION))
            _log_verdict(verdict)
            decision = _decision(verdict, wanted.why, run)
            try:
                if not wanted.dry_run:
                    _carry_out(client, wanted.model, decision)
                break
            except OvertakenError as problem:
                if attempt == TRIES:
                    raise
                runs.progress.say(f"promote: {problem}")
    runs.progress.say(verdict.table())
    mlflow.log_text(decision.as_json() + "\n", DECIDED)
    return _kept(Outcome(decision.action, number, verdict.why, verdict))


def user() -> str:
    """Return who decides: the account on the tracking server, or the user whom MLflow names with the run."""
    run = mlflow.active_run()
    of_run = run.data.tags.get("mlflow.user", "") if run else ""
    name = os.environ.get("MLFLOW_TRACKING_USERNAME") or of_run
    if name:
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user need not have a name
        return "unknown"


def _recent_rows(runs: Runs, options: EtlOptions, etl: Result, thresholds: Thresholds) -> RecentRows:
    engine = runs.engine(options.engine)
    with runs.progress.stage("promote: read the recent rows") as stage:
        features = engine.read_table(FEATURES, etl.folder / FEATURES.name)
        rows = read_recent_rows(features, split_of(options.settings), thresholds)
        stage.detail = f"({len(rows.table):,} rows)"
    return rows


def _decision(verdict: Verdict, why: str, run: str) -> Decision:
    reason = f"{why}: {verdict.why}" if why else verdict.why
    action = PROMOTED if verdict.passed else REFUSED
    return Decision(action, verdict.version, verdict.champion, user(), reason[:2000], numbers=verdict.numbers, run=run)


def _carry_out(client: MlflowClient, name: str, decision: Decision) -> None:
    if decision.action == PROMOTED:
        promotion.promote(client, name, decision)
    else:
        promotion.record(client, name, decision)


def _serves(client: MlflowClient, name: str, number: str) -> bool:
    champion = version_of(client, name, CHAMPION)
    return champion is not None and str(champion.version) == number


def _log_verdict(verdict: Verdict) -> None:
    mlflow.log_metrics(dict(verdict.numbers))
    mlflow.log_text(verdict.markdown(), TABLE)
    mlflow.log_text(verdict.to_json(), CHECKS)


def _kept(outcome: Outcome) -> Outcome:
    """Keep what came of it with the run."""
    tags = {"decision": outcome.action, "model_version": outcome.version, "why": outcome.why[:2000]}
    mlflow.set_tags({f"{TAG}{name}": value for name, value in tags.items()})
    return outcome


def _say(runs: Runs, wanted: PromoteOptions, outcome: Outcome) -> None:
    what = {
        PROMOTED: f"version {outcome.version} of {wanted.model} is the champion now: {outcome.why}",
        REFUSED: f"VERSION {outcome.version} OF {wanted.model} IS NOT PROMOTED: {outcome.why}",
        UNCHANGED: f"version {outcome.version} of {wanted.model} stays as it is: {outcome.why}",
    }[outcome.action]
    if wanted.dry_run:
        what = f"dry run, nothing was changed: version {outcome.version} would be {outcome.action}: {outcome.why}"
    runs.progress.say(f"promote: {what}")
