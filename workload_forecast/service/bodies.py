"""Bodies of requests and answers, as they are checked and as the OpenAPI page shows them.

Bodies are read by ``orjson``: NaN, infinities, bytes that are not UTF-8 and nesting beyond 1,024 levels are no JSON.
Nothing is converted: a number in quotes is not a number.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workload_forecast.schemas import FEATURE_NAMES, HORIZON_HOURS
from workload_forecast.service.problems import Refused, invalid

#: Errors that are told of one body.
TOLD = 10

#: 2016-07-01T00:00:00Z; the zone may be another one, or missing (UTC); minutes and seconds are checked later.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.0{1,6})?(Z|[+-]\d\d:\d\d)?")

Name = Annotated[str, Field(min_length=1, max_length=255)]
Class = Literal["low", "medium", "high"]
Source = Annotated[
    Literal["model", "baseline", "none"],
    Field(description="who answers: the model; the naive forecast where the model knows too little; nobody"),
]
Probability = Annotated[float, Field(ge=0, le=1)]
Time = Annotated[str, Field(examples=["2016-07-01T00:00:00Z"], json_schema_extra={"format": "date-time"})]


def _as_checked(schema: dict[str, Any]) -> None:
    """Say what the types do not: what is empty by default may be left out, but not be given."""
    for name in ("server", "servers", "start"):
        del schema["properties"][name]["default"]
    schema["properties"]["servers"]["uniqueItems"] = True
    schema["oneOf"] = [{"required": ["server"]}, {"required": ["servers"]}]
    schema["examples"] = [
        {"server": "10.0.0.1"},
        {"servers": ["a", "b"], "start": "2016-07-01T00:00:00Z", "hours": 24},
        {"server": "10.0.0.1", "load": True},
    ]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ForecastRequest(_Strict):
    """A server, or several, and the hours that are asked for."""

    model_config = ConfigDict(json_schema_extra=_as_checked)
    # what is left out is empty, which nothing that is given can be
    server: Name = Field("", description="one server")
    servers: list[Name] = Field([], min_length=1, description="several, each once")
    start: Time = Field(
        "",
        description="first hour, UTC if it names no zone; without it, the first hour after the newest known one",
    )
    hours: Annotated[int, Field(ge=1, le=HORIZON_HOURS, description="how many hours from there on")] = HORIZON_HOURS
    load: Annotated[bool, Field(description="whether the load's numbers are answered, too")] = False

    @model_validator(mode="after")
    def _either(self) -> ForecastRequest:
        if bool(self.server) == bool(self.servers):
            raise ValueError("give either 'server' or 'servers'")
        if len(set(self.servers)) < len(self.servers):
            twice = Counter(self.servers).most_common(1)[0][0]
            raise ValueError(f"the server {twice!r} stands in 'servers' more than once")
        return self


Row = Annotated[
    dict[str, float | None],
    Field(
        description="Every feature by its name; null: unknown. "
        "The calendar of an hour and the lead are always known. Names that are no feature are refused.",
        json_schema_extra={
            "properties": {name: {"type": ["number", "null"]} for name in FEATURE_NAMES},
            "required": list(FEATURE_NAMES),
            "additionalProperties": False,
        },
    ),
]


class ScoreRequest(_Strict):
    """Feature rows, as in the table ``features``."""

    rows: list[Row]


class Model(BaseModel):
    """The model that answered."""

    name: str = Field(examples=["workload-forecast"])
    version: str = Field(examples=["3"])


class Answer(BaseModel):
    """A class with the probabilities of all classes; all null if the source is ``none``."""

    model_config = ConfigDict(populate_by_name=True)
    predicted: Annotated[Class | None, Field(alias="class")]
    probabilities: dict[Class, Probability] | None = Field(examples=[{"low": 0.81, "medium": 0.15, "high": 0.04}])
    confidence: Probability | None = Field(description="probability of the class", examples=[0.81])
    source: Source


Load = Annotated[float | None, Field(ge=0, examples=[208.0])]
Quantile = Annotated[Load, Field(description="in so many of 100 hours the load is not above it", examples=[260.5])]


class Hour(Answer):
    """The answer for an hour; the load's numbers stand in it if they were asked for, null where unknown."""

    hour: Time
    total_load_last_same_hour: Load = Field(None, description="the newest load known at the same hour of the day")
    expected_load: Load = Field(None, description="what a mixture of naive forecasts expects")
    expected_error: Load = Field(None, description="its usual error on the server")
    load_p10: Quantile = None
    load_p50: Quantile = None
    load_p90: Quantile = None
    load_p95: Quantile = None
    load_p99: Quantile = None


