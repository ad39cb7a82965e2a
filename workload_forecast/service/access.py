"""Who is let in: bearer keys, before anything else of a request is looked at."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from workload_forecast.errors import SettingsError
from workload_forecast.service.entrance import header
from workload_forecast.service.keys import Key, Keys
from workload_forecast.service.logs import LOGGER
from workload_forecast.service.metrics import Metrics
from workload_forecast.service.problems import Refused

#: Paths that need no key.
OPEN = frozenset({"/ping", "/health", "/metrics", "/version", "/docs", "/openapi.json"})

_REALM = 'Bearer realm="workload-forecast"'
_HOW = "Send the header 'Authorization: Bearer wf_…' with a key that `workload-forecast keys create` made."


class Access:
    """ASGI middleware; an HTTP request goes on only with a key, or to an open path."""

    def __init__(self, app: ASGIApp, keys: Keys, metrics: Metrics) -> None:
        self.app, self.keys, self.metrics = app, keys, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or answer 401."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                key = self._key(scope)
            except Refused as refused:
                await refused.response(scope)(scope, receive, send)
                return
            scope["state"]["key"] = key
            self.metrics.by_key.labels(key.name, key.prefix).inc()
        await self.app(scope, receive, send)

    def _key(self, scope: Scope) -> Key:
        given = header(scope, b"authorization")
        if given is None:
            self.metrics.refused_keys.inc()
            raise Refused(401, "no-key", f"The request has no key. {_HOW}", {"WWW-Authenticate": _REALM})
        scheme, _, token = given.decode("latin-1").partition(" ")
        try:
            key = self.keys.check(token.strip()) if scheme.lower() == "bearer" else None
        except SettingsError as problem:
            LOGGER.error("%s", problem)
            detail = "The service cannot read its keys; its log says why. Ask those who run it."
            raise Refused(503, "keys-unreadable", detail) from None
        if key is None:
            self.metrics.refused_keys.inc()
            refusal = {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'}
            raise Refused(401, "no-key", f"The key opens nothing: unknown, revoked or expired. {_HOW}", refusal)
        return key
