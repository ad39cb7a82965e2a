"""``python -m benchmarks.feature_candidates``: what features that are not made would be worth, before the test period.

Three questions of each group of :mod:`benchmarks.candidate_columns`. *Added*: what is gained by this group alone beside
the present features. *Left out*: what is lost by leaving it out when all groups are there. *Permuted*: what is lost
when a model of all has the group's values in the judged rows of a fold dealt out anew. The models are the quick
stand-ins of :mod:`benchmarks.candidate_answers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import click
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.candidate_answers import (
    ADDED,
    ALL,
    AVERAGED,
    CLASSIFIERS,
    PRESENT,
    Question,
    answer,
    fold_tables,
    single,
)
from benchmarks.candidate_columns import GROUPS, with_candidates
from benchmarks.command import run, say
from benchmarks.feature_ablation import LEFT_OUT, MIXTURE, PERMUTED, cell
from benchmarks.folds import fold_features, fold_options, write_figures
from workload_forecast.config import Thresholds
from workload_forecast.model.baselines import MAJORITY
from workload_forecast.model.differences import Resampling, cautious_differences, difference_table
from workload_forecast.model.folds import FoldPlan
from workload_forecast.model.judged_rows import judged_rows
from workload_forecast.model.metrics import confusion_scores
from workload_forecast.model.split import TimeSplit
from workload_forecast.schemas import FEATURE_NAMES, PRIMARY_MEASURE

WAYS = (ADDED, LEFT_OUT, PERMUTED)


def macro_f1(answers: pd.DataFrame, column: str) -> float:
    """Macro-F1 of a column of answers."""
    counts = judged_rows(answers, column, [MAJORITY], MAJORITY).counts(np.zeros(len(answers), dtype=np.int64), 1)
    return confusion_scores(counts[0][0])["macro_f1"]


def worth_table(answers: pd.DataFrame, question: Question) -> pd.DataFrame:
    """What each group is worth, from the answers of all folds.

    Returns:
        One row a group and way: ``group``, ``way``, ``worth`` (macro-F1 that is gained by adding the group, or lost
        without it), ``low``, ``high`` (of the interval by whole days, where there are enough), ``noise`` (standard
        deviation of ``worth`` over single seeds), ``averaged`` (``worth`` with half of the mixture). The group
        :data:`ALL` is all of them, added.
    """
    records = []
    for group in (ALL, *question.groups):
        for way in (ADDED,) if group == ALL else WAYS:
            other, sign = (PRESENT, 1) if way == ADDED else (ALL, -1)
            own = ALL if group == ALL else f"{way}: {group}"
            judged = judged_rows(answers, own, (other, MAJORITY), MAJORITY)
            told = cautious_differences(difference_table(judged, Resampling())).iloc[0]
            low, high = sorted([sign * told["low"], sign * told["high"]])
            gains = [_gain(answers, single(own, seed), single(other, seed)) for seed in range(question.seeds)]
            averaged = sign * _gain(answers, AVERAGED + own, AVERAGED + other)
            records.append((group, way, sign * told["difference"], low, high, np.std(gains), averaged))
    return pd.DataFrame(records, columns=["group", "way", "worth", "low", "high", "noise", "averaged"])


def _gain(answers: pd.DataFrame, column: str, other: str) -> float:
    return macro_f1(answers, column) - macro_f1(answers, other)


def measure(
    features: DataFrame,
    folds: Sequence[TimeSplit],
    thresholds: Thresholds | Literal["auto"],
    question: Question,
) -> pd.DataFrame:
    """The answers of all folds (:func:`~benchmarks.candidate_answers.answer`); what comes after is not read."""
    before = features.filter(F.col("hour") <= F.lit(folds[-1].to.isoformat(sep=" ")).cast("timestamp_ntz"))
    names = dict.fromkeys(["server", "hour", PRIMARY_MEASURE, *FEATURE_NAMES])
    found = pl.from_arrow(nw.from_native(before.select(*names)).collect("pyarrow").to_native())
    assert isinstance(found, pl.DataFrame)
    candidates = with_candidates(found)
    answers = []
    for number, split in enumerate(folds, start=1):
        say(f"fold {number} of {len(folds)}")
        tables = fold_tables(before, candidates, split, thresholds, number)
        answers.append(answer(tables, question, permuting=number))
    return pd.concat(answers, ignore_index=True)


def markdown(worth: pd.DataFrame, scores: Mapping[str, float]) -> str:
    """The table as Markdown: one row a group."""
    lines = [", ".join(f"{name} {score:.4f}" for name, score in scores.items()), ""]
    lines += ["| group | gained when added | lost when left out of all | lost when permuted | noise | averaged |"]
    lines += ["|---|---|---|---|---|---|"]
    for group, rows in worth.groupby("group", sort=False):
        told = {row["way"]: cell(row["worth"], row["low"], row["high"]) for _, row in rows.iterrows()}
        first = rows.iloc[0]
        cells = [told.get(way, "–") for way in WAYS]
        lines.append(f"| {group} | {' | '.join(cells)} | {first['noise']:.3f} | {first['averaged']:+.3f} |")
    return "\n".join(lines)


@click.command()
@fold_options
@click.option("--group", "groups", multiple=True, default=tuple(GROUPS), type=click.Choice([*GROUPS]))
@click.option("--classifier", default=Question.classifier, show_default=True, type=click.Choice(CLASSIFIERS))
@click.option("--seeds", default=Question.seeds, show_default=True, type=click.IntRange(2), help="Of each arrangement.")
def main(
    config: str,
    duration: str | None,
    groups: tuple[str, ...],
    classifier: str,
    seeds: int,
    folds: int,
    test_hours: int,
    output: str,
) -> None:
    """Measure what candidate features are worth on the folds of a settings file."""
    question = Question(groups, classifier, seeds)
    with fold_features("candidates", config, duration, FoldPlan(folds, test_hours)) as found:
        answers = measure(found.table, found.splits, found.settings.thresholds, question)
    worth = worth_table(answers, question)
    told = (MIXTURE, PRESENT, ALL, AVERAGED + PRESENT, AVERAGED + ALL)
    scores = {name: macro_f1(answers, name) for name in told}
    asked = {"folds": folds, "test_hours": test_hours, "question": question, "scores": scores}
    write_figures(output, asked, "worth", worth)
    click.echo(markdown(worth, scores))


if __name__ == "__main__":
    run(main)
