from __future__ import annotations

import io

import numpy as np
import pytest

from workload_forecast.model.search import trial_table
from workload_forecast.model.search_plots import trials_and_best
from workload_forecast.model.trials import Trial

TRIALS = [
    Trial(0, {"max_depth": 3}, reason="broken"),
    Trial(1, {"max_depth": 4}, 0.5),
    Trial(2, {"max_depth": 5}, 0.7),
    Trial(3, {"max_depth": 6}, 0.6),
]


def test_trials_best_so_far_failures_and_the_naive_forecast_are_drawn() -> None:
    figure = trials_and_best(trial_table(TRIALS), best_baseline=0.65)

    figure.savefig(io.BytesIO(), format="png")
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "best so far",
        "trial",
        "best naive forecast",
        "failed trial",
    ]
    assert np.asarray(axes.lines[0].get_ydata())[1:].tolist() == [0.5, 0.7, 0.7]


@pytest.mark.parametrize("trials", [TRIALS[1:2], TRIALS[1:]])
def test_without_failures_none_are_in_the_legend(trials: list[Trial]) -> None:
    figure = trials_and_best(trial_table(trials))

    figure.savefig(io.BytesIO(), format="png")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["best so far", "trial"]
