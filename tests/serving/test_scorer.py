from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.feature_tables import feature_table
from tests.serving.conftest import compiled, facts_of
from tests.serving.saved_pipelines import Leaf, Node, Saved, Split, walk
from workload_forecast.errors import DataError, SchemaError
from workload_forecast.schemas import FEATURE_NAMES
from workload_forecast.serving.compiled import compile_trees
from workload_forecast.serving.kinds import ROWS_FOR_THREADS
from workload_forecast.serving.saved_models import read_pipeline
from workload_forecast.serving.scorer import Scorer

#: Thresholds that are easily confused: neighbours, zeros, the smallest numbers, what 32 bits cannot tell apart.
CUTS = [-1.0, -0.0, 0.0, 0.1, 1.0, 1.0 + 2**-52, 1.0 - 2**-53, 16777217.0, 1e15 + 0.125, 5e-324, -1e300, 1e308]
COUNTS = st.sampled_from([0.0, 1.0, 2.0, 3.0, 7.0, 0.1, 1e9 + 1])
CALENDAR, HISTORY = ("hour_of_day",), ("a", "b")


def trees(classes: int) -> st.SearchStrategy[Node]:
    leaves: st.SearchStrategy[Node] = st.tuples(*[COUNTS] * classes).map(Leaf)
    cuts = st.sampled_from(CUTS) | st.floats(allow_nan=False)
    return st.recursive(leaves, lambda node: st.builds(Split, st.integers(0, 2), cuts, node, node), max_leaves=8)


@st.composite
def saved_pipelines(draw: st.DrawFn) -> Saved:
    classes = draw(st.sampled_from([("low", "medium", "high"), ("no", "yes")]))
    forest = draw(st.booleans())
    count = draw(st.integers(1, 4)) if forest else 1
    nodes = [draw(trees(len(classes))) for _ in range(count)]
    return Saved(nodes, forest, CALENDAR, HISTORY, classes, parts=draw(st.integers(1, 3)))


def cuts_of(node: Node) -> list[float]:
    return [] if isinstance(node, Leaf) else [node.threshold, *cuts_of(node.left), *cuts_of(node.right)]


def scorer_of(saved: Saved) -> Scorer:
    with tempfile.TemporaryDirectory() as folder:
        pipeline = read_pipeline(saved.save(Path(folder)))
    facts = facts_of(pipeline)
    return Scorer(compile_trees(pipeline), facts)


@settings(max_examples=60, deadline=None)
@given(saved=saved_pipelines(), data=st.data())
def test_every_row_gets_the_bits_of_a_walk_through_the_saved_trees(saved: Saved, data: st.DataObject) -> None:
    """Values at a threshold, one step below and above it, infinities, and unknown ones."""
    at = [value for tree in saved.trees for value in cuts_of(tree)]
    near = [x for value in at for x in (value, math.nextafter(value, -math.inf), math.nextafter(value, math.inf))]
    known = st.sampled_from([*near, *CUTS, math.inf, -math.inf])
    row = st.fixed_dictionaries(
        {"hour_of_day": known} | {name: known | st.sampled_from([None, math.nan]) for name in HISTORY}
    )
    rows = data.draw(st.lists(row, min_size=1, max_size=20))

    scores = scorer_of(saved).score(pd.DataFrame(rows, columns=[*CALENDAR, *HISTORY], dtype=object))

    for found, label, expected in zip(scores.probabilities, scores.labels, (walk(saved, r) for r in rows), strict=True):
        assert saved.classes[label] == expected[0]
        assert found.tolist() == expected[1]


def test_a_tie_goes_to_the_first_class(tmp_path: Path) -> None:
    scorer = Scorer.load(
        compiled(Saved([Leaf((1.0, 4.0, 4.0)), Leaf((0.0, 1.0, 1.0))], True, CALENDAR, HISTORY), tmp_path)
    )
    assert scorer.score({"hour_of_day": [1], "a": [0.0], "b": [0.0]}).labels.tolist() == [1]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return feature_table(servers=2, days=10)


