"""The figure of a monitoring run, in the style of a training's."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from workload_forecast.model.plots import BLUE, GREY, VERMILION, new_figure
from workload_forecast.monitoring.scoring import ORIGIN


def scores_by_origin(origins: pl.DataFrame, promised: float) -> Figure:
    """Macro-F1 of each forecast, of a naive one of the same hours, and what was promised (NaN: unknown)."""
    figure, axes = new_figure("Macro-F1 of past forecasts", 7.6, 4.2)
    began = np.array(origins[ORIGIN].to_list(), dtype="datetime64[h]")
    naive = origins["naive_macro_f1"]
    axes.plot(began, origins["macro_f1"], color=BLUE, marker="o", label="what was said")
    axes.plot(began, naive, color=VERMILION, linestyle="--", marker="s", markersize=4, label="last same hour")
    if not math.isnan(promised):
        axes.axhline(promised, color=GREY, linestyle=":", label=f"promised 48 hours ahead: {promised:.3f}")
    axes.set(ylim=(0, 1.02), xlabel="newest hour that was known (UTC)", ylabel="macro-F1")
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.legend(frameon=False, loc="best")
    figure.autofmt_xdate()
    return figure
