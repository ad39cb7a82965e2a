"""By how much the model is better than each naive forecast, and how sure that is.

Two intervals are made of every difference, both by the paired bootstrap of :mod:`workload_forecast.model.bootstrap`.
They differ in what is drawn as a block, all leads together:

===============  ====================================================================================================
blocks           what is taken to be independent
===============  ====================================================================================================
``server days``  a server's UTC day. Servers that move together make the interval too narrow: a day that is odd for the
                 whole fleet counts as many independent ones
``days``         the whole fleet's UTC day. Days are few, but what servers have in common is in the interval
===============  ====================================================================================================

What neighbouring days have in common (a week that is odd) neither of them knows of. Each baseline is taken as given:
that the best one was picked afterwards is not part of it, which is to the model's disadvantage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workload_forecast.errors import SettingsError
from workload_forecast.model.bootstrap import LEAST_BLOCKS, interval, resampled_macro_f1
from workload_forecast.model.judged_rows import JudgedRows, Positions, positions_of
from workload_forecast.model.metrics import Matrix, confusion_scores

SERVER_DAYS, DAYS = "server days", "days"


@dataclass(frozen=True)
class Resampling:
    """How the intervals are made.

    Raises:
        SettingsError: a number is out of range.
    """

    resamples: int = 2000
    seed: int = 42
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.resamples < 1 or self.seed < 0 or not 0 < self.confidence < 1:
            raise SettingsError(f"{self}: resamples must be 1 or more, seed 0 or more, confidence between 0 and 1.")


def difference_table(judged: JudgedRows, resampling: Resampling) -> pd.DataFrame:
    """By how much the model's macro-F1 is above each baseline's.

    Returns:
        For either kind of block and every baseline: ``baseline``, ``difference``, ``low``, ``high``, ``share_above``
        (of the resamples in which it is above 0), ``confidence``, ``blocks_of`` (:data:`SERVER_DAYS` or :data:`DAYS`)
        and ``blocks``, their number. With fewer than :data:`LEAST_BLOCKS` of them ``low``, ``high`` and ``share_above``
        are unknown (NaN).
    """
    records = []
    for blocks_of, blocks in _blocks(judged).items():
        counts = judged.counts(blocks, int(blocks.max()) + 1)
        for name, record in zip(judged.predictors[1:], _differences(counts, resampling), strict=True):
            records.append({"baseline": name, **record, "blocks_of": blocks_of, "blocks": len(counts)})
    return pd.DataFrame(records)


def cautious_differences(differences: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table that are to be told: by days, unless they are too few for an interval."""
    days = differences[differences["blocks_of"] == DAYS]
    told = days if (days["blocks"] >= LEAST_BLOCKS).all() else differences[differences["blocks_of"] == SERVER_DAYS]
    return told.reset_index(drop=True)


def _blocks(judged: JudgedRows) -> dict[str, Positions]:
    """The block of each row."""
    servers, _ = positions_of(judged.keys["server"])
    days, dates = positions_of(judged.keys["hour"].dt.floor("D"))
    _, server_days = np.unique(servers * len(dates) + days, return_inverse=True)
    return {SERVER_DAYS: server_days, DAYS: days}


def _differences(counts: Matrix, resampling: Resampling) -> list[Mapping[str, float]]:
    """Of each baseline; ``counts`` are those of the blocks, shape (blocks, predictors, 3, 3)."""
    model, *naive = (confusion_scores(matrix)["macro_f1"] for matrix in counts.sum(axis=0))
    enough = len(counts) >= LEAST_BLOCKS
    drawn = resampled_macro_f1(counts, resampling.resamples, resampling.seed) if enough else None
    records: list[Mapping[str, float]] = []
    for index, theirs in enumerate(naive, start=1):
        low, high, above = np.nan, np.nan, np.nan
        if drawn is not None:
            gains = drawn[:, 0] - drawn[:, index]
            low, high = interval(gains, resampling.confidence)
            above = float((gains > 0).mean())
        numbers = {"difference": model - theirs, "low": low, "high": high, "share_above": above}
        records.append({**numbers, "confidence": resampling.confidence})
    return records
