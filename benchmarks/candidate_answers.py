"""Quick stand-ins for the project's models, fitted to the rows of a fold with candidate features and without.

Several seeds are fitted and their probabilities averaged; how much single ones differ is the noise that no interval of
days knows of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
from pyspark.sql import DataFrame

from benchmarks.candidate_columns import GROUPS, class_of, with_classes
from benchmarks.feature_ablation import LEFT_OUT, MIXTURE, PERMUTED
from workload_forecast.config import Thresholds
from workload_forecast.model.baselines import MAJORITY
from workload_forecast.model.fold_rows import PROBABILITIES, FoldData
from workload_forecast.model.judged_rows import FOLD, LABEL
from workload_forecast.model.split import TimeSplit
from workload_forecast.schemas import FEATURE_NAMES, PRIMARY_MEASURE
from workload_forecast.sources import MODEL

Numbers = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

PRESENT, ALL, ADDED = "present", "all", "added"
#: Beside an arrangement: its probabilities and the mixture's, half and half.
AVERAGED = "with the mixture: "
#: Stands for null: no feature is that small, so a tree can split it off.
UNKNOWN = -1e6

CLASSIFIERS = ("forest", "xgboost")

_KEYS = [FOLD, "server", "hour", LABEL, MAJORITY]


class Classifier(Protocol):
    """What scikit-learn's estimators and XGBoost's have in common."""

    def fit(self, features: Numbers, labels: Labels) -> object:
        """Learn."""

    def predict_proba(self, features: Numbers) -> Numbers:
        """Return rows × classes."""


def make_classifier(name: str, seed: int) -> Classifier:
    """Return an unfitted stand-in; the forest is as large as the project's own by default."""
    if name == "forest":
        from sklearn.ensemble import RandomForestClassifier

        forest: Classifier = RandomForestClassifier(100, max_depth=8, random_state=seed, n_jobs=-1)
        return forest
    from xgboost import XGBClassifier

    rounds = {"n_estimators": 60, "max_depth": 2, "learning_rate": 0.2, "subsample": 0.7, "colsample_bytree": 0.5}
    # so few rows are done sooner by one thread than by several that wait for each other
    boosted: Classifier = XGBClassifier(**rounds, random_state=seed, n_jobs=1)
    return boosted


@dataclass(frozen=True)
class Question:
    """What is asked of each fold."""

    groups: tuple[str, ...] = tuple(GROUPS)  #: that are candidates
    classifier: str = CLASSIFIERS[0]
    seeds: int = 5  #: models an arrangement

    def arrangements(self) -> dict[str, tuple[str, ...]]:
        """Return the groups that are there beside the present features, by the name of the arrangement."""
        added = {f"{ADDED}: {group}": (group,) for group in self.groups}
        left_out = {
            f"{LEFT_OUT}: {group}": tuple(other for other in self.groups if other != group) for group in self.groups
        }
        return {PRESENT: (), ALL: self.groups, **added, **left_out}


@dataclass(frozen=True)
class FoldTables:
    """A fold's rows with all candidates, and what the mixture says of the judged ones."""

    training: pl.DataFrame  #: with ``label``
    judged: pl.DataFrame
    answers: pd.DataFrame  #: keys of the judged rows, in their order
    mixture: Numbers  #: probabilities, rows × classes


def fold_tables(
    features: DataFrame, candidates: pl.DataFrame, split: TimeSplit, thresholds: Thresholds | Literal["auto"], fold: int
) -> FoldTables:
    """Prepare a fold; its thresholds, and so the classes of the same hours, come from its training rows alone."""
    with closing(FoldData.of_features(features, split, thresholds, fold)) as data:
        said, cuts = data.judge(MIXTURE), data.thresholds
    rows = with_classes(candidates, cuts)
    period = (pl.col("hour") >= split.training_from) & (pl.col("hour") < split.training_to)
    training = rows.filter(period, pl.col(PRIMARY_MEASURE).is_not_null())
    keys = pl.DataFrame({"server": said["server"].astype(str), "hour": said["hour"].to_numpy("datetime64[us]")})
    return FoldTables(
        training.with_columns(class_of(pl.col(PRIMARY_MEASURE), cuts).alias(LABEL)),
        keys.join(rows, on=["server", "hour"], how="left", maintain_order="left"),
        said[[*_KEYS, MODEL]].rename(columns={MODEL: MIXTURE}),
        said[list(PROBABILITIES)].to_numpy(dtype=np.float64),
    )


def answer(tables: FoldTables, question: Question, permuting: int) -> pd.DataFrame:
    """Fit every arrangement of the groups and let it answer for a fold's judged rows.

    Args:
        tables: the fold.
        question: what is asked.
        permuting: seed by which the values of a group are dealt out.

    Returns:
        The fold's keys, and the classes that are named: by each arrangement, by its mean with the mixture
        (:data:`AVERAGED`), and by its single seeds (:func:`single`).
    """
    found: dict[str, Labels] = {}
    for name, groups in question.arrangements().items():
        columns = [*FEATURE_NAMES, *(column for group in groups for column in GROUPS[group])]
        judged = _numbers(tables.judged, columns)
        rows = {name: judged}
        if name == ALL:
            order = np.random.default_rng(permuting).permutation(len(judged))
            rows |= {f"{PERMUTED}: {group}": _dealt(judged, columns, group, order) for group in groups}
        said = _probabilities(tables.training, columns, rows, question)
        for way in rows:
            mean = np.mean([one[way] for one in said], axis=0)
            found |= {way: mean.argmax(axis=1), AVERAGED + way: (mean + tables.mixture).argmax(axis=1)}
            found |= {single(way, seed): one[way].argmax(axis=1) for seed, one in enumerate(said)}
    return pd.concat([tables.answers, pd.DataFrame(found, index=tables.answers.index)], axis=1)


def single(arrangement: str, seed: int) -> str:
    """Return the column of one seed's answers."""
    return f"{arrangement}, seed {seed}"


def _numbers(rows: pl.DataFrame, columns: Sequence[str]) -> Numbers:
    return rows.select(pl.col(columns).cast(pl.Float64).fill_nan(None).fill_null(UNKNOWN)).to_numpy()


def _dealt(rows: Numbers, columns: Sequence[str], group: str, order: Labels) -> Numbers:
    """The rows with the columns of a group dealt out anew, all of a row together."""
    dealt: Numbers = rows.copy()
    places = [columns.index(name) for name in GROUPS[group]]
    dealt[:, places] = rows[order][:, places]
    return dealt


def _probabilities(
    training: pl.DataFrame, columns: Sequence[str], rows: Mapping[str, Numbers], question: Question
) -> list[dict[str, Numbers]]:
    """What the model of each seed says of each way that the judged rows may be."""
    features, labels = _numbers(training, columns), training[LABEL].to_numpy()
    said = []
    for seed in range(question.seeds):
        model = make_classifier(question.classifier, seed)
        model.fit(features, labels)
        said.append({way: model.predict_proba(judged) for way, judged in rows.items()})
    return said
