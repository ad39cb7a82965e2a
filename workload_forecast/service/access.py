"""Who is let in: bearer keys, before anything else of a request is looked at."""

from __future__ import annotations

import base64

from starlette.types import ASGIApp, Receive, Scope, Send

from workload_forecast.errors import SettingsError
from workload_forecast.service.entrance import header
from workload_forecast.service.keys import Key, Keys
from workload_forecast.service.logs import LOGGER
from workload_forecast.service.metrics import Metrics
from workload_forecast.service.problems import Refused

#: Paths that need no key.
OPEN = frozenset({"/ping", "/health", "/metrics", "/version", "/docs", "/openapi.json"})

#: Paths for browsers, which ask their user for a password and cannot send a bearer key. Only pages that are looked at:
#: a browser sends a password that it knows along with whatever another site makes it ask for.
BROWSED = frozenset({"/"})

_REALM = 'Bearer realm="workload-forecast"'
_BROWSER_REALM = 'Basic realm="workload-forecast: a key as the password, with any user name", charset="UTF-8"'
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
        given, browsed = header(scope, b"authorization"), scope["path"] in BROWSED
        realm = f"{_BROWSER_REALM}, {_REALM}" if browsed else _REALM
        if given is None:
            self.metrics.refused_keys.inc()
            raise Refused(401, "no-key", f"The request has no key. {_HOW}", {"WWW-Authenticate": realm})
        scheme, _, token = given.decode("latin-1").partition(" ")
        if browsed and scheme.lower() == "basic":
            scheme, token = "bearer", _password(token)
        try:
            key = self.keys.check(token.strip()) if scheme.lower() == "bearer" else None
        except SettingsError as problem:
            LOGGER.error("%s", problem)
            detail = "The service cannot read its keys; its log says why. Ask those who run it."
            raise Refused(503, "keys-unreadable", detail) from None
        if key is None:
            self.metrics.refused_keys.inc()
            refusal = {"WWW-Authenticate": f'{realm}, error="invalid_token"'}
            raise Refused(401, "no-key", f"The key opens nothing: unknown, revoked or expired. {_HOW}", refusal)
        return key


def _password(credentials: str) -> str:
    """Return the password of a Basic header, empty if there is none to be read."""
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode("latin-1").partition(":")[2]
    except ValueError:
        return ""
