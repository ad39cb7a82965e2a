"""The page ``/docs``: the OpenAPI document as plain HTML, made here.

The usual page loads its program from a content delivery network, which closed networks do not reach, and packages
that ship that program bring megabytes of script to keep up with. This one needs neither script nor network; what it
lacks, the button that sends a request, the lines for ``curl`` make up for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

#: No script, no frame, nothing from elsewhere.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{margin-bottom:0}code,pre{font:14px/1.45 ui-monospace,monospace}pre{background:#f4f6f8;padding:.8rem;overflow:auto;
border-radius:6px;max-height:28rem}details{border:1px solid #d5dae0;border-radius:8px;margin:.7rem 0;padding:.6rem 1rem}
summary{cursor:pointer}.m{display:inline-block;min-width:3.6rem;font-weight:700;color:#fff;border-radius:4px;
text-align:center;margin-right:.6rem;background:#1f6feb}.m.post{background:#1a7f37}table{border-collapse:collapse}
td,th{text-align:left;vertical-align:top;padding:.2rem .9rem .2rem 0;border-bottom:1px solid #e6e9ed}.k{color:#7a4b00}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}pre{background:#161b22}
details{border-color:#30363d}td,th{border-color:#21262d}.k{color:#e3b341}}
"""


def page(document: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    info = document["info"]
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(
        f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>"
        for name, schema in document["components"]["schemas"].items()
    )
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])}</h1><p>Version {escape(info['version'])} · "
        f"<a href='openapi.json'>OpenAPI document</a></p>{_prose(info.get('description', ''))}"
        f"<h2>Requests</h2>{operations}<h2>Bodies</h2>{schemas}</body></html>"
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    key = "<span class=k>needs a key</span>" if operation.get("security") else ""
    content = operation.get("requestBody", {}).get("content", {})
    examples = {
        name: example["value"] for part in content.values() for name, example in part.get("examples", {}).items()
    }
    asked = "".join(
        f"<p>{escape(name)}</p><pre>{escape(_curl(path, method, value, key=bool(key)))}</pre>"
        for name, value in (examples or {"Example": None}).items()
    )
    rows = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{escape(response['description'])}</td>"
        f"<td>{_types(response)}</td></tr>"
        for status, response in operation["responses"].items()
    )
    return (
        f"<details open><summary><span class='m {method}'>{method.upper()}</span><code>{escape(path)}</code> "
        f"{escape(operation.get('summary', ''))} {key}</summary>{_prose(operation.get('description', ''))}{asked}"
        f"<table><tr><th>Status</th><th>When</th><th>Body</th></tr>{rows}</table></details>"
    )


def _curl(path: str, method: str, value: Any, *, key: bool) -> str:
    lines = [f"curl -X {method.upper()} http://127.0.0.1:8080{path}"]
    if key:
        lines.append('-H "Authorization: Bearer $WORKLOAD_FORECAST_API_KEY"')
    if value is not None:
        text = value if isinstance(value, str) else json.dumps(value)
        lines += ["-H 'Content-Type: application/json'", f"-d '{text}'"]
    return " \\\n  ".join(lines)


def _types(response: Mapping[str, Any]) -> str:
    parts = []
    for kind, content in response.get("content", {}).items():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        link = f" <a href='#{escape(name)}'><code>{escape(name)}</code></a>" if name else ""
        parts.append(f"{escape(kind)}{link}")
    return "<br>".join(parts)


def _prose(text: str) -> str:
    """Paragraphs and lists of a little Markdown: backquotes are code, lines that begin with a dash are a list."""
    blocks = []
    for block in filter(None, text.strip().split("\n\n")):
        lines = block.splitlines()
        if all(line.startswith("- ") for line in lines):
            blocks.append("<ul>" + "".join(f"<li>{_marked(line[2:])}</li>" for line in lines) + "</ul>")
        else:
            blocks.append(f"<p>{_marked(block)}</p>")
    return "".join(blocks)


def _marked(text: str) -> str:
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=1))}</pre>"
