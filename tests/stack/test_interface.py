"""MLflow's pages in a real browser: what a person sees after the main job."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browsers import chromium, complaints
from tests.stack.conftest import User
from tests.stack.job import EXPERIMENT, Job

pytestmark = [pytest.mark.stack, pytest.mark.spark]

#: A folder to keep the pictures in; else they go with the test's own.
PICTURES = "WORKLOAD_FORECAST_PICTURES"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser, analyst: User) -> Iterator[Page]:
    """A page of a browser that knows the analyst's login; what its console complains about fails the test."""
    login = {"username": analyst.name, "password": analyst.password}
    context = browser.new_context(http_credentials=login, viewport={"width": 1500, "height": 950})  # type: ignore[arg-type]
    context.set_default_timeout(60_000)
    # nothing but the server is asked: what the page looks for elsewhere is not for the test to depend on
    context.route(lambda url: not url.startswith(analyst.tracking.uri), lambda route: route.abort())
    opened = context.new_page()
    problems = complaints(opened)
    yield opened
    context.close()
    # a grid that takes a frame longer to lay itself out; browsers report it and nothing is wrong
    assert [problem for problem in problems if "ResizeObserver loop" not in problem] == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get(PICTURES) or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_experiment_is_listed_with_its_runs(page: Page, job: Job, analyst: User, pictures: Path) -> None:
    assert job.results
    page.goto(f"{analyst.tracking.uri}/#/experiments")
    link = page.get_by_role("link", name=EXPERIMENT, exact=True).first
    number = re.findall(r"/experiments/(\d+)", link.get_attribute("href") or "")[0]
    link.click()
    page.goto(f"{analyst.tracking.uri}/#/experiments/{number}/runs")
    expect(page.get_by_role("link", name="main", exact=True)).to_be_visible()
    page.get_by_role("gridcell", name="main").get_by_role("button").first.click()  # its steps are runs below it
    for step in ("etl", "train", "promote"):
        expect(page.get_by_role("link", name=step, exact=True)).to_be_visible()
    page.screenshot(path=pictures / "runs.png")


def test_the_registered_model_is_listed_with_its_version(page: Page, job: Job, analyst: User, pictures: Path) -> None:
    assert job.results
    page.goto(f"{analyst.tracking.uri}/#/models")
    page.get_by_role("button", name="Try it now").click()  # what MLflow tells everybody who comes for the first time
    page.get_by_role("link", name=EXPERIMENT, exact=True).last.click()
    expect(page).to_have_url(re.compile("/models/"))
    expect(page.get_by_role("link", name="Version 1").first).to_be_visible()
    page.screenshot(path=pictures / "model.png")
