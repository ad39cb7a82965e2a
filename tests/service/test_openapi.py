"""The OpenAPI document says what the service does, and its page needs no network."""

from __future__ import annotations

import re
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service.worlds import World
from workload_forecast.schemas import LOAD_NUMBERS
from workload_forecast.service.app import ROUTES, create_app
from workload_forecast.service.bodies import Answer, Hour

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture(scope="session")
def schema(client: TestClient) -> Any:
    return schemathesis.openapi.from_dict(client.get("/openapi.json").json())


MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
MADE_UP = [
    *((path, "POST", mode) for path in ("/forecast", "/score", "/invocations") for mode in MODES),
    *(
        (path, "GET", schemathesis.GenerationMode.POSITIVE)
        for path in ("/", "/health", "/ping", "/version", "/metrics")
    ),
]


@pytest.mark.parametrize(("path", "method", "mode"), MADE_UP)
def test_made_up_requests_are_answered_as_the_document_says(
    client: TestClient, schema: Any, path: str, method: str, mode: schemathesis.GenerationMode
) -> None:
    operation = schema[path][method]

    @settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate], database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        kwargs = case.as_transport_kwargs()
        kwargs = {name: kwargs[name] for name in ("json", "data", "content", "headers") if name in kwargs}
        answer = client.request(
            case.method, path, **{**kwargs, "headers": {**(kwargs.get("headers") or {}), **client.headers}}
        )
        response = schemathesis.Response.from_any(answer)
        case.validate_response(response, checks=CHECKS)

    run()


def test_the_document_names_every_path_its_key_and_its_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == ROUTES - {"/docs", "/openapi.json"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            needs_key = client.request("POST", path, headers={"Authorization": ""}).status_code == 401
            assert bool(operation["security"]) == needs_key
            assert operation["summary"]
            assert operation["description"]
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    assert list(response["content"]) == ["application/problem+json"], (path, status)


def test_an_hour_has_every_number_of_the_load() -> None:
    plain = Answer.model_fields.keys() | {"hour"}
    assert [name for name in Hour.model_fields if name not in plain] == list(LOAD_NUMBERS)


def test_the_examples_are_answered(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path in ("/forecast", "/score", "/invocations"):
        examples = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        for example in examples.values():
            value = {k: v for k, v in example["value"].items() if k != "start"}  # the history of these tests is another
            assert client.post(path, json=value).status_code == 200
    for example in document["components"]["schemas"]["ForecastRequest"]["examples"]:
        assert client.post("/forecast", json={k: v for k, v in example.items() if k != "start"}).status_code == 200


def test_the_page_shows_everything_and_fetches_nothing(client: TestClient) -> None:
    response = client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    for path in ROUTES - {"/docs", "/openapi.json"}:
        assert f"<code>{path}</code>" in response.text
    assert not re.search(r"<(script|img|link|iframe)|src=|@import|url\(", response.text)
    assert set(re.findall(r"href='([^#'][^']*)'", response.text)) == {"openapi.json"}
    for target in re.findall(r"href='#([^']+)'", response.text):
        assert f"id='{target}'" in response.text


def test_making_the_app_starts_and_reads_nothing(world: World) -> None:
    app = create_app(world.options())
    assert app.state.service.holder.current.model is None
    assert not app.state.service.holder._thread.is_alive()
