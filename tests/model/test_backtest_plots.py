from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from workload_forecast.model.backtest import Backtest, backtest
from workload_forecast.model.backtest_plots import backtest_figures, gains, server_gains, server_scatter
from workload_forecast.model.differences import Resampling

BASELINES = ("majority", "class_48h_ago", "class_week_ago")
SHARES = {"model": 0.8, "class_48h_ago": 0.7, "class_week_ago": 0.65}  # of the rows, named rightly beyond chance


def made(servers: int, folds: int, hours: int, leads: tuple[int, ...] = ()) -> Backtest:
    random = np.random.default_rng(2)
    span = pd.date_range("2020-02-03", periods=folds * hours, freq="h")
    keys = pd.MultiIndex.from_product([[f"s{i}" for i in range(servers)], span, leads or (0,)])
    rows = keys.set_names(["server", "hour", "lead"]).to_frame(index=False)
    rows["fold"] = 1 + ((rows["hour"] - span[0]) // pd.Timedelta(hours=hours))
    rows["label"] = random.integers(0, 3, len(rows))
    rows["majority"] = 0
    for name, share in SHARES.items():
        rows[name] = np.where(random.random(len(rows)) < share, rows["label"], random.integers(0, 3, len(rows)))
    rows = rows if leads else rows.drop(columns="lead")
    return backtest(rows, model="model", baselines=BASELINES, default="majority", resampling=Resampling(100))


def drawn(figure: Figure) -> str:
    """Render the figure, and return all of its text."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.fixture(scope="module")
def result() -> Backtest:
    return made(servers=6, folds=3, hours=48, leads=(1, 24, 48))


def test_every_figure_is_drawn(result: Backtest) -> None:
    texts = {name: drawn(figure) for name, figure in backtest_figures(result).items()}
    assert set(texts) == {
        "backtest_macro_f1_by_fold",
        "backtest_macro_f1_by_weekday",
        "backtest_macro_f1_by_lead",
        "backtest_gains",
        "backtest_servers",
        "backtest_server_gains",
    }
    assert "2\n2020-02-05\nto 02-06" in texts["backtest_macro_f1_by_fold"]
    assert "Sun" in texts["backtest_macro_f1_by_weekday"]
    for name in ("fold", "weekday", "lead"):
        text = texts[f"backtest_macro_f1_by_{name}"]
        assert "class 48h ago (best)" in text
        assert "majority: far below,\n0." in text


def test_lines_hold_the_scores(result: Backtest) -> None:
    axes = backtest_figures(result)["backtest_macro_f1_by_fold"].axes[0]
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    for label, predictor in (("model", "model"), ("class week ago", "class_week_ago")):
        expected = result.by_fold[result.by_fold["predictor"] == predictor]
        assert np.asarray(lines[label].get_xdata()).tolist() == expected["fold"].tolist()
        assert np.asarray(lines[label].get_ydata()).tolist() == expected["macro_f1"].tolist()


def test_without_leads_there_is_no_figure_of_them() -> None:
    assert "backtest_macro_f1_by_lead" not in backtest_figures(made(servers=2, folds=1, hours=48))


def test_gains_are_told_in_numbers(result: Backtest) -> None:
    text = drawn(gains(result))
    for row in result.differences.query("blocks_of == 'server days'").itertuples(index=False):
        assert f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})" in text
    assert "95% interval\n36 server days" in text
    assert "class 48h ago\n(the best one)" in text
    assert text.count("far to the right") == 1


def test_gains_have_the_interval_of_days_where_there_are_enough() -> None:
    found = made(servers=2, folds=3, hours=96)
    text = drawn(gains(found))
    for row in found.differences.query("blocks_of == 'days'").itertuples(index=False):
        assert f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})" in text
    assert "95% interval\n12 days" in text


def test_servers_are_counted(result: Backtest) -> None:
    level = int(result.by_server["at_least_own_best"].sum())
    assert f"level or better: {level} of 6 servers" in drawn(server_scatter(result))
    text = drawn(server_gains(result))
    assert f"at least level on {result.by_server['at_least_best'].mean():.0%}" in text
    figure = server_gains(result)
    bars = [patch.get_height() for patch in figure.axes[0].patches if hasattr(patch, "get_height")]
    assert sum(bars) == 6


@pytest.mark.parametrize("hours", [24, 5])
def test_one_server_and_one_fold_are_enough(hours: int) -> None:
    small = made(servers=1, folds=1, hours=hours)  # of 5 hours, no server counts and there is no interval
    texts = {name: drawn(figure) for name, figure in backtest_figures(small).items()}
    assert "interval" not in texts["backtest_gains"]
    assert f"servers (of {int(hours == 24)})" in texts["backtest_server_gains"]


def test_many_folds_are_named_in_part() -> None:
    text = drawn(backtest_figures(made(servers=1, folds=20, hours=24))["backtest_macro_f1_by_fold"])
    assert "1\n2020-02-03" in text
    assert "2\n2020-02-04" not in text