class ServerForecast(BaseModel):
    """The answers for a server."""

    server: str
    hours: list[Hour]


class Newest(BaseModel):
    """What the forecast knows."""

    newest: Time = Field(description="the last hour that is known of any server")


class ForecastAnswer(BaseModel):
    """A forecast: the servers in the order in which they were asked for."""

    model: Model
    history: Newest
    start: Time
    hours: int
    forecasts: list[ServerForecast]


class ScoreAnswer(BaseModel):
    """One prediction a row, in their order."""

    model: Model
    predictions: list[Answer]


class Wrong(BaseModel):
    """One thing that is wrong with a body."""

    where: str = Field(examples=["hours"])
    what: str = Field(examples=["Input should be less than or equal to 48"])


class Problem(BaseModel):
    """RFC 9457."""

    type: str = Field(examples=["urn:workload-forecast:problem:invalid"])
    title: str
    status: int
    detail: str = Field(description="what is wrong, where, and what to do next")
    instance: str = Field(description="the request's id, also in the header X-Request-Id")
    errors: list[Wrong] = Field(default=[], description=f"of a body; at most {TOLD}")


def read_json(body: bytes) -> Any:
    """Return what a body says.

    Raises:
        Refused: 400, it is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise Refused(400, "bad-request", f"The body is not JSON: {_short(str(problem))}.") from None


@dataclass(frozen=True)
class Wanted:
    """What a request for a forecast asks for."""

    servers: list[str]
    start: datetime | None  #: UTC without a zone; None: the default
    hours: int
    load: bool  #: whether the load's numbers, too


def read_forecast(body: bytes, max_servers: int) -> Wanted:
    """Return what is asked for.

    Raises:
        Refused: 400, it is not JSON; 422, it says something else than it should.
    """
    content = read_json(body)
    if isinstance(content, dict) and isinstance(names := content.get("servers"), list) and len(names) > max_servers:
        raise invalid(f"{len(names)} servers at once are too many: ask for up to {max_servers} at once.", "servers")
    try:
        asked = ForecastRequest.model_validate(content)
    except ValidationError as problem:
        raise _refusal(problem) from None
    given = "start" in asked.model_fields_set
    start = read_hour(asked.start) if given else None
    return Wanted(asked.servers or [asked.server], start, asked.hours, asked.load)


def read_hour(text: str) -> datetime:
    """Return a whole hour in UTC, without a zone.

    Raises:
        Refused: 422, it is none.
    """
    what = f"start={_short(text)!r} is no whole hour like 2016-07-01T00:00:00Z."
    if not _TIME.fullmatch(text):
        raise invalid(what, "start")
    try:
        # Python 3.10 knows neither the Z nor fractions of one digit
        moment = datetime.fromisoformat(re.sub(r"\.0+", "", text).replace("Z", "+00:00"))
        moment = moment.astimezone(timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment
        # room for everything that is reckoned from it
        _ = moment - timedelta(days=400), moment + timedelta(days=400)
    except (ValueError, OverflowError):
        raise invalid(what, "start") from None
    if moment.minute or moment.second:
        raise invalid(what, "start")
    return moment


def _refusal(problem: ValidationError) -> Refused:
    errors = [
        {"where": _short(".".join(str(part) for part in error["loc"])), "what": _short(error["msg"])}
        for error in problem.errors(include_url=False, include_context=False, include_input=False)[:TOLD]
    ]
    first = errors[0]
    detail = f"{first['where'] or 'the body'}: {first['what']}" + (
        f" (and {problem.error_count() - 1} more)" if problem.error_count() > 1 else ""
    )
    return Refused(422, "invalid", f"{detail}. GET /docs shows what is expected.", errors=errors)


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
