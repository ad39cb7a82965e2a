"""What docs/serving.md says of endpoints, limits, options, metrics and variables is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workload_forecast.cli import cli
from workload_forecast.service.access import OPEN
from workload_forecast.service.metrics import Metrics
from workload_forecast.service.options import ServiceOptions
from workload_forecast.service.problems import KINDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def test_the_paths_that_need_no_key_are_those() -> None:
    rows = [line for line in section("Endpoints").splitlines() if line.startswith("| `")]
    without = {path for row in rows if row.split("|")[2].strip() == "no" for path in re.findall(r"GET (/[\w.]+)", row)}
    keyed = {path for row in rows if row.split("|")[2].strip() == "yes" for path in re.findall(r"POST (/\w+)", row)}
    assert without == set(OPEN)
    assert keyed == {"/forecast", "/score", "/invocations"}
    assert [row for row in rows if row.startswith("| `GET /` | yes, or as a password |")]


def test_the_limits_are_the_services_own() -> None:
    given, text = ServiceOptions(Path(), Path()), section("Limits")
    for what, shown in {
        "| body |": f"| {given.max_body_bytes // 2**20} MiB |",
        "| rows of": f"| {given.max_rows:,} |",
        "| servers of": f"| {given.max_servers:,} |",
        "| requests that": f"| {given.max_concurrent} |",
        "| time for": f"| {given.request_timeout_s:.0f} s each |",
    }.items():
        [row] = [line for line in text.splitlines() if line.startswith(what)]
        assert shown in row


@pytest.mark.parametrize("command", ["serve", "follow"])
def test_every_option_is_there(command: str) -> None:
    options = {
        option for part in cli.commands[command].params if not getattr(part, "hidden", False) for option in part.opts
    }
    named = set(re.findall(r"`(--[a-z-]+)`", section("Settings")))
    assert options <= named
    assert named <= {
        option for name in ("serve", "follow") for part in cli.commands[name].params for option in part.opts
    }


def test_the_metrics_are_there() -> None:
    text = Metrics().text().decode()
    named = re.findall(r"`(?:workload_forecast|…)(_\w+)", section("Watching it") + section("Keys"))
    assert len(named) >= 11
    for name in named:
        assert f"# TYPE workload_forecast{name} " in text, name


def test_the_kinds_of_problems_are_there() -> None:
    named = set(re.findall(r"^\| \d{3} `([a-z-]+)`", section("Troubleshooting"), re.MULTILINE))
    assert named
    assert named <= set(KINDS)


def test_the_variables_of_the_compose_file_are_told() -> None:
    compose = (ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{(SERVICE_\w+)", compose))
    prefixes = {"…_STORAGE_ACCESS_KEY": "SERVICE_STORAGE_ACCESS_KEY", "…_CLIENT_ID": "SERVICE_AZURE_CLIENT_ID"}
    prefixes["…_CLIENT_SECRET"] = "SERVICE_AZURE_CLIENT_SECRET"
    told = set(re.findall(r"SERVICE_[A-Z_]+[A-Z]", TEXT)) | {full for short, full in prefixes.items() if short in TEXT}
    assert used == told


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    for link in links:
        file, _, heading = link.partition("#")
        path = ROOT / "docs" / file
        assert path.is_file(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {title.lower().replace(" ", "-") for title in titles}, link
