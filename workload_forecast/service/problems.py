"""Problem documents (RFC 9457): the one form of every error that the service answers."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

CONTENT_TYPE = "application/problem+json"

#: Before the name of the problem in ``type``.
PREFIX = "urn:workload-forecast:problem:"

#: Name in ``type`` → when it comes.
KINDS: Mapping[str, str] = {
    "bad-request": "The body is not JSON (or CSV), or nested too deep, or names a wrong protocol.",
    "no-key": "The request has no key, or one that opens nothing.",
    "not-found": "There is nothing at this path.",
    "no-report": "No forecast's report has come to the service yet.",
    "method-not-allowed": "The path does not take this method; `Allow` names those it takes.",
    "body-too-slow": "The body did not arrive in time.",
    "body-too-large": "The body is larger than the service takes.",
    "wrong-content-type": "The body is of a type that the path does not take.",
    "invalid": "The body is JSON, but says something that cannot be answered; `errors` names what.",
    "internal": "A defect of the service. Its log has the details under the request's id.",
    "busy": "As many requests are being worked on as the service takes; ask again after `Retry-After` seconds.",
    "too-slow": "The answer could not be given in time.",
    "not-ready": "No model, or no history, is loaded yet, or the history is too old.",
    "keys-unreadable": "The service cannot read its keys, so it lets nobody in.",
}


class Refused(Exception):
    """A request is not answered; carries what :func:`problem` needs."""

    def __init__(
        self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.headers, self.extra = status, kind, detail, headers, extra

    def response(self, scope: Scope) -> Response:
        """Return the answer."""
        return problem(scope, self.status, self.kind, self.detail, self.headers, **self.extra)


def problem(
    scope: Scope, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None, **extra: Any
) -> Response:
    """Return a problem document.

    Args:
        scope: of the request; its id becomes ``instance``.
        status: of HTTP.
        kind: one of :data:`KINDS`.
        detail: what is wrong, where, and what to do next.
        headers: further headers.
        extra: further members of the document.
    """
    document = {
        "type": PREFIX + kind,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request_id(scope),
        **extra,
    }
    return Response(orjson.dumps(document), status, dict(headers or {}), CONTENT_TYPE)


def request_id(scope: Scope) -> str:
    """Return the request's id; empty outside of a request."""
    return str(scope.get("state", {}).get("request_id", ""))


def invalid(detail: str, where: str = "") -> Refused:
    """Return the 422 of a single error."""
    return Refused(422, "invalid", detail, errors=[{"where": where, "what": detail}])


async def on_refused(request: Request, refused: Exception) -> Response:
    """Answer :class:`Refused`."""
    assert isinstance(refused, Refused)
    return refused.response(request.scope)


async def on_http_exception(request: Request, exception: Exception) -> Response:
    """Answer what the framework itself refuses: unknown paths and methods."""
    status = getattr(exception, "status_code", 500)
    headers = getattr(exception, "headers", None)
    if status == 404:
        return problem(request.scope, 404, "not-found", "There is nothing here; GET /docs shows what there is.")
    if status == 405:
        detail = f"{request.method} is not possible here; see the header Allow."
        return problem(request.scope, 405, "method-not-allowed", detail, headers)
    detail = str(getattr(exception, "detail", "")) or HTTPStatus(status).phrase
    return problem(request.scope, status, "bad-request" if status < 500 else "internal", detail, headers)
