"""Figures of a training run: matplotlib's object interface, no global state, no display.

The colours are Okabe and Ito's, which stay apart for colour-blind readers; nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from workload_forecast.model.evaluation import CALIBRATION_BINS, FORECAST, PREDICTORS
from workload_forecast.model.metrics import Matrix
from workload_forecast.schemas import CLASSES
from workload_forecast.sources import MODEL

BLUE, ORANGE, GREEN, VERMILION, GREY, INK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#B0B5BA", "#333333"
CLASS_STYLES: Mapping[str, tuple[str, str]] = {"low": (BLUE, "o"), "medium": (ORANGE, "s"), "high": (VERMILION, "^")}
TOP_FEATURES = 20


def new_figure(title: str, width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure in the project's style, its size in inches."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=12, color=INK, pad=12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, length=3)
    return figure, axes


def percent(value: float) -> str:
    """A share as text; a dash where it is unknown."""
    return "–" if np.isnan(value) else f"{value:.1%}"


def confusion_matrix(matrix: Matrix, title: str) -> Figure:
    """Counts, and the share of each true class that was predicted so (the shade)."""
    figure, axes = new_figure(title, 6.2, 5.4)
    rows = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, rows, out=np.zeros(matrix.shape), where=rows > 0)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(share):
        colour = "white" if value > 0.55 else INK
        axes.text(j, i - 0.08, f"{value:.1%}", ha="center", va="center", fontsize=14, color=colour)
        axes.text(j, i + 0.18, f"{matrix[i, j]:,} rows", ha="center", va="center", fontsize=9, color=colour)
    labels = [f"{name}\n{count:,}" for name, count in zip(CLASSES, rows.ravel(), strict=True)]
    axes.set_xticks(range(len(CLASSES)), CLASSES)
    axes.set_yticks(range(len(CLASSES)), labels)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (rows)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, format=PercentFormatter(1, decimals=0))
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    return figure


def feature_importance(importances: pd.DataFrame) -> Figure:
    """The :data:`TOP_FEATURES` most important features."""
    top = importances.head(TOP_FEATURES).iloc[::-1]
    shown = top["importance"].sum()
    figure, axes = new_figure(f"Feature importance: the first {len(top)} hold {shown:.0%}", 8, 0.29 * len(top) + 1.4)
    bars = axes.barh(top["feature"], top["importance"], color=BLUE, height=0.7)
    axes.bar_label(bars, fmt="{:.1%}", padding=4, fontsize=9, color=INK)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("share of all features")
    axes.margins(x=0.12, y=0.02)
    return figure


def calibration(table: pd.DataFrame, title: str) -> Figure:
    """Predicted probability against observed share of each class; the larger a mark, the more rows it stands for."""
    figure, axes = new_figure(title, 6.6, 5.8)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect", zorder=1)
    most = max(int(table["rows"].max()), 1)
    for name, (colour, marker) in CLASS_STYLES.items():
        bins = table[table["class"] == name].sort_values("mean_probability")
        x, y = bins["mean_probability"], bins["observed_share"]
        axes.plot(x, y, color=colour, linewidth=1.5, zorder=2)
        size = 20 + 160 * bins["rows"] / most
        axes.scatter(x, y, s=size, color=colour, marker=marker, label=name, edgecolor="white", zorder=3)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xlabel(f"predicted probability of the class ({CALIBRATION_BINS} bins)")
    axes.set_ylabel("observed share of the class")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(color=GREY, alpha=0.3)
    legend = axes.legend(frameon=False, loc="best")
    for handle in legend.legend_handles[1:]:
        handle.set_sizes([60])  # type: ignore[union-attr]
    return figure


def model_against_baselines(scores: pd.DataFrame, title: str) -> Figure:
    """Macro-F1 and accuracy of the model and of each baseline; ``scores`` holds one split."""
    ordered = scores.set_index("predictor").loc[list(reversed(PREDICTORS))]
    figure, axes = new_figure(title, 8, 4.6)
    at = np.arange(len(ordered))
    for offset, metric, hatch in ((0.19, "macro_f1", ""), (-0.19, "accuracy", "////")):
        colours = [BLUE if name in (MODEL, FORECAST) else GREY for name in ordered.index]
        bars = axes.barh(at + offset, ordered[metric], height=0.36, color=colours, hatch=hatch, edgecolor="white")
        axes.bar_label(bars, fmt="{:.3f}", padding=4, fontsize=9, color=INK)
        axes.barh([0], [0], color=GREY, hatch=hatch, edgecolor="white", label=metric.replace("macro_f1", "macro-F1"))
    axes.set_yticks(at, [name.replace("_", " ") for name in ordered.index])
    axes.set_xlim(0, 1.08)
    axes.set_xlabel("score on the same rows (1 is perfect)")
    figure.legend(loc="outside lower right", ncols=2, frameon=False)
    return figure


def server_accuracies(by_server: pd.DataFrame, best_baseline: str) -> Figure:
    """How many servers have which accuracy, for the model and for the best baseline."""
    figure, axes = new_figure("Test accuracy of each server", 7.6, 4.6)
    bins = [edge / 20 for edge in range(21)]
    model, baseline = by_server[MODEL].dropna(), by_server[best_baseline].dropna()
    name = best_baseline.replace("_", " ")
    axes.hist(model, bins=bins, color=BLUE, alpha=0.75, label=f"model, median {percent(model.median())}")
    label = f"{name}, median {percent(baseline.median())}"
    axes.hist(baseline, bins=bins, histtype="step", color=VERMILION, linewidth=2, linestyle="--", label=label)
    axes.axvline(model.median(), color=BLUE, linewidth=1)
    axes.axvline(baseline.median(), color=VERMILION, linewidth=1, linestyle="--")
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("accuracy over the test period")
    axes.set_ylabel(f"servers (of {len(by_server)})")
    axes.legend(frameon=False, loc="best")
    return figure


def accuracy_by_hour(by_hour: pd.DataFrame, best_baseline: str) -> Figure:
    """Accuracy over the hours of the day (UTC), for the model and for the best baseline."""
    figure, axes = new_figure("Test accuracy by hour of the day", 7.6, 4.2)
    hours = by_hour["hour_of_day"]
    axes.plot(hours, by_hour[MODEL], color=BLUE, marker="o", label="model")
    name = best_baseline.replace("_", " ")
    axes.plot(hours, by_hour[best_baseline], color=VERMILION, linestyle="--", marker="s", markersize=4, label=name)
    axes.set_xticks(range(0, 24, 3))
    axes.set(xlim=(-0.5, 23.5), ylim=(0, 1.02), xlabel="hour of the day (UTC)", ylabel="accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.legend(frameon=False, loc="best")
    return figure
