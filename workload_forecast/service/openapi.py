"""The OpenAPI document: what FastAPI knows of the routes, and what it cannot know because bodies are read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from workload_forecast.schemas import FEATURE_NAMES
from workload_forecast.service.access import BROWSED
from workload_forecast.service.bodies import ForecastRequest, Problem, ScoreRequest
from workload_forecast.service.problems import CONTENT_TYPE, KINDS, PREFIX

_REF = "#/components/schemas/{model}"

_PROBLEMS = {
    400: "the body is not JSON (or CSV)",
    401: "no key, or one that opens nothing",
    404: "there is no report yet",
    408: "the body did not arrive in time",
    413: "the body is too large",
    415: "the body is of a type that is not read",
    422: "the body says something that cannot be answered",
    503: "not ready, too busy, or no answer in time",
}

#: An example of a feature row: a Sunday evening, forecast 48 hours ahead from the first day that is known.
EXAMPLE_ROW: Mapping[str, float | None] = {
    **{name: None for name in FEATURE_NAMES},
    "hour_of_day": 18, "weekday": 7, "day_of_month": 3, "week_of_year": 26, "month": 7, "year": 2016,
    "is_us_holiday": 0, "is_business_hour": 0, "is_morning": 0, "trend_days": 16985.75,
    "total_load_lag_48h": 212.5, "total_load_mean_1d": 180.0, "total_load_mean_7d": 180.0,
    "total_load_std_7d": 61.5, "total_load_same_hour_mean_7d": 212.5, "observed_hours_7d": 24,
    "total_load_last_same_hour": 212.5, "expected_load": 208.0, "expected_error": 61.5, "lead_hours": 48,
}  # fmt: skip


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of error answers for a route."""
    schema = {"$ref": _REF.format(model="Problem")}
    return {
        status: {"description": _PROBLEMS[status], "content": {CONTENT_TYPE: {"schema": schema}}} for status in statuses
    }


def _body(model: str, examples: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a JSON body whose model is among the document's components."""
    shown = {name: {"value": value} for name, value in examples.items()}
    content = {"application/json": {"schema": {"$ref": _REF.format(model=model)}, "examples": shown}}
    return {"required": True, "content": content}


_INVOCATION: Mapping[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "description": "exactly one of the four forms, and perhaps `params`",
                "properties": {
                    "dataframe_split": {
                        "type": "object",
                        "required": ["columns", "data"],
                        "properties": {
                            "columns": {"type": "array", "items": {"type": "string"}},
                            "index": {"type": "array"},
                            "data": {"type": "array", "items": {"type": "array"}},
                        },
                        "additionalProperties": False,
                    },
                    "dataframe_records": {"type": "array", "items": {"type": "object"}},
                    "instances": {"type": ["array", "object"]},
                    "inputs": {"type": ["array", "object"]},
                    "params": {
                        "type": "object",
                        "properties": {
                            "start": {"type": "string"},
                            "hours": {"type": "integer", "minimum": 1, "maximum": 48},
                            "servers": {"type": "array", "items": {"type": "string"}},
                            "load": {"type": "boolean"},
                        },
                        "additionalProperties": False,
                    },
                },
                "additionalProperties": False,
            },
            "examples": {"feature rows": {"value": {"dataframe_records": [EXAMPLE_ROW]}}},
        },
        "text/csv": {"schema": {"type": "string"}},
    },
}

#: Bodies of requests, by path. FastAPI would leave the nulls of the examples out.
BODIES: Mapping[str, Mapping[str, Any]] = {
    "/forecast": _body(
        "ForecastRequest",
        {
            "one server, the next 48 hours": {"server": "10.0.0.1"},
            "its load in numbers, too": {"server": "10.0.0.1", "load": True},
            "several servers from a time on": {
                "servers": ["10.0.0.1", "10.0.0.2"],
                "start": "2016-07-01T00:00:00Z",
                "hours": 6,
            },
        },
    ),
    "/score": _body("ScoreRequest", {"a row": {"rows": [EXAMPLE_ROW]}}),
    "/invocations": _INVOCATION,
}


def document(app: FastAPI, own: Iterable[str]) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        app: its routes.
        own: paths that need no key.
    """
    found = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes
    )
    components = found.setdefault("components", {})
    models: list[type[BaseModel]] = [ForecastRequest, ScoreRequest, Problem]
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    components.setdefault("schemas", {}).update(schemas["$defs"])
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "a key: wf_PREFIX_SECRET"},
        "password": {"type": "http", "scheme": "basic", "description": "a key as the password, with any user name"},
    }
    identifier = {"X-Request-Id": {"description": "the request's id", "schema": {"type": "string"}}}
    for path, operations in found["paths"].items():
        for operation in operations.values():
            if path in BODIES:
                operation["requestBody"] = BODIES[path]
            operation["security"] = [] if path in own else [{"key": []}]
            if path in BROWSED:
                operation["security"].append({"password": []})
            for response in operation["responses"].values():
                response.setdefault("headers", {}).update(identifier)
    return found


def describe_problems() -> str:
    """Return the kinds of problems as a list in Markdown."""
    return "\n".join(f"- `{PREFIX}{kind}`: {text}" for kind, text in KINDS.items())
