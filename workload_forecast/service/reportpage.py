"""The page at ``/``: the newest forecast's report, as the follower has handed it over."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from workload_forecast.errors import SettingsError
from workload_forecast.service.exchange import Exchange
from workload_forecast.service.problems import Refused

#: Besides the page's own policy, which is stricter and goes with the file wherever it goes: in nobody's frame.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

_MISSING = (
    "No forecast's report has come to this service yet. Make one with `mlflow run . -e forecast`; the follower finds "
    "it within a minute. If it does not, its log says why."
)

#: For a person with a browser, who is not helped by a problem document.
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>No report yet</title></head>
<body><h1>No report yet</h1><p>No forecast's report has come to this service. Make one with
<code>mlflow run . -e forecast</code>; the follower finds it within a minute. If it does not, its log says why.</p>
<p><a href="docs">The service's other pages</a></p></body></html>
"""


def report_page(request: Request, exchange: Path) -> Response:
    """Answer ``/``: a file as it is, or 304 where the browser has it already.

    Raises:
        Refused: 404, there is none yet.
    """
    try:
        note = Exchange(exchange).report()
    except SettingsError:
        note = None  # the follower writes another one when it looks next
    if note is None or not (exchange / note.path).is_file():
        if "text/html" in request.headers.get("accept", ""):
            return Response(_PAGE, 404, {"Cache-Control": "no-store", "Content-Security-Policy": POLICY}, "text/html")
        raise Refused(404, "no-report", _MISSING)
    tag = f'"{Path(note.path).stem}"'  # another file has another name
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "private, no-cache", "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    return FileResponse(exchange / note.path, headers=headers, media_type="text/html")
