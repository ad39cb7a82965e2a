"""Figures of a backtest, in the style of :mod:`workload_forecast.model.plots`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from workload_forecast.model.backtest import Backtest
from workload_forecast.model.differences import cautious_differences
from workload_forecast.model.plots import BLUE, GREY, INK, VERMILION, new_figure

#: Of the other baselines, which are told apart by their marks.
MARKS = ("v", "D", "^", "P", "X", "*")
DARK_GREY = "#7A8087"
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
#: Macro-F1 from which on a baseline is too far behind to share a scale with the others.
FAR_BEHIND = 0.2
#: With more folds only some are named.
MOST_FOLD_NAMES = 8


def backtest_figures(result: Backtest) -> dict[str, Figure]:
    """Every figure of a backtest, by the name it is logged under."""
    figures = {
        "backtest_macro_f1_by_fold": macro_f1_by_fold(result),
        "backtest_macro_f1_by_weekday": macro_f1_by_weekday(result),
        "backtest_gains": gains(result),
        "backtest_servers": server_scatter(result),
        "backtest_server_gains": server_gains(result),
    }
    if result.by_lead is not None:
        figures["backtest_macro_f1_by_lead"] = macro_f1_by_lead(result)
    return figures


def macro_f1_by_fold(result: Backtest) -> Figure:
    """Macro-F1 of every predictor in each fold; a fold is named by its first and last hour's day."""
    folds = result.by_fold.drop_duplicates("fold")
    figure, axes = _lines(result, result.by_fold, "fold", "Macro-F1 by fold", marked=True)
    every = -(-len(folds) // MOST_FOLD_NAMES)
    named = folds.iloc[::every]
    names = [
        f"{fold}\n{first:%Y-%m-%d}\nto {last:%m-%d}"
        for fold, first, last in zip(named["fold"], named["first_hour"], named["last_hour"], strict=True)
    ]
    axes.set_xticks(named["fold"], names)
    axes.set_xlim(folds["fold"].min() - 0.4, folds["fold"].max() + 0.4)
    axes.set_xlabel("fold, and the days it is judged on (UTC)")
    return figure


def macro_f1_by_lead(result: Backtest) -> Figure:
    """Macro-F1 of every predictor over the hours from a forecast's origin to the predicted hour."""
    assert result.by_lead is not None
    leads = result.by_lead["lead"].drop_duplicates()
    figure, axes = _lines(result, result.by_lead, "lead", "Macro-F1 by lead hour", marked=len(leads) <= 12)
    axes.set_xticks([1, *range(6, max(int(leads.max()), 6) + 1, 6)])
    axes.set_xlim(0, max(leads.max(), 6) + 1)
    axes.set_xlabel("hours from the forecast's origin to the predicted hour")
    return figure


def macro_f1_by_weekday(result: Backtest) -> Figure:
    """Macro-F1 of every predictor on each day of the week."""
    figure, axes = _lines(result, result.by_weekday, "weekday", "Macro-F1 by weekday", marked=True)
    axes.set_xticks(range(1, 8), WEEKDAYS)
    axes.set_xlim(0.6, 7.4)
    axes.set_xlabel("weekday of the predicted hour (UTC)")
    return figure


def gains(result: Backtest) -> Figure:
    """By how much the model's macro-F1 is above each baseline's, with the more cautious one of its bootstrap intervals.

    A baseline that is far behind is told in numbers only, or else nobody could see the interval of the best one.
    """
    table = cautious_differences(result.differences).iloc[::-1]
    figure, axes = new_figure("Gain of the model over each naive forecast", 8.4, 0.55 * len(table) + 1.8)
    axes.axvline(0, color=INK, linewidth=1, linestyle="--")
    columns = (table[name].tolist() for name in ("baseline", "difference", "low", "high"))
    for at, (name, gain, low, high) in enumerate(zip(*columns, strict=True)):
        interval = f" ({low:+.3f} to {high:+.3f})" if np.isfinite(low) else ""
        best, far = name == result.best_baseline, gain > FAR_BEHIND
        colour = VERMILION if best else DARK_GREY
        if not far and interval:
            axes.plot([low, high], [at, at], color=colour, linewidth=3, solid_capstyle="butt")
        if not far:
            axes.plot([gain], [at], color=colour, marker="s" if best else "o", markersize=6)
        text = f"{gain:+.3f}{interval}" + ("\nfar to the right" if far else "")
        axes.text(1.02, at, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9, color=INK)
    names = [_name(name) + ("\n(the best one)" if name == result.best_baseline else "") for name in table["baseline"]]
    axes.set_yticks(range(len(table)), names)
    axes.set_ylim(-0.6, len(table) - 0.4)
    axes.margins(x=0.08)
    axes.set_xlabel("macro-F1 of the model less that of the naive forecast")
    if table["low"].notna().any():
        confidence, blocks, blocks_of = (table[name].iloc[0] for name in ("confidence", "blocks", "blocks_of"))
        note = f"{confidence:.0%} interval\n{blocks:,} {blocks_of}"
        axes.text(1.02, 1.0, note, transform=axes.transAxes, va="bottom", fontsize=9, color=INK)
    return figure


def server_scatter(result: Backtest) -> Figure:
    """Each server's accuracy with the model against its own best baseline, chosen in hindsight."""
    servers = result.by_server[result.by_server["counted"]]
    figure, axes = new_figure("Each server: the model against its own best naive forecast", 6.8, 7)
    values = servers[["own_best_accuracy", result.model]].to_numpy(dtype=np.float64) if len(servers) else np.ones(1)
    start, end = max(np.floor(values.min() * 20 - 0.4) / 20, 0), min(np.ceil(values.max() * 20 + 0.4) / 20, 1)
    axes.plot([start, end], [start, end], color=GREY, linestyle="--", linewidth=1, zorder=1)
    level = servers["at_least_own_best"].astype(bool)
    size, alpha = (46, 0.8) if len(servers) <= 200 else (18, 0.55)
    for chosen, colour, marker, word in ((level, BLUE, "o", "level or better"), (~level, VERMILION, "v", "worse")):
        part = servers[chosen]
        label = f"{word}: {len(part):,} of {len(servers):,} servers" + (f" ({chosen.mean():.0%})" if len(part) else "")
        x, y = part["own_best_accuracy"], part[result.model]
        axes.scatter(
            x, y, s=size, color=colour, marker=marker, alpha=alpha, edgecolor="white", linewidth=0.5, label=label
        )
    margin = (end - start) * 0.02
    axes.set(xlim=(start - margin, end + margin), ylim=(start - margin, end + margin), aspect="equal")
    axes.set_xlabel("accuracy of the server's own best naive forecast, chosen in hindsight")
    axes.set_ylabel("accuracy of the model")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(0.05 if end - start <= 0.5 else 0.1))
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(color=GREY, alpha=0.3)
    figure.legend(loc="outside lower left", frameon=False)
    return figure


def server_gains(result: Backtest) -> Figure:
    """How many servers gain or lose how much accuracy, against the best baseline of all and against their own."""
    servers = result.by_server[result.by_server["counted"]]
    figure, axes = new_figure("Accuracy that servers gain by the model", 8, 4.6)
    best = 100 * (servers[result.model] - servers[result.best_baseline])
    own = 100 * (servers[result.model] - servers["own_best_accuracy"])
    edges = _edges(pd.concat([best, own]))
    label = f"{_name(result.best_baseline)}, the best of all: at least level on {_share(best)}"
    axes.hist(best, bins=edges, color=BLUE, alpha=0.75, label=label)
    label = f"the server's own best, in hindsight: at least level on {_share(own)}"
    axes.hist(own, bins=edges, histtype="step", color=VERMILION, linewidth=2, linestyle="--", label=label)
    axes.axvline(0, color=INK, linewidth=1, linestyle="--")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("accuracy of the model less that of the naive forecast, in points of a hundred")
    axes.set_ylabel(f"servers (of {len(servers):,})")
    figure.legend(loc="outside lower left", frameon=False, title="against", alignment="left")
    return figure


def _lines(result: Backtest, table: pd.DataFrame, by: str, title: str, *, marked: bool) -> tuple[Figure, Axes]:
    """Macro-F1 of every predictor over ``by``: the model and the best baseline stand out, the others are grey.

    A baseline that is far behind is named in the legend only, or else nobody could tell the best ones apart.
    """
    figure, axes = new_figure(title, 8.8, 4.8)
    macro_f1 = table.pivot(index=by, columns="predictor", values="macro_f1")
    best, model = result.best_baseline, result.model
    every = None if marked else 6
    floor = float(macro_f1[[best, model]].to_numpy(dtype=np.float64).min()) - FAR_BEHIND
    others = [name for name in result.baselines if name != best]
    for index, name in enumerate(others):
        values, mark = macro_f1[name], MARKS[index % len(MARKS)]
        if values.max() < floor:
            axes.plot([], [], " ", label=f"{_name(name)}: far below,\n{_range(values)}")
        else:
            look: dict[str, Any] = {
                "color": DARK_GREY,
                "linewidth": 1,
                "marker": mark,
                "markersize": 5,
                "markevery": every,
            }
            axes.plot(values.index, values, label=_name(name), **look)
    look = {"color": VERMILION, "linewidth": 1.8, "linestyle": "--", "marker": "s", "markersize": 5, "markevery": every}
    axes.plot(macro_f1.index, macro_f1[best], label=f"{_name(best)} (best)", **look)
    look = {"color": BLUE, "linewidth": 2.2, "marker": "o", "markersize": 6, "markevery": every}
    axes.plot(macro_f1.index, macro_f1[model], label=_name(model), **look)
    axes.set_ylabel("macro-F1 on the same rows (1 is perfect)")
    axes.grid(axis="y", color=GREY, alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)
    return figure, axes


def _range(values: pd.Series) -> str:
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"


def _edges(values: pd.Series) -> list[float]:
    """Bins one point wide (wider where they would be many), zero between two of them, an empty one at either end."""
    low, high = (min(values.min(), 0), max(values.max(), 0)) if len(values) else (0, 0)
    width = max(1, int(np.ceil((high - low) / 30)))
    return [float(width * step) for step in range(int(low // width) - 1, int(high // width) + 3)]


def _share(values: pd.Series) -> str:
    return f"{(values >= 0).mean():.0%}" if len(values) else "–"


def _name(predictor: str) -> str:
    return predictor.replace("_", " ")
