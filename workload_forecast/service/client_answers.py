"""What the service says, as plain objects and rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from workload_forecast.schemas import CLASSES, LOAD_NUMBERS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Answer:
    """What the service says of one hour, or of one row of features.

    Attributes:
        load_class: ``low``, ``medium``, ``high``, or None where nothing can be said.
        probabilities: of each class, or None.
        confidence: probability of ``load_class``, or None.
        source: ``model``, ``baseline`` or ``none``.
    """

    load_class: str | None
    probabilities: Mapping[str, float] | None
    confidence: float | None
    source: str


@dataclass(frozen=True)
class HourForecast(Answer):
    """The answer for an hour.

    Attributes:
        hour: its beginning, UTC without a zone.
        loads: the load in numbers, by the names of :data:`~workload_forecast.schemas.LOAD_NUMBERS`, None where unknown;
            empty unless they were asked for.
    """

    hour: datetime
    loads: Mapping[str, float | None]


@dataclass(frozen=True)
class Forecast:
    """One server's hours, the model's ``NAME/VERSION`` and the newest hour that was known, UTC without a zone."""

    server: str
    model: str
    newest: datetime
    hours: tuple[HourForecast, ...]


def forecast_rows(forecasts: Iterable[Forecast]) -> list[dict[str, Any]]:
    """Return a plain row for each server and hour, with the columns of the table ``forecast``."""
    rows: list[dict[str, Any]] = []
    for forecast in forecasts:
        for hour in forecast.hours:
            shares = hour.probabilities or {}
            rows.append(
                {
                    "server": forecast.server,
                    "hour": hour.hour,
                    "prediction": hour.load_class,
                    **{f"probability_{name}": shares.get(name) for name in CLASSES},
                    "confidence": hour.confidence,
                    "source": hour.source,
                    **hour.loads,
                    "model": forecast.model,
                }
            )
    return rows


def to_pandas(forecasts: Iterable[Forecast]) -> pd.DataFrame:
    """Return :func:`forecast_rows` as a pandas frame."""
    import pandas as pd

    return pd.DataFrame(forecast_rows(forecasts))


def utc_text(moment: datetime) -> str:
    """Return a time as the service takes it; without a zone it is UTC."""
    aware = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    return aware.strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_time(text: str) -> datetime:
    """Return a time in ISO 8601 as UTC without a zone; one without a zone is UTC.

    Raises:
        ValueError: it is none.
    """
    moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))  # Python 3.10 does not know the Z
    return moment.astimezone(timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment


def read_forecasts(content: Mapping[str, Any], load: bool) -> list[Forecast]:
    """Return the forecasts of an answer to ``/forecast``, with the load's numbers or without.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not one.
    """
    model, newest = f"{content['model']['name']}/{content['model']['version']}", utc_time(content["history"]["newest"])
    return [
        Forecast(
            str(entry["server"]),
            model,
            newest,
            tuple(
                HourForecast(hour=utc_time(hour["hour"]), loads=_loads(hour) if load else {}, **_answer(hour))
                for hour in entry["hours"]
            ),
        )
        for entry in content["forecasts"]
    ]


def read_answer(entry: Mapping[str, Any]) -> Answer:
    """Return one answer of the service.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not one.
    """
    return Answer(**_answer(entry))


def _loads(entry: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: None if entry[name] is None else float(entry[name]) for name in LOAD_NUMBERS}


def _answer(entry: Mapping[str, Any]) -> dict[str, Any]:
    shares = entry["probabilities"]
    return {
        "load_class": entry["class"],
        "probabilities": None if shares is None else {str(name): float(share) for name, share in shares.items()},
        "confidence": None if entry["confidence"] is None else float(entry["confidence"]),
        "source": str(entry["source"]),
    }
