"""The app: routes, and around them, from the outside in, entrance, access and limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from workload_forecast import __version__
from workload_forecast.service.access import BROWSED, OPEN, Access
from workload_forecast.service.entrance import Entrance
from workload_forecast.service.keys import Keys
from workload_forecast.service.limits import Limits
from workload_forecast.service.metrics import Metrics
from workload_forecast.service.openapi import describe_problems, document
from workload_forecast.service.options import ServiceOptions
from workload_forecast.service.problems import Refused, on_http_exception, on_refused
from workload_forecast.service.routes import router
from workload_forecast.service.service import Service

#: Paths that metrics and logs name.
ROUTES = OPEN | BROWSED | {"/forecast", "/score", "/invocations"}

_ABOUT = f"""
Load classes of servers for the next 48 hours. All times are UTC.

Every answer carries `X-Request-Id`, the caller's own if it is a plain word. Errors are problem documents (RFC 9457)
with one of these types:

{describe_problems()}
"""


def create_app(options: ServiceOptions) -> FastAPI:
    """Return the app; it begins to load and to follow the exchange when it is started, not before."""
    metrics = Metrics()
    service = Service(options, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.stop()

    app = _App(
        title="Workload forecast", version=__version__, description=_ABOUT, lifespan=lifespan,
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.service = service
    app.include_router(router(service))
    app.add_exception_handler(Refused, on_refused)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_middleware(Limits, options=options, metrics=metrics)
    app.add_middleware(Access, keys=Keys(options.keys), metrics=metrics)
    app.add_middleware(Entrance, metrics=metrics, routes=frozenset(ROUTES))
    return app


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if not self.openapi_schema:
            self.openapi_schema = document(self, OPEN)
        return self.openapi_schema
