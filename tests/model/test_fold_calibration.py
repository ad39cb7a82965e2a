from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workload_forecast.model.fold_calibration import ALL, calibration_table, probability_scores
from workload_forecast.model.fold_rows import PROBABILITIES

CLASSES = ("low", "medium", "high")
SHARES = st.tuples(*[st.integers(0, 20)] * 3).filter(any)
ROWS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), SHARES), min_size=1, max_size=30)


def frame(rows: list[tuple[int, int, tuple[int, int, int]]]) -> pd.DataFrame:
    shares = np.array([[part / sum(parts) for part in parts] for _, _, parts in rows], dtype=np.float32)
    table = pd.DataFrame(shares, columns=list(PROBABILITIES))
    return table.assign(
        fold=np.array([fold for fold, _, _ in rows], dtype=np.int16),
        label=np.array([label for _, label, _ in rows], dtype=np.int8),
    )


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_scores_and_bins_agree_with_plain_python(rows: list[tuple[int, int, tuple[int, int, int]]]) -> None:
    table = frame(rows)
    found = calibration_table(table)
    scores = probability_scores(found).set_index("split")

    records = table.to_dict("records")
    for name, part in [
        (ALL, records),
        *(
            (f"fold {n}", [row for row in records if row["fold"] == n])
            for n in sorted({row["fold"] for row in records})
        ),
    ]:
        squares = [
            sum((row[f"probability_{c}"] - (row["label"] == i)) ** 2 for i, c in enumerate(CLASSES)) for row in part
        ]
        assert scores["brier"][name] == pytest.approx(sum(squares) / len(part), abs=1e-6)
        assert scores["rows"][name] == len(part)
        distance = 0.0
        for index, label in enumerate(CLASSES):
            for number in range(10):
                inside = [row for row in part if min(int(float(row[f"probability_{label}"]) * 10), 9) == number]
                at = found[(found["split"] == name) & (found["class"] == label) & (found["bin"] == number)]
                assert at["rows"].sum() == len(inside)
                if inside:
                    said = sum(float(row[f"probability_{label}"]) for row in inside) / len(inside)
                    seen = sum(row["label"] == index for row in inside) / len(inside)
                    assert at["mean_probability"].item() == pytest.approx(said, abs=1e-6)
                    assert at["observed_share"].item() == pytest.approx(seen)
                    distance += abs(said - seen) * len(inside)
        assert scores["calibration_error"][name] == pytest.approx(distance / len(part) / 3, abs=1e-6)


def test_perfect_and_worst_probabilities() -> None:
    perfect = probability_scores(calibration_table(frame([(1, 0, (1, 0, 0)), (1, 2, (0, 0, 1))])))
    assert perfect["brier"].tolist() == [0, 0]
    worst = probability_scores(calibration_table(frame([(1, 0, (0, 1, 0))])))
    assert worst["brier"].tolist() == [2, 2]
