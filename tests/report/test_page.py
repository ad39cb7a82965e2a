"""The page as text: nothing runs but our script and the library, nothing is fetched, nothing of the data is markup."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from html.parser import HTMLParser

import pytest

from tests.report.fleets import HOSTILE, facts, made_up
from tests.report.test_columns import unpacked
from workload_forecast.report.columns import pack_fleet
from workload_forecast.report.facts import Scored, summary
from workload_forecast.report.page import render


class Read(HTMLParser):
    """Tags with their attributes, the content of scripts by id (ours has none), and all other text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self._script = dict(attrs).get("id") or ""

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 — the signature is the parser's
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[self._script] = data
        elif self._inside != "style":
            self.text += f"{data}\n"


@pytest.fixture(scope="module")
def page() -> str:
    past = (Scored("<2016-06-28T23>", "7", 1920, 0.7512, 0.7),)
    return render(made_up(12).fleet, facts(scored=past))


@pytest.fixture(scope="module")
def read(page: str) -> Read:
    return Read(page)


def unzipped(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text, validate=True))


def test_only_the_two_scripts_may_run(read: Read) -> None:
    from plotly.offline import get_plotlyjs

    library = unzipped(read.scripts["library"]).decode()
    assert library == get_plotlyjs()
    policies = [of["content"] for tag, of in read.tags if of.get("http-equiv") == "Content-Security-Policy"]
    (policy,) = policies
    parts = dict(part.strip().split(" ", 1) for part in (policy or "").split(";"))
    hashes = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in (read.scripts[""], library)}
    assert set(parts["script-src"].split()) == {f"'sha256-{one}'" for one in hashes}
    assert parts["default-src"] == "'none'"
    assert parts["img-src"] == "data:"
    assert set(parts) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    kinds = [of.get("type") for tag, of in read.tags if tag == "script"]
    assert kinds == ["application/octet-stream", "application/octet-stream", None]


def test_nothing_refers_to_anything_elsewhere(read: Read) -> None:
    for tag, attributes in read.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "fetch(" not in read.scripts[""]
    assert "innerHTML" not in read.scripts[""]


def test_what_the_data_say_is_text(page: str, read: Read) -> None:
    """Servers are in the packed data alone; everything else is escaped."""
    for name in HOSTILE[::2]:
        assert name not in page
    assert {"img", "b", "mixture", "releases", "another"}.isdisjoint({tag for tag, _ in read.tags})
    for text in ("fleet <7>", "same-hour <mixture>", "Nothing is known of <releases>.", "<2016-06-28T23>", "0.751"):
        assert text in read.text
    assert set(HOSTILE) < set(unpacked(unzipped(read.scripts["data"]))["servers"])


def test_the_same_forecast_is_the_same_file(page: str) -> None:
    past = (Scored("<2016-06-28T23>", "7", 1920, 0.7512, 0.7),)
    assert render(made_up(12).fleet, facts(scored=past)) == page


def test_what_is_not_known_is_said() -> None:
    text = Read(render(made_up(4).fleet, facts(test=()))).text
    assert "Not known: the run that trained this version is gone" in text
    assert "No past forecast has been held against the loads that came yet." in text


def test_the_summary_counts_what_the_tables_hold() -> None:
    made = made_up(30)
    rows, plan = made.fleet.forecast.rows(named=True), made.fleet.plan.rows(named=True)
    low = sum(row["prediction"] == "low" for row in rows) / len(rows)
    found = summary(made.fleet.forecast, made.fleet.plan, "m")
    assert found["Hours"] == "48 from 2016-07-01 00:00 UTC"
    assert found["Machines that can be saved"] == f"{30 - len({row['machine'] for row in plan})} of 30"
    scaled = sum(row["action"] == "scale_out" for row in plan)
    assert scaled > 0
    assert found["Servers to scale out"] == f"{scaled}, which lack {2 * scaled} machines"
    assert found["Server hours"].startswith(f"low {low:.1%} · medium ")
    assert found["Answered by"] == f"model {29 / 30:.1%} · nobody {1 / 30:.1%}"


def test_ten_thousand_servers_are_some_megabytes() -> None:
    """A third of a kilobyte a server and page, besides the library; text alone would be ten times that."""
    made = made_up(1_000)
    assert len(gzip.compress(pack_fleet(made.fleet, {}), 6)) < 500 * 1_000


def test_style_and_script_end_nowhere_else(page: str) -> None:
    assert len(re.findall("</script", page, re.IGNORECASE)) == 3
    assert len(re.findall("</style", page, re.IGNORECASE)) == 1
