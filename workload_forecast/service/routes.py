"""The paths of the service."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from workload_forecast import __version__
from workload_forecast.service import metrics as prometheus
from workload_forecast.service.apipage import POLICY, page
from workload_forecast.service.bodies import ForecastAnswer, ScoreAnswer
from workload_forecast.service.openapi import problems
from workload_forecast.service.problems import problem
from workload_forecast.service.reportpage import report_page
from workload_forecast.service.service import Service

_ASKED = (400, 401, 408, 413, 422, 503)


def router(service: Service) -> APIRouter:
    """Return the routes; bodies are read by the service itself, faster and stricter than the framework's way."""
    routes = APIRouter()

    @routes.post(
        "/forecast", summary="The classes of the hours to come", response_model=ForecastAnswer, tags=["answers"],
        responses=problems(*_ASKED),
    )  # fmt: skip
    async def forecast(request: Request) -> Response:
        """Class and probabilities of each hour, for one server or several; with `load`, the load in numbers, too.

        A server that is unknown, or too new, is answered by a naive forecast (`baseline`) or by `none`: it is never
        left out. Starts in the past know nothing newer than themselves.
        """
        return _json(await service.forecast(await request.body()))

    @routes.post(
        "/score", summary="The classes of feature rows", response_model=ScoreAnswer, tags=["answers"],
        responses=problems(*_ASKED),
    )  # fmt: skip
    async def score(request: Request) -> Response:
        """Class and probabilities of each row, in their order."""
        return _json(await service.score(await request.body()))

    @routes.post(
        "/invocations", summary="MLflow's scoring protocol", tags=["answers"], responses=problems(*_ASKED, 415),
    )  # fmt: skip
    async def invocations(request: Request) -> dict[str, list[dict[str, Any]]]:
        """Feature rows; or, with the parameter `start`, hourly load to forecast from: as the logged model does."""
        content_type = request.headers.get("content-type", "")
        return _json(await service.invoke(await request.body(), content_type))  # type: ignore[return-value]

    @routes.get(
        "/", summary="The newest forecast's report", tags=["answers"], response_class=Response,
        responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}, **problems(401, 404, 503)},
    )  # fmt: skip
    async def report(request: Request) -> Response:
        """One page with every server's hours and the capacity plan; a browser asks for a key as the password."""
        return report_page(request, service.options.exchange)

    _probes(routes, service)
    return routes


def _probes(routes: APIRouter, service: Service) -> None:
    @routes.get("/ping", summary="Whether the process lives", tags=["operation"])
    async def ping() -> dict[str, str]:
        """Always 200."""
        return _json(b'{"status":"alive"}')  # type: ignore[return-value]

    @routes.get(
        "/health", summary="Whether the service is ready", tags=["operation"], responses=problems(503),
    )  # fmt: skip
    async def health(request: Request) -> dict[str, Any]:
        """200 when a model and a history are loaded, and the history is not too old; the body says which."""
        wrong, facts = service.health()
        if wrong:
            return problem(request.scope, 503, "not-ready", wrong, **facts)  # type: ignore[return-value]
        return _json(orjson.dumps({"status": "ready", **facts}))  # type: ignore[return-value]

    @routes.get("/version", summary="What runs here", tags=["operation"])
    async def version() -> dict[str, Any]:
        """The version of the project and of the model."""
        facts = service.health()[1]
        return _json(orjson.dumps({"version": __version__, "model": facts["model"]}))  # type: ignore[return-value]

    @routes.get(
        "/metrics", summary="Metrics for Prometheus", tags=["operation"], response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )  # fmt: skip
    async def metrics() -> Response:
        """In Prometheus' text format."""
        return Response(service.metrics.text(), media_type=prometheus.CONTENT_TYPE)

    @routes.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> Response:
        return _json(orjson.dumps(request.app.openapi()))

    @routes.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return Response(
            page(request.app.openapi()), media_type="text/html", headers={"Content-Security-Policy": POLICY}
        )


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")
