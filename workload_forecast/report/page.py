"""The page: template, stylesheet, script, chart library and data as one HTML text.

Nothing on it is fetched, and its own policy forbids it: what the data say, a server's name for one, is shown as text,
and were it ever taken for more, it could neither run nor tell anybody.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template

from workload_forecast.report.columns import Fleet, pack_fleet
from workload_forecast.report.facts import ACTIONS, SOURCES, Facts, Score, Scored, summary

#: The page's own script, in the order of use.
SCRIPTS = ("data.js", "charts.js", "report.js")

#: The chart library needs styles of its own and draws a heat map into an image.
_POLICY = (
    "default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def render(fleet: Fleet, facts: Facts) -> str:
    """Return the page of a forecast.

    Raises:
        DataError: see :func:`~workload_forecast.report.columns.pack_fleet`.
    """
    from plotly.offline import get_plotlyjs  # a second, for those who make a report

    library, script = get_plotlyjs(), "".join(_text(name) for name in SCRIPTS)
    said = summary(fleet.forecast, fleet.plan, facts.model)
    words = {"reasonWords": dict(facts.reasons), "actionWords": ACTIONS, "sourceWords": SOURCES}
    data = pack_fleet(fleet, {"low": facts.low, "high": facts.high, **words})
    return Template(_text("page.html")).substitute(
        policy=_POLICY.format(hashes=" ".join(_hash(text) for text in (script, library))),
        title=escape(f"{facts.model}: {said['Hours']}"),
        style=_text("style.css"),
        summary=_list(said),
        test=_scores(facts.test, facts.naive),
        scored=_scored(facts.scored),
        card=_list(facts.card),
        limits="".join(f"<li>{escape(sentence)}</li>" for sentence in facts.limits),
        data=_packed(data),
        library=_packed(library.encode()),
        script=script,
    )


def _text(name: str) -> str:
    return files("workload_forecast.report").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'"


def _packed(data: bytes) -> str:
    """As the page's script unpacks it; the same data give the same text."""
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def _list(values: Mapping[str, str]) -> str:
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items())


def _scores(scores: Sequence[Score], naive: str) -> str:
    if not scores:
        return "<p>Not known: the run that trained this version is gone, or from before it was kept.</p>"
    rows = ([score.metric, *map(_number, (score.said, score.model, score.naive))] for score in scores)
    best = f"best naive forecast ({naive})" if naive else "best naive forecast"
    return _table("On the test period, which the model had not seen", ("", "said in operation", "model", best), rows)


def _scored(past: Sequence[Scored]) -> str:
    if not past:
        return "<p>No past forecast has been held against the loads that came yet.</p>"
    rows = ([one.origin, one.version, f"{one.hours:,}", _number(one.macro_f1), _number(one.naive)] for one in past)
    head = ("forecast after", "version", "server hours", "macro-F1", "macro-F1 of the last known same hour")
    return _table("Past forecasts, held against what came", head, rows)


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(value)}</td>" for value in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
