"""What a trial is worth, recomputed in plain Python."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from workload_forecast.model.baselines import BASELINES, MAJORITY
from workload_forecast.model.search_objective import outcome
from workload_forecast.sources import MODEL


def judged(rows: int, seed: int = 3) -> pd.DataFrame:
    """Rows of two folds, as they come from judging: the naive forecasts are sometimes unknown."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 3, rows)
    table = pd.DataFrame(
        {
            "fold": np.where(np.arange(rows) < rows // 3, 1, 2).astype("int16"),
            "server": pd.Categorical(["a"] * rows),
            "hour": pd.Series([datetime(2016, 6, 1) + timedelta(hours=n) for n in range(rows)], dtype="datetime64[us]"),
            "label": label.astype("int8"),
            MODEL: np.where(random.random(rows) < 0.6, label, random.integers(0, 3, rows)).astype("int8"),
        }
    )
    for name in BASELINES:
        said = pd.array(np.where(random.random(rows) < 0.4, label, 1).astype("int8"), dtype="Int8")
        if name != MAJORITY:
            said[random.random(rows) < 0.1] = pd.NA
        table[name] = said
    table[MAJORITY] = np.int8(1)
    return table


def macro_f1(truth: list[int], said: list[int]) -> float:
    scores = []
    for one in sorted({*truth, *said}):
        hits = sum(a == b == one for a, b in zip(truth, said, strict=True))
        scores.append(2 * hits / (truth.count(one) + said.count(one)))
    return sum(scores) / len(scores)


def test_the_macro_f1_is_that_of_all_folds_rows_together() -> None:
    table = judged(90)
    truth = table["label"].tolist()

    found = outcome(table)

    assert found.macro_f1 == pytest.approx(macro_f1(truth, table[MODEL].tolist()), abs=1e-12)
    for fold in (1, 2):
        rows = table[table["fold"] == fold]
        expected = macro_f1(rows["label"].tolist(), rows[MODEL].tolist())
        assert found.metrics[f"fold_{fold}_macro_f1"] == pytest.approx(expected, abs=1e-12)
    naive = [macro_f1(truth, [1 if pd.isna(said) else int(said) for said in table[name]]) for name in BASELINES]
    assert found.metrics["best_baseline_macro_f1"] == pytest.approx(max(naive), abs=1e-12)
    assert found.metrics["accuracy"] == pytest.approx(float((table["label"] == table[MODEL]).mean()), abs=1e-12)
    assert "macro_f1" not in found.metrics, "it is the outcome's own"


def test_what_is_unknown_is_left_out() -> None:
    table = judged(60)
    table = table[table["label"] < 2].reset_index(drop=True)

    metrics = outcome(table).metrics

    assert "recall_high" not in metrics
    assert "high_called_low" not in metrics
    assert all(np.isfinite(value) for value in metrics.values())
