from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from workload_forecast.model import plots
from workload_forecast.model.evaluation import PREDICTORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workload_forecast.model.training import TrainingResult


def drawn(figure: Figure) -> str:
    """Render the figure, and return all of its text."""
    figure.savefig(io.BytesIO(), format="png")
    figure.canvas.draw()
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.spark
def test_a_training_draws_every_figure(result: TrainingResult) -> None:
    assert set(result.figures) == {
        "confusion_matrix_train",
        "confusion_matrix_test",
        "model_against_baselines",
        "feature_importance",
        "calibration",
        "accuracy_by_server",
        "accuracy_by_hour_of_day",
    }
    for figure in result.figures.values():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        assert buffer.getvalue().startswith(b"\x89PNG")


def test_confusion_matrix_shows_counts_and_shares_and_an_absent_class() -> None:
    text = drawn(plots.confusion_matrix(np.array([[3, 1, 0], [0, 2000, 0], [0, 0, 0]]), "title"))
    for expected in ("75.0%", "3 rows", "2,000 rows", "100.0%", "high\n0"):
        assert expected in text


def test_bars_carry_the_scores() -> None:
    scores = pd.DataFrame({"predictor": PREDICTORS, "macro_f1": 0.123, "accuracy": 0.456})
    text = drawn(plots.model_against_baselines(scores, "title"))
    assert text.count("0.123") == len(PREDICTORS)
    assert text.count("0.456") == len(PREDICTORS)


def test_one_server_and_one_hour_are_enough() -> None:
    row = {"rows": 1, **dict.fromkeys(PREDICTORS, 1.0)}
    assert "100.0%" in drawn(plots.server_accuracies(pd.DataFrame([{"server": "a", **row}]), "majority"))
    drawn(plots.accuracy_by_hour(pd.DataFrame([{"hour_of_day": 3, **row}]), "majority"))


def test_calibration_with_a_class_that_is_never_seen() -> None:
    table = pd.DataFrame({"class": ["low"], "rows": [3], "mean_probability": [0.4], "observed_share": [0.5]})
    assert "high" in drawn(plots.calibration(table, "title"))


def test_importance_shows_the_first_twenty() -> None:
    table = pd.DataFrame({"feature": [f"f{i}" for i in range(30)], "importance": np.full(30, 1 / 30)})
    text = drawn(plots.feature_importance(table)).split("\n")
    assert "f19" in text
    assert "f20" not in text
