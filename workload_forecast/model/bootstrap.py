"""How far a difference of two macro-F1 could be chance: a paired bootstrap over blocks of rows.

Neighbouring hours of a server are alike, so single rows are not independent and an interval that resampled them would
be far too narrow. Whole blocks (a server's day) are drawn instead, with replacement, as many as there are; every
predictor is scored on the same draw, so what makes a day hard for all of them cancels out.

A block enters by its counts alone, and a resample's counts are a sum of integers: the same in whatever order they are
added. Drawn is from the raw stream of PCG64, which NumPy promises never to change, rather than from a generator's
methods, whose streams may. So a seed gives the same interval on every machine and with every version of NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from workload_forecast.errors import ModelError
from workload_forecast.model.metrics import Matrix

Scores = npt.NDArray[np.float64]

#: With fewer blocks an interval would be narrower than what is known, so there is none.
LEAST_BLOCKS = 10

#: Numbers of a chunk of resamples that are held at a time (8 bytes each, in a handful of arrays).
_CHUNK = 1_000_000
#: Products of this many blocks stay on one thread of the linear algebra library. Given more work it takes threads,
#: which on a machine whose cores are busy wait for each other: 80 times as long (measured).
_SLICE = 400


def resampled_macro_f1(blocks: Matrix, resamples: int, seed: int) -> Scores:
    """Macro-F1 of each predictor in each resample.

    Args:
        blocks: confusion matrices, shape (blocks, predictors, 3, 3), each block with at least one row. Their order
            is part of the seed's meaning.
        resamples: how many.
        seed: 0 or more.

    Returns:
        Shape (resamples, predictors), by the rules of :mod:`workload_forecast.model.metrics`.

    Raises:
        ModelError: there is no block, or a number is out of range.
    """
    if not len(blocks) or resamples < 1 or seed < 0:
        raise ModelError(
            f"a bootstrap needs a block, a resample and a seed of 0 or more; got {len(blocks)} blocks, "
            f"resamples={resamples}, seed={seed}."
        )
    count, predictors, classes, _ = blocks.shape
    hits = np.diagonal(blocks, axis1=2, axis2=3)
    both = blocks.sum(axis=2) + blocks.sum(axis=3)  # rows of the class, and rows that were called it
    # float64 holds these whole numbers exactly, and is what products of matrices are fast in
    table = np.concatenate([hits, both], axis=2).reshape(count, -1).astype(np.float64)
    sums = np.concatenate([_sums(weights, table) for weights in _weights(count, resamples, seed)])
    parts = sums.reshape(resamples, predictors, 2, classes)
    return macro_f1(parts[:, :, 0], parts[:, :, 1])


def macro_f1(hits: Scores, both: Scores) -> Scores:
    """Macro-F1 from the hits of each class and the sum of its true and predicted rows, over the last axis.

    Raises nothing; NaN where no class occurs.
    """
    f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    present = (both > 0).sum(axis=-1).astype(np.float64)
    total = np.zeros_like(present)
    for index in range(f1.shape[-1]):  # not sum(): the order of addition is the same on every machine
        total += f1[..., index]
    scores: Scores = np.divide(total, present, out=np.full_like(total, np.nan), where=present > 0)
    return scores


def interval(differences: Scores, confidence: float) -> tuple[float, float]:
    """The percentile interval that holds the share ``confidence`` of the resampled differences."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(low), float(high)


def _weights(blocks: int, resamples: int, seed: int) -> Iterator[Scores]:
    """How often each block is drawn: arrays of shape (some resamples, blocks), until all are done."""
    stream = np.random.PCG64(seed)
    most = max(1, _CHUNK // blocks)
    for start in range(0, resamples, most):
        rows = min(most, resamples - start)
        drawn = _draw(stream, rows, blocks)
        yield np.stack([np.bincount(row, minlength=blocks) for row in drawn]).astype(np.float64)


def _draw(stream: np.random.PCG64, rows: int, blocks: int) -> npt.NDArray[np.int64]:
    """Positions 0 … blocks - 1; each raw number of 64 bits gives two, its upper half before its lower one.

    A half times the number of blocks, shifted, is uniform up to a part in 2**32 / blocks: nothing beside the error of
    a bootstrap.
    """
    raw = np.asarray(stream.random_raw(rows * -(-blocks // 2)), dtype=np.uint64).reshape(rows, -1)
    shift = np.uint64(32)
    halves = np.stack([raw >> shift, raw & np.uint64(0xFFFFFFFF)], axis=2).reshape(rows, -1)[:, :blocks]
    positions: npt.NDArray[np.int64] = ((halves * np.uint64(blocks)) >> shift).astype(np.int64)
    return positions


def _sums(weights: Scores, table: Scores) -> Scores:
    sums = np.zeros((len(weights), table.shape[1]))
    for start in range(0, len(table), _SLICE):
        sums += weights[:, start : start + _SLICE] @ table[start : start + _SLICE]
    return sums
