"""MLflow's ``python_function``, without Spark: for ``load_model``, ``spark_udf`` and ``mlflow models serve``.

Two kinds of input, told apart by the parameter ``start``:

* feature rows (no ``start``): one answer a row: ``prediction``, ``probability_<class>``, ``confidence``, ``source``;
* hourly load of the past, as rows, and in the parameters ``start`` (ISO 8601; UTC unless it names an offset),
  ``hours`` (1 to 48) and ``servers`` (those of the history if none are named): the same columns for each server and
  hour that was asked for, after ``server`` and ``hour``.

With the parameter ``load`` the columns of :data:`~workload_forecast.schemas.LOAD_NUMBERS` follow in both.

``prediction`` comes first, so that ``spark_udf(…, result_type="string")`` gives the class. MLflow imports this module
from the copy that travels with the model where the package is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workload_forecast.errors import SettingsError, WorkloadForecastError
from workload_forecast.schemas import HORIZON_HOURS
from workload_forecast.serving.forecaster import Forecaster, as_columns

if TYPE_CHECKING:
    import pandas as pd

#: The parameters and their defaults; an empty ``start`` says that the rows are features.
START, HOURS, SERVERS, LOAD = "start", "hours", "servers", "load"
DEFAULTS: Mapping[str, Any] = {START: "", HOURS: HORIZON_HOURS, SERVERS: [], LOAD: False}


class CompiledModel:
    """What MLflow calls."""

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster = forecaster

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Answer feature rows, or forecast from a history.

        Raises:
            MlflowException: the input cannot be used; its message is one of this project's errors.
        """
        from mlflow.exceptions import MlflowException

        given = {**DEFAULTS, **(params or {})}
        try:
            return _frame(self._forecast(model_input, given) if given[START] else self._score(model_input, given))
        except WorkloadForecastError as problem:
            # as MLflow's own kind, so that its scoring server answers 400 and the message
            raise MlflowException.invalid_parameter_value(str(problem)) from problem

    def _score(self, rows: pd.DataFrame, given: Mapping[str, Any]) -> pa.Table:
        servers = rows["server"].astype(str).tolist() if "server" in rows else None
        features = self.forecaster.scorer.matrix(rows)
        numbers = self.forecaster.loads_of(features) if given[LOAD] else {}
        return pa.table(self.forecaster.answer_rows(features, servers=servers) | as_columns(numbers))

    def _forecast(self, history: pd.DataFrame, given: Mapping[str, Any]) -> pa.Table:
        start, hours = _time(given[START]), int(given[HOURS])
        servers = [str(name) for name in given[SERVERS]]
        if not servers and "server" in history:
            servers = sorted(history["server"].dropna().unique())
        return self.forecaster.forecast(history, servers, start, hours, load=bool(given[LOAD]))


def _time(text: str) -> datetime:
    try:
        # Python 3.10 does not know the Z
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise SettingsError(f"start='{text}' is no time like 2016-07-01T00:00:00 (UTC).") from None
    return moment.astimezone(timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    for name in frame.columns:
        unknown = frame[name].isna()
        if unknown.any():  # MLflow's scoring server would write NaN, which is no JSON
            frame[name] = frame[name].astype(object)
            frame.loc[unknown, name] = None
    return frame


def _load_pyfunc(path: str) -> CompiledModel:
    return CompiledModel(Forecaster.load(Path(path)))