@pytest.fixture(scope="module")
def scorer(lag_model: Path) -> Scorer:
    return Scorer.load(lag_model)


FRAMES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "arrow": pa.Table.from_pandas,
    "polars": lambda rows: pl.from_arrow(pa.Table.from_pandas(rows)),
    "objects": lambda rows: rows.astype(object).replace({math.nan: None}),
    "nullable": lambda rows: rows.convert_dtypes(),
    "structured array": lambda rows: rows.to_records(index=False),
    "mapping": lambda rows: {name: rows[name].to_numpy() for name in rows},
    "other order": lambda rows: rows[rows.columns[::-1]],
    "shuffled index": lambda rows: rows.set_index(pd.Index(range(len(rows))[::-1])),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_gives_the_same_answer(kind: str, rows: pd.DataFrame, scorer: Scorer) -> None:
    assert rows["total_load_lag_48h"].isna().any()
    expected = scorer.score(rows)
    found = scorer.score(FRAMES[kind](rows))
    assert np.array_equal(found.probabilities, expected.probabilities)
    assert np.array_equal(found.labels, expected.labels)
    assert len({tuple(row) for row in expected.probabilities}) > 3


def test_many_rows_at_once_are_the_rows_one_by_one(rows: pd.DataFrame, scorer: Scorer) -> None:
    many = pd.concat([rows] * (ROWS_FOR_THREADS // len(rows) + 1), ignore_index=True)
    assert len(many) > ROWS_FOR_THREADS
    single = np.concatenate([scorer.predict_proba(rows[i : i + 1]) for i in range(len(rows))])
    assert np.array_equal(scorer.predict_proba(many)[: len(rows)], single)


def test_threads_share_a_scorer(rows: pd.DataFrame, scorer: Scorer) -> None:
    pieces = [rows[i : i + 37].copy() for i in range(0, len(rows), 37)] * 8
    expected = [scorer.predict_proba(piece) for piece in pieces]
    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(scorer.predict_proba, pieces), expected, strict=True):
            assert np.array_equal(found, wanted)


def test_no_rows_give_no_answers(rows: pd.DataFrame, scorer: Scorer) -> None:
    assert scorer.predict_proba(rows[:0]).shape == (0, 3)


def test_confidence_is_the_probability_of_the_chosen_class(rows: pd.DataFrame, scorer: Scorer) -> None:
    scores = scorer.score(rows)
    assert scores.confidence.tolist() == [
        p[label] for p, label in zip(scores.probabilities, scores.labels, strict=True)
    ]
    assert scores.confidence == pytest.approx(scores.probabilities.max(axis=1))


def test_an_unknown_hour_of_the_day_is_an_error_that_names_the_row(rows: pd.DataFrame, scorer: Scorer) -> None:
    damaged = rows.astype({"hour_of_day": "float64"}).copy()
    damaged.loc[3, "hour_of_day"] = math.nan
    with pytest.raises(DataError, match="'hour_of_day' is unknown in row 3"):
        scorer.score(damaged)


BAD: list[tuple[Any, str]] = [
    (
        lambda rows: rows.drop(columns=["month", "total_load_std_7d"]),
        r"lack the column\(s\) month, total_load_std_7d; found: ",
    ),
    (lambda rows: rows.assign(total_load_lag_48h="many"), r"feature\(s\) total_load_lag_48h must hold numbers: "),
    (lambda _: [[1, 2]], "must be a pandas, pyarrow or polars frame, .* not list"),
    (lambda rows: {name: [1.0] * (1 + (name == "year")) for name in rows}, "one dimension and the same length"),
]


@pytest.mark.parametrize(("damage", "message"), BAD)
def test_rows_that_cannot_be_used_are_explained(damage: Any, message: str, rows: pd.DataFrame, scorer: Scorer) -> None:
    with pytest.raises(SchemaError, match=message):
        scorer.score(damage(rows))


def test_a_matrix_must_have_every_feature(scorer: Scorer) -> None:
    with pytest.raises(SchemaError, match=f"takes {len(FEATURE_NAMES)} features"):
        scorer.score_matrix(np.zeros((2, 3)))
