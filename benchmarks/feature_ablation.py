"""``python -m benchmarks.feature_ablation``: what each group of features is worth, on the folds before the test period.

Two questions of each group and algorithm. *Left out*: the group's columns are unknown (those of the calendar constant)
in training and judging, so this is what is lost by not making them, the others standing in as far as they can.
*Permuted*: the model is the one of all features, but among the judged rows of a fold the group's values are dealt out
anew, all columns of a row together, so this is how much that model leans on them. Features repeat each other, so the
losses do not add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Literal

import click
import narwhals as nw
import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.command import run
from benchmarks.folds import fold_features, fold_options, write_figures
from workload_forecast.config import Thresholds
from workload_forecast.model.baselines import MAJORITY
from workload_forecast.model.differences import Resampling, cautious_differences, difference_table
from workload_forecast.model.fold_rows import ROW, Change, FoldData
from workload_forecast.model.folds import FoldPlan
from workload_forecast.model.judged_rows import FOLD, LABEL, judged_rows
from workload_forecast.model.metrics import confusion_scores
from workload_forecast.model.parameters import Parameter, Parameters
from workload_forecast.model.pipeline import ALGORITHMS
from workload_forecast.model.split import TimeSplit
from workload_forecast.schemas import (
    CALENDAR_FEATURES,
    EXPECTED_ERROR,
    EXPECTED_LOAD,
    KNOWN_FEATURES,
    LAG_FEATURES,
    LAST_SAME_HOUR,
    SHAPE_FEATURES,
    TRAILING_FEATURES,
)
from workload_forecast.sources import MODEL

SAME_HOUR_MEAN = "total_load_same_hour_mean_7d"
_TRAILING = (*TRAILING_FEATURES, *(name for name in SHAPE_FEATURES if name != SAME_HOUR_MEAN))

#: Every feature but the lead, which is the same in all rows, is in one of the first six.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "calendar": CALENDAR_FEATURES,
    "lags": LAG_FEATURES,
    "trailing statistics": _TRAILING,
    "same-hour mean": (SAME_HOUR_MEAN,),
    "last same hour": (LAST_SAME_HOUR,),
    "expected load": (EXPECTED_LOAD, EXPECTED_ERROR),
    "all history but the expected load": (*LAG_FEATURES, *_TRAILING, SAME_HOUR_MEAN, LAST_SAME_HOUR),
}
EXPECTED = "expected load"
LEFT_OUT, PERMUTED = "left out", "permuted"

MIXTURE, CORRECTION = "same_hour_mixture", "boosted_correction"
DEFAULT_ALGORITHMS = ("random_forest", CORRECTION, MIXTURE)

_KEYS = [FOLD, "server", "hour", LABEL, MAJORITY]


def ablate(fold: FoldData, algorithm: str, parameters: Parameters, seed: int) -> pd.DataFrame:
    """Judge one algorithm on a fold with all features, and without each group.

    Returns:
        ``fold``, ``server``, ``hour``, ``label``, ``majority``, ``model`` (with all features) and one column of
        answers for each group and way, named ``<way>: <group>``.
    """
    whole = fold.fit(algorithm, parameters)
    rows = fold.answer(whole)
    answers = rows[[*_KEYS, MODEL]]
    for way, group in _asked(algorithm):
        columns = GROUPS[group]
        if way == LEFT_OUT:
            said = fold.judge(algorithm, parameters, without(columns))
        else:
            said = fold.answer(whole, permuting(columns, seed + fold.fold))
        answers = answers.assign(**{f"{way}: {group}": said[MODEL].to_numpy()})
    return answers


def _asked(algorithm: str) -> Iterator[tuple[str, str]]:
    """Ways and groups that are computed: the mixture reads the expected load alone, the rest costs it nothing."""
    for group in (EXPECTED,) if algorithm == MIXTURE else GROUPS:
        if not (algorithm == CORRECTION and group == EXPECTED):  # without it there is nothing to correct
            yield LEFT_OUT, group
        yield PERMUTED, group


def without(columns: Sequence[str]) -> Change:
    """Make columns unknown, and those that are never unknown constant."""

    def change(rows: DataFrame) -> DataFrame:
        types = dict(rows.dtypes)
        values = {name: F.lit(0 if name in KNOWN_FEATURES else None).cast(types[name]) for name in columns}
        return rows.withColumns(values)

    return change


def permuting(columns: Sequence[str], seed: int) -> Change:
    """Deal the values of columns out anew among the rows, all of a row together."""

    def change(rows: DataFrame) -> DataFrame:
        found = nw.from_native(rows.select(ROW, *columns)).collect("pyarrow").to_native().sort_by(ROW)
        order = np.random.default_rng(seed).permutation(len(found))
        dealt = found.drop_columns([ROW]).take(order).append_column(ROW, found[ROW])
        values = rows.sparkSession.createDataFrame(dealt.to_pandas())
        types = dict(rows.dtypes)
        return rows.drop(*columns).join(
            values.select(ROW, *(F.col(name).cast(types[name]).alias(name) for name in columns)), ROW, how="inner"
        )

    return change


def loss_table(rows: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What each group is worth to each algorithm, from the answers of all folds.

    Returns:
        ``algorithm``, ``group``, ``way``, ``macro_f1`` (with all features), ``lost`` (macro-F1; below 0: it is better
        without), ``low``, ``high`` (of the interval by whole days, where there are enough). A group that the
        algorithm does not read loses 0; ``lost`` is unknown where the algorithm is nothing without the group.
    """
    records = []
    for algorithm, answers in rows.items():
        asked = [f"{way}: {group}" for way, group in _asked(algorithm)]
        judged = judged_rows(answers, MODEL, (*asked, MAJORITY), MAJORITY)
        differences = cautious_differences(difference_table(judged, Resampling()))
        counts = judged.counts(np.zeros(len(answers), dtype=np.int64), 1)[0]
        whole = confusion_scores(counts[0])["macro_f1"]
        told = {str(record["baseline"]): record for record in differences.to_dict("records")}
        empty = 0.0 if algorithm == MIXTURE else np.nan
        for group in GROUPS:
            for way in (LEFT_OUT, PERMUTED):
                record = told.get(f"{way}: {group}", {})
                numbers = [float(record.get(name, empty)) for name in ("difference", "low", "high")]
                records.append((algorithm, group, way, whole, *numbers))
    return pd.DataFrame(records, columns=["algorithm", "group", "way", "macro_f1", "lost", "low", "high"])


