"""From a registered version to the gate's verdict: its files, the champion's, the recent rows, and Spark once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from workload_forecast.config import Settings, Thresholds
from workload_forecast.errors import ModelError
from workload_forecast.registry import gate
from workload_forecast.registry.profiles import check_version
from workload_forecast.registry.verdict import Check, Verdict
from workload_forecast.registry.versions import LoadedVersion, load_version
from workload_forecast.schemas import CLASSES, FEATURE_NAMES
from workload_forecast.steps.agreement import compare_forms
from workload_forecast.steps.recent_rows import RecentRows
from workload_forecast.steps.runs import Runs
from workload_forecast.steps.train import split_of

#: Reads the recent rows, once the candidate's thresholds are known.
ReadRows = Callable[[Thresholds], RecentRows]

_BEGIN_ANEW = "Nothing can be compared: roll back, or take the alias champion from that version to begin anew"


@dataclass
class Judge:
    """Judges one candidate, as often as another champion turns up; what does not depend on that is done once.

    Attributes:
        scratch: a folder for fetched files; the caller removes it.
    """

    runs: Runs
    settings: Settings
    client: MlflowClient
    version: ModelVersion
    scratch: Path
    read_rows: ReadRows
    _candidate: LoadedVersion | None = None
    _rows: RecentRows | None = None
    _agreement: gate.Agreement | None = None
    _champions: dict[str, LoadedVersion] = field(default_factory=dict)

    def judge(self, champion: ModelVersion | None) -> Verdict:
        """Return the verdict against a champion. A version that cannot be loaded is a failed check, not an error."""
        number, against = str(self.version.version), str(champion.version) if champion else ""
        try:
            self._candidate = candidate = self._candidate or self._load(self.version)
        except ModelError as problem:
            return gate.unreadable(number, against, str(problem))
        how = "compiled from its Spark pipeline just now" if candidate.compiled_here else "files, digests, form"
        checks = [Check("loads", True, how)]
        opponent: LoadedVersion | str = "there is no champion yet"
        if champion is not None:
            opponent = "it is the champion itself" if against == number else self._opponent(champion, checks)
        theirs = None if isinstance(opponent, str) else opponent.profile
        thresholds = self.settings.thresholds
        checks += check_version(
            candidate.profile,
            theirs,
            asked=None if isinstance(thresholds, str) else thresholds,
            trained_before=split_of(self.settings).training_to,
            data="synthetic" if self.settings.synthetic else "configured",
            limits=self.settings.promotion,
        )
        if any(check.passed is False for check in checks):
            return Verdict(number, against, tuple(checks))
        try:
            more, numbers = self._answers(candidate, opponent)
        except ModelError as problem:  # of the Spark pipeline
            return Verdict(number, against, (*checks, Check("compiled form", False, str(problem))))
        return Verdict(number, against, (*checks, *more), numbers)

    def _load(self, version: ModelVersion) -> LoadedVersion:
        with self.runs.progress.stage(f"promote: load version {version.version}"):
            return load_version(self.client, version, Path(tempfile.mkdtemp(dir=self.scratch)) / "model")

    def _opponent(self, champion: ModelVersion, checks: list[Check]) -> LoadedVersion | str:
        """The champion to compare with; one that cannot be compared with refuses the candidate."""
        number = str(champion.version)
        against = f"champion, version {number}"
        try:
            found = self._champions[number] = self._champions.get(number) or self._load(champion)
        except ModelError as problem:
            checks.append(Check("champion loads", False, f"{problem} {_BEGIN_ANEW}", compared_with=against))
            return "the champion cannot be loaded"
        known = found.profile.classes == CLASSES and set(found.profile.features) <= set(FEATURE_NAMES)
        how = "files, digests, form" if known else f"it takes features that are not made any more. {_BEGIN_ANEW}"
        checks.append(Check("champion loads", known, how, compared_with=against))
        return found

    def _answers(self, candidate: LoadedVersion, opponent: LoadedVersion | str) -> tuple[list[Check], dict[str, float]]:
        profile = candidate.profile
        self._rows = recent = self._rows or self.read_rows(profile.thresholds)
        if len(recent.table) and self._agreement is None:
            engine = self.runs.engine("spark")
            with self.runs.progress.stage("promote: compare with the Spark pipeline"):
                self._agreement = compare_forms(engine, candidate.folder, candidate.scorer, recent.sample())
        theirs: gate.Positions | str
        if isinstance(opponent, str):
            theirs, number = opponent, ""
        elif opponent.profile.thresholds != profile.thresholds:
            theirs, number = "the champion's classes mean other loads", opponent.profile.version
        else:
            theirs, number = opponent.scorer.score(recent.table).labels, opponent.profile.version
        return gate.check_answers(
            recent.judged(),
            candidate.scorer.score(recent.table).labels,
            theirs,
            champion_version=number,
            agreement=self._agreement or gate.Agreement(0, 0, 0.0),
            limits=self.settings.promotion,
        )
