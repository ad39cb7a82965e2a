"""Figure of a search: what each trial was worth, and the best so far."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workload_forecast.model.plots import BLUE, GREY, INK, ORANGE, VERMILION, new_figure


def trials_and_best(table: pd.DataFrame, best_baseline: float | None = None) -> Figure:
    """Draw the trials.

    Args:
        table: of :func:`~workload_forecast.model.search.trial_table`.
        best_baseline: macro-F1 of the best naive forecast on the same rows, if it is known.
    """
    figure, axes = new_figure("Trials and the best so far", 7.5, 4.5)
    done, failed = table[table["state"] == "done"], table[table["state"] == "failed"]
    axes.step(table["trial"], table["best_so_far"], where="post", color=BLUE, label="best so far")
    axes.scatter(done["trial"], done["macro_f1"], color=ORANGE, s=28, zorder=3, label="trial")
    if best_baseline is not None:
        axes.axhline(best_baseline, color=GREY, linestyle="--", label="best naive forecast")
    if len(failed):
        bottom = axes.get_ylim()[0]
        axes.scatter(failed["trial"], [bottom] * len(failed), color=VERMILION, marker="x", label="failed trial")
    axes.set_xlabel("trial (0: the parameters that were given, or the defaults)", color=INK)
    axes.set_ylabel("macro-F1 on the folds", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure
