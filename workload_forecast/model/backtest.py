"""How good a model has been, and how much better than naive, over the folds of a backtest.

Metrics of a backtest (:attr:`Backtest.metrics`); *best baseline* is the one with the greatest macro-F1 over the rows of
all folds, chosen in hindsight:

=================================================== ===================================================================
name                                                meaning
=================================================== ===================================================================
``backtest_rows``, ``_folds``, ``_servers``         what was judged
``backtest_<metric>``                               the model, all folds' rows together; any of
                                                    :data:`~workload_forecast.model.metrics.METRICS`
``backtest_baseline_<name>_<metric>``               each baseline
``backtest_best_baseline_macro_f1``                 of the best baseline
``backtest_macro_f1_gain``                          the model's macro-F1 less that one
``backtest_macro_f1_gain_low``, ``_high``           its bootstrap interval, blocks: server days
``backtest_macro_f1_gain_share_above``              share of the resamples in which it is above 0, blocks: server days
``backtest_macro_f1_gain_low_days``, ``_high_days`` its bootstrap interval, blocks: the whole fleet's days; not there if
                                                    they are too few, as for server days
``backtest_macro_f1_gain_share_above_days``         share of the resamples in which it is above 0, blocks: days
``backtest_folds_above_best_baseline``              folds in which the model's macro-F1 is above that baseline's
``backtest_servers_counted``                        servers with enough rows (:data:`ROWS_OF_A_SERVER`); of these:
``backtest_server_accuracy_p10`` (25, 50, 75, 90)   quantiles of the servers' accuracies
``backtest_servers_at_least_best_baseline_share``   share of servers where the model is at least as accurate as the
                                                    best baseline
``backtest_servers_at_least_own_best_share``        the same against each server's own best baseline, see
                                                    :func:`server_table`
=================================================== ===================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workload_forecast.model.differences import DAYS, SERVER_DAYS, Resampling, difference_table
from workload_forecast.model.judged_rows import FOLD, LEAD, JudgedRows, judged_rows, positions_of
from workload_forecast.model.metrics import METRICS, accuracy, confusion_scores

SERVER_QUANTILES = (10, 25, 50, 75, 90)
#: Servers with fewer judged rows have no accuracy worth the name: they are in the table, but in no quantile or share.
ROWS_OF_A_SERVER = 24


@dataclass(frozen=True)
class Backtest:
    """What the judged rows say. In the tables of scores, one row is one predictor (in one group)."""

    model: str
    baselines: tuple[str, ...]
    best_baseline: str
    #: ``predictor``, ``rows``, ``unknown`` (rows that the default answered in its place) and the metrics.
    scores: pd.DataFrame
    #: The same for each ``fold``, with its ``first_hour`` and ``last_hour``.
    by_fold: pd.DataFrame
    #: The same for each ``lead`` (hours); None where the rows have none.
    by_lead: pd.DataFrame | None
    #: The same for each ``weekday`` (ISO, of the predicted hour in UTC).
    by_weekday: pd.DataFrame
    #: See :func:`server_table`.
    by_server: pd.DataFrame
    #: See :func:`~workload_forecast.model.differences.difference_table`.
    differences: pd.DataFrame
    #: See the module's table; finite numbers only.
    metrics: Mapping[str, float]


def backtest(
    rows: pd.DataFrame, *, model: str, baselines: Sequence[str], default: str, resampling: Resampling | None = None
) -> Backtest:
    """Judge a model and the naive forecasts on the same rows.

    Args:
        rows, model, baselines, default: see :func:`~workload_forecast.model.judged_rows.judged_rows`. The order of the
            rows does not matter.
        resampling: of the interval.

    Returns:
        Tables and metrics. Needs 400 bytes for each server's day beside the rows.

    Raises:
        SchemaError, SettingsError, DataError: as :func:`~workload_forecast.model.judged_rows.judged_rows` does.
    """
    judged = judged_rows(rows, model, baselines, default)
    keys, hour = judged.keys, judged.keys["hour"]
    scores = _scores(judged, pd.Series(np.zeros(len(keys), dtype=np.int64)), "all").drop(columns="all")
    macro_f1 = dict(zip(scores["predictor"], scores["macro_f1"], strict=True))
    best = max(baselines, key=lambda name: macro_f1[name])
    span = hour.groupby(keys[FOLD]).agg(first_hour="min", last_hour="max").reset_index()
    by_fold = span.merge(_scores(judged, keys[FOLD], FOLD), on=FOLD, how="inner", validate="1:m")
    by_server = server_table(judged, best)
    differences = difference_table(judged, resampling or Resampling())
    return Backtest(
        model=model,
        baselines=tuple(baselines),
        best_baseline=best,
        scores=scores,
        by_fold=by_fold,
        by_lead=_scores(judged, keys[LEAD], LEAD) if LEAD in keys else None,
        by_weekday=_scores(judged, hour.dt.dayofweek + 1, "weekday"),
        by_server=by_server,
        differences=differences,
        metrics={
            **_score_metrics(scores, model, best),
            **_fold_metrics(by_fold, model, best),
            **_difference_metrics(differences, best),
            **_server_metrics(by_server, model),
        },
    )


def server_table(judged: JudgedRows, best_baseline: str) -> pd.DataFrame:
    """How accurate each predictor is on each server.

    A server's *own best baseline* is the one that names most of its rows rightly. It is chosen after the fact, on the
    very rows it is judged on: nobody could have known it in advance, and the more baselines there are, the luckier
    the best of them is. To be level with it is therefore more than to be as good as any naive forecast.

    Returns:
        ``server``, ``rows``, the accuracy of each predictor by its name, ``own_best_baseline`` (of several, the first),
        ``own_best_accuracy``, ``at_least_own_best``, ``at_least_best`` (the model against ``best_baseline``, the same
        for all servers) and ``counted`` (whether there are :data:`ROWS_OF_A_SERVER`). Equal counts are *at least*.
    """
    groups, servers = positions_of(judged.keys["server"])
    counts = judged.counts(groups, len(servers))
    hits = np.trace(counts, axis1=2, axis2=3)
    own = hits[:, 1:].argmax(axis=1) + 1
    own_hits = np.take_along_axis(hits, own[:, None], axis=1)[:, 0]
    shares, rows = accuracy(counts), counts[:, 0].sum(axis=(1, 2))
    return pd.DataFrame(
        {
            "server": servers,
            "rows": rows,
            **{name: shares[:, index] for index, name in enumerate(judged.predictors)},
            "own_best_baseline": np.array(judged.predictors, dtype=object)[own],
            "own_best_accuracy": own_hits / rows,
            "at_least_own_best": hits[:, 0] >= own_hits,
            "at_least_best": hits[:, 0] >= hits[:, judged.predictors.index(best_baseline)],
            "counted": rows >= ROWS_OF_A_SERVER,
        }
    )


def _scores(judged: JudgedRows, by: pd.Series, name: str) -> pd.DataFrame:
    """Scores of every predictor in every group, the groups in ascending order."""
    groups, values = positions_of(by)
    counts, unknowns = judged.counts(groups, len(values)), judged.unknowns(groups, len(values))
    records = [
        {
            name: value,
            "predictor": predictor,
            "rows": int(matrix.sum()),
            "unknown": int(missing),
            **confusion_scores(matrix),
        }
        for value, matrices, row in zip(values, counts, unknowns, strict=True)
        for predictor, matrix, missing in zip(judged.predictors, matrices, row, strict=True)
    ]
    return pd.DataFrame(records)


def _score_metrics(scores: pd.DataFrame, model: str, best: str) -> dict[str, float]:
    records = {str(record["predictor"]): record for record in scores.to_dict("records")}
    metrics = {"backtest_rows": float(records[model]["rows"])}
    for predictor, record in records.items():
        prefix = "backtest" if predictor == model else f"backtest_baseline_{predictor}"
        metrics |= {f"{prefix}_{metric}": float(record[metric]) for metric in METRICS}
    metrics["backtest_best_baseline_macro_f1"] = metrics[f"backtest_baseline_{best}_macro_f1"]
    return _known(metrics)


def _fold_metrics(by_fold: pd.DataFrame, model: str, best: str) -> dict[str, float]:
    macro_f1 = by_fold.pivot(index=FOLD, columns="predictor", values="macro_f1")
    above = int((macro_f1[model] > macro_f1[best]).sum())
    return {"backtest_folds": float(len(macro_f1)), "backtest_folds_above_best_baseline": float(above)}


def _difference_metrics(differences: pd.DataFrame, best: str) -> dict[str, float]:
    rows = differences[differences["baseline"] == best].set_index("blocks_of")
    metrics = {"backtest_macro_f1_gain": float(rows["difference"].iloc[0])}
    for blocks_of, suffix in ((SERVER_DAYS, ""), (DAYS, "_days")):
        row = rows.loc[blocks_of]
        metrics |= {
            f"backtest_macro_f1_gain_{name}{suffix}": float(row[name]) for name in ("low", "high", "share_above")
        }
    return _known(metrics)


def _server_metrics(by_server: pd.DataFrame, model: str) -> dict[str, float]:
    counted = by_server[by_server["counted"]]
    quantiles = {
        f"backtest_server_accuracy_p{percent}": float(counted[model].quantile(percent / 100))
        for percent in SERVER_QUANTILES
    }
    shares = {
        f"backtest_servers_{name}_share": float(counted[column].mean())
        for name, column in (("at_least_best_baseline", "at_least_best"), ("at_least_own_best", "at_least_own_best"))
    }
    servers = {"backtest_servers": float(len(by_server)), "backtest_servers_counted": float(len(counted))}
    return servers | _known(quantiles | shares)


def _known(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if np.isfinite(value)}
