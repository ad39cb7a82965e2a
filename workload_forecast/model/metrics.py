"""From counted outcomes to metrics: numpy on the driver, no Spark.

A confusion matrix here has the true classes as rows and the predicted ones as columns, both in the order of
:data:`CLASSES`. Where a share is 0/0 these rules hold (they are scikit-learn's with ``zero_division=0``, but for
the single recalls):

- a class that is never predicted has precision 0; one that never occurs has weight 0 in the weighted means;
- ``macro_f1`` is the mean over the classes that occur or are predicted;
- the recall of a class that does not occur is unknown: NaN here, and such a metric is not logged. So is
  ``high_called_low`` where nothing is high.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workload_forecast.schemas import CLASSES

Matrix = npt.NDArray[np.int64]

#: The metrics of a confusion matrix. The first four are those of the requirements; ``high_called_low`` is the share
#: of the truly high rows that were predicted low: the error that consolidates a busy server away.
METRICS = (
    "accuracy",
    "weighted_precision",
    "weighted_recall",
    "f1",
    "macro_f1",
    *(f"recall_{name}" for name in CLASSES),
    "high_called_low",
)


def confusion_scores(matrix: Matrix) -> dict[str, float]:
    """The :data:`METRICS` of a confusion matrix that counts at least one row; unknown ones are NaN.

    ``weighted_*`` and ``f1`` weigh the classes by their true rows, as Spark's evaluator does.
    """
    hits = np.diag(matrix).astype(np.float64)
    true, predicted, total = matrix.sum(axis=1), matrix.sum(axis=0), float(matrix.sum())
    recall, precision = _share(hits, true), _share(hits, predicted)
    f1 = _share(2 * hits, true + predicted)
    weight, present = true / total, (true + predicted) > 0
    values = {
        "accuracy": hits.sum() / total,
        "weighted_precision": weight @ precision,
        "weighted_recall": weight @ recall,
        "f1": weight @ f1,
        "macro_f1": f1[present].mean(),
        **{f"recall_{name}": recall[index] if true[index] else np.nan for index, name in enumerate(CLASSES)},
        "high_called_low": matrix[-1, 0] / true[-1] if true[-1] else np.nan,
    }
    return {name: float(values[name]) for name in METRICS}


def accuracy(matrices: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Accuracy of each matrix of a stack of shape (…, 3, 3); NaN where it counts no row."""
    hits = np.trace(matrices, axis1=-2, axis2=-1).astype(np.float64)
    rows = matrices.sum(axis=(-2, -1)).astype(np.float64)
    shares: npt.NDArray[np.float64] = np.divide(hits, rows, out=np.full_like(hits, np.nan), where=rows > 0)
    return shares


def _share(part: npt.NDArray[np.float64], whole: Matrix) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return shares
