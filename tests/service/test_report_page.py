"""``GET /``: the newest report as it is, for whoever has a key, by a browser's password or as a bearer."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.service.worlds import World, check_problem, served
from workload_forecast.service.exchange import ServedReport

NOTE = ServedReport("k1", "workload-forecast", "3", "2016-06-30T23", "2016-07-01T00:00:00+00:00")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Keys and nothing else: the page needs neither a model nor a history."""
    made = World(tmp_path)
    made.token = made.keys.create("a person")[1]
    return made


def put(world: World, text: str) -> None:
    file = world.folder / "report.html"
    file.write_text(text, encoding="utf-8")
    world.exchange.put_report(NOTE, file)


def basic(password: str, user: str = "anybody") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def test_the_report_is_answered_as_it_is_and_a_newer_one_without_a_restart(world: World) -> None:
    put(world, "<!doctype html><p>é one</p>")
    with served(world, ready=False) as client:
        first = client.get("/")
        assert (first.status_code, first.text) == (200, "<!doctype html><p>é one</p>")
        assert first.headers["content-type"] == "text/html; charset=utf-8"
        assert first.headers["cache-control"] == "private, no-cache"
        policy = first.headers["content-security-policy"]
        assert {"default-src 'none'", "frame-ancestors 'none'"} <= {part.strip() for part in policy.split(";")}
        again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        put(world, "two")
        newer = client.get("/", headers={"If-None-Match": first.headers["etag"]})
        assert (newer.status_code, newer.text) == (200, "two")


def test_a_browser_is_asked_for_a_password_which_is_a_key(world: World) -> None:
    put(world, "report")
    with served(world, ready=False) as client:
        refused = client.get("/", headers={"Authorization": ""})
        check_problem(refused, 401, "no-key")
        assert refused.headers["www-authenticate"].startswith('Basic realm="')
        for user in ("anybody", "", "é"):
            assert client.get("/", headers=basic(world.token, user)).text == "report"
        assert client.get("/", headers=world.headers).text == "report"
        assert 'key_requests_total{name="a person"' in client.get("/metrics").text


@pytest.mark.parametrize(
    "header",
    [
        basic("wf_00000000_" + "A" * 43),
        basic(""),
        {"Authorization": "Basic"},
        {"Authorization": "Basic ?"},
        {"Authorization": "Basic wf_"},
        {"Authorization": "Digest x"},
        {"Authorization": "Bearer x"},
    ],
)
def test_a_wrong_password_opens_nothing(world: World, header: dict[str, str]) -> None:
    put(world, "report")
    with served(world, ready=False) as client:
        check_problem(client.get("/", headers=header), 401, "no-key")


def test_a_revoked_key_opens_nothing(world: World) -> None:
    put(world, "report")
    with served(world, ready=False) as client:
        key, token = world.keys.create("leaving")
        assert client.get("/", headers=basic(token)).status_code == 200
        world.keys.revoke(key.prefix)
        check_problem(client.get("/", headers=basic(token)), 401, "no-key")


@pytest.mark.parametrize("path", ["/forecast", "/score", "/invocations", "/nothing"])
def test_a_password_is_taken_for_the_page_alone(world: World, path: str) -> None:
    """A browser sends it along with whatever another site makes it ask for."""
    with served(world, ready=False) as client:
        refused = client.post(path, headers=basic(world.token), json={})
        check_problem(refused, 401, "no-key")
        assert refused.headers["www-authenticate"].startswith("Bearer realm=")


def broken(world: World, how: str) -> None:
    if how == "gone":
        put(world, "report")
        for file in (world.exchange.folder / "reports").iterdir():
            file.unlink()
    elif how == "no note":
        world.exchange.folder.mkdir()
        (world.exchange.folder / "report.json").write_text("{")


@pytest.mark.parametrize("how", ["never", "gone", "no note"])
def test_without_a_report_it_says_what_to_do(world: World, how: str) -> None:
    broken(world, how)
    with served(world, ready=False) as client:
        found: dict[str, Any] = check_problem(client.get("/"), 404, "no-report")
        assert "mlflow run . -e forecast" in found["detail"]
        page = client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
        assert (page.status_code, page.headers["cache-control"]) == (404, "no-store")
        assert page.headers["content-type"].startswith("text/html")
        assert "<code>mlflow run . -e forecast</code>" in page.text