def measure(
    features: DataFrame,
    folds: Sequence[TimeSplit],
    thresholds: Thresholds | Literal["auto"],
    parameters: Mapping[str, Parameters],
    seed: int = 42,
) -> dict[str, pd.DataFrame]:
    """The answers of each algorithm (the keys of ``parameters``) on all folds: see :func:`ablate`."""
    found: dict[str, list[pd.DataFrame]] = {algorithm: [] for algorithm in parameters}
    for number, split in enumerate(folds, start=1):
        with closing(FoldData.of_features(features, split, thresholds, number)) as fold:
            for algorithm, own in parameters.items():
                click.echo(f"fold {number} of {len(folds)}: {algorithm}", err=True)
                found[algorithm].append(ablate(fold, algorithm, own, seed))
    return {algorithm: pd.concat(frames, ignore_index=True) for algorithm, frames in found.items()}


def markdown(losses: pd.DataFrame) -> str:
    """The table as Markdown: one row an algorithm and group."""
    lines = [
        "| algorithm (macro-F1) | without, or with permuted | lost when left out | lost when permuted |",
        "|---|---|---|---|",
    ]
    for (algorithm, group), pair in losses.groupby(["algorithm", "group"], sort=False):
        ways = [pair[pair["way"] == way].iloc[0] for way in (LEFT_OUT, PERMUTED)]
        cells = [cell(way["lost"], way["low"], way["high"]) for way in ways]
        lines.append(f"| {algorithm} ({pair['macro_f1'].iloc[0]:.3f}) | {group} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def cell(difference: float, low: float, high: float) -> str:
    """A difference with its interval, for people; a dash where it is unknown."""
    if np.isnan(difference):
        return "–"
    if np.isnan(low) or low == high:
        return f"{difference:.3f}"
    return f"{difference:+.3f} ({low:+.3f} to {high:+.3f})"


def parse_parameters(algorithms: Sequence[str], texts: Sequence[str]) -> dict[str, dict[str, Parameter]]:
    """Each algorithm's own parameters out of texts like ``random_forest.num_trees=50``.

    Raises:
        click.BadParameter: a text is none of those, or names no algorithm that is measured or no number.
    """
    found: dict[str, dict[str, Parameter]] = {algorithm: {} for algorithm in algorithms}
    for text in texts:
        name, _, value = text.partition("=")
        algorithm, _, parameter = name.partition(".")
        if algorithm not in found or not value.isdigit():
            raise click.BadParameter(f"'{text}' is not ALGORITHM.NAME=WHOLE_NUMBER of an algorithm that is measured.")
        found[algorithm][parameter] = int(value)
    return found


@click.command()
@fold_options
@click.option("--algorithm", "algorithms", multiple=True, default=DEFAULT_ALGORITHMS, type=click.Choice([*ALGORITHMS]))
@click.option("--parameter", "texts", multiple=True, help="Like random_forest.num_trees=50.")
def main(
    config: str,
    duration: str | None,
    algorithms: tuple[str, ...],
    texts: tuple[str, ...],
    folds: int,
    test_hours: int,
    output: str,
) -> None:
    """Measure what each group of features is worth on the folds of a settings file."""
    parameters = parse_parameters(algorithms, texts)
    with fold_features("ablation", config, duration, FoldPlan(folds, test_hours)) as found:
        losses = loss_table(measure(found.table, found.splits, found.settings.thresholds, parameters))
    write_figures(output, {"folds": folds, "test_hours": test_hours, "parameters": parameters}, "losses", losses)
    click.echo(markdown(losses))


if __name__ == "__main__":
    run(main)
