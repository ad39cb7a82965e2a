"""The page in a real browser, opened as a file: what a person with a mouse, a keyboard or a phone can do with it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from tests.browsers import chromium, complaints
from tests.report.fleets import HIGH, HOSTILE, LOW, Made, facts, made_up
from tests.service.worlds import World, eventually
from workload_forecast.report.page import render
from workload_forecast.service.app import create_app
from workload_forecast.service.exchange import ServedReport

pytestmark = pytest.mark.stack

#: Servers on a page.
SHOWN = 50

Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def made() -> Made:
    return made_up(120)


@pytest.fixture(scope="module")
def file(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(made.fleet, facts()), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser: Browser, file: Path) -> Iterator[Opened]:
    """Open the page; whatever it complains about, or asks for besides itself, fails the test."""
    problems: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_page(path: Path = file, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1300, "height": 900}, **options})
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        heard = complaints(page)
        problems_of.append(heard)
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.goto(path.as_uri())
        expect(page.locator("#map .heatmaplayer image")).to_have_count(1)
        return page

    problems_of: list[list[str]] = []
    yield open_page
    for context in contexts:
        context.close()
    assert problems + [line for heard in problems_of for line in heard] == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == len(contexts), asked


def servers(page: Page) -> list[str]:
    return page.locator("#plan tbody th").all_inner_texts()


def high_hours(made: Made, name: str) -> int:
    return sum(load is not None and load > HIGH for load in made.expected[name])


def test_it_opens_with_the_busiest_servers(opened: Opened, made: Made) -> None:
    page = opened()
    found = servers(page)
    assert len(found) == SHOWN
    counts = [high_hours(made, name) for name in found]
    assert counts == sorted((high_hours(made, name) for name in made.expected), reverse=True)[:SHOWN]
    expect(page.locator("#shown")).to_have_text("1–50 of 120 servers")
    assert page.locator("#map .yaxislayer-above .ytick text, #map .ytick text").count() == SHOWN
    for title in ("The hours to come", "The plan", "Accuracy so far", "The model"):
        expect(page.get_by_role("region", name=title).first).to_be_visible()
    expect(page.get_by_role("row", name="macro-F1 0.800 0.790 0.750")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "en"


def test_filters_leave_what_is_asked_for(opened: Opened, made: Made) -> None:
    page = opened()
    page.get_by_label("Server", exact=True).fill("10.0.0.1")
    wanted = {name for name in made.expected if "10.0.0.1" in name}
    assert set(servers(page)) == wanted
    expect(page.get_by_role("status")).to_have_text(f"1–{len(wanted)} of {len(wanted)} servers")
    expect(page.locator("#map .ytick text")).to_have_count(len(wanted))
    page.get_by_label("Action", exact=True).select_option(label="scale out")
    plan = dict(made.fleet.plan.select("server", "action").rows())
    assert set(servers(page)) == {name for name in wanted if plan[name] == "scale_out"} != set()
    page.get_by_label("Server", exact=True).fill("")
    page.get_by_label("Action", exact=True).select_option(label="any")
    page.get_by_label("Hours", exact=True).select_option(label="some unknown")
    assert servers(page) == [max(made.expected)]
    page.get_by_label("Server", exact=True).fill("nobody")
    expect(page.get_by_role("status")).to_have_text("no server is like that")
    assert servers(page) == []


def test_sorting_and_paging_go_through_the_whole_fleet(opened: Opened, made: Made) -> None:
    page = opened()
    page.get_by_label("Sort by").select_option(label="name")
    found = []
    for last in (False, False, True):
        found += servers(page)
        expect(page.get_by_role("button", name="Next")).to_be_disabled() if last else page.get_by_role(
            "button", name="Next"
        ).click()
    plain = [name for name in found if name not in HOSTILE]
    assert plain == sorted(plain, key=lambda name: [int(part) for part in name.split(".")])
    assert sorted(found) == sorted(made.expected)
    head = page.get_by_role("columnheader", name="Peak load")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#shown")).to_have_text("1–50 of 120 servers")
    peaks = {row["server"]: row["peak_load"] for row in made.fleet.plan.rows(named=True)}
    known = sorted((peak for peak in peaks.values() if peak is not None), reverse=True)
    assert [peaks[name] for name in servers(page)] == known[:SHOWN]
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert [peaks[name] for name in servers(page)] == known[::-1][:SHOWN]
    assert page.locator("th[aria-sort]").count() == 1


def test_the_keyboard_alone_opens_a_server_and_comes_back(opened: Opened, made: Made) -> None:
    page = opened()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the plan")).to_be_focused()
    page.keyboard.press("Enter")
    first = page.locator("#plan tbody button").first
    for _ in range(20):
        page.keyboard.press("Tab")
        if first.evaluate("button => button === document.activeElement"):
            break
    expect(first).to_be_focused()
    name = servers(page)[0]
    page.keyboard.press("Enter")
    window = page.get_by_role("dialog", name=name)
    expect(window).to_be_visible()
    expect(page.locator("#load .scatterlayer .trace")).to_have_count(7)
    expect(window).to_contain_text("its peak exceeds")
    expect(page.locator("#load")).to_contain_text("high above")
    window.locator("summary").focus()
    page.keyboard.press("Enter")
    classes = page.locator("#hours tbody td:nth-child(2)").all_inner_texts()
    loads = [load for load in made.expected[name] if load is not None]
    assert classes == ["low" if load <= LOW else "medium" if load <= HIGH else "high" for load in loads]
    page.keyboard.press("Escape")
    expect(window).not_to_be_visible()
    expect(first).to_be_focused()


def test_a_cell_of_the_map_opens_its_server(opened: Opened) -> None:
    page = opened()
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map .nsewdrag").bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 2.5 * box["height"] / SHOWN)
    expect(page.get_by_role("dialog", name=servers(page)[2], exact=True)).to_be_visible()


def test_odd_names_are_names(opened: Opened) -> None:
    """Neither of ours nor of the chart library's markup; the policy is not even asked."""
    page = opened()
    for name in HOSTILE:
        page.get_by_label("Server", exact=True).fill(name)
        assert servers(page) == [name]
        expect(page.locator("#map .ytick text")).to_have_text([re.compile(rf"^{re.escape(name[:23])}")])
        page.locator("#plan tbody button").first.click()
        expect(page.locator("#server-name")).to_have_text(name)
        page.get_by_role("button", name="Close").click()
    assert page.locator("img, #map a, #map b").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_and_page_follow_light_and_dark(opened: Opened, scheme: str) -> None:
    """Text stands out from what is behind it, by the formula of the WCAG (AA: 4.5)."""
    page = opened(color_scheme=scheme)
    other = {"light": "dark", "dark": "light"}[scheme]
    for now in (scheme, other):  # the second one while the page is open
        page.emulate_media(color_scheme=now)  # type: ignore[arg-type]
        text = page.evaluate("getComputedStyle(document.body).color")
        tick = page.locator("#map .ytick text").first
        expect(tick).to_have_css("fill", text)
        behind = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert contrast(text, behind) > 7
        assert (luminance(behind) < 0.1) == (now == "dark")
        for kind in ("low", "medium", "high", "unknown"):
            mark = page.locator(f"#legend .{kind}")
            colour, ground = (
                mark.evaluate(f"mark => getComputedStyle(mark).{name}") for name in ("color", "backgroundColor")
            )
            assert contrast(colour, ground) >= 4.5, kind


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_phone_shows_all_of_it_without_scrolling_sideways(opened: Opened) -> None:
    page = opened(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#plan tbody button").first.tap()
    window = page.get_by_role("dialog")
    expect(window).to_be_visible()
    expect(page.locator("#load .scatterlayer .trace")).to_have_count(7)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert window.evaluate("window => window.scrollWidth <= window.clientWidth")
    box = page.locator("#load .main-svg").first.bounding_box()
    assert box
    assert box["width"] <= 390
    page.get_by_role("button", name="Close").tap()
    expect(window).not_to_be_visible()


def test_ten_thousand_servers_stay_usable(opened: Opened, tmp_path: Path) -> None:
    """What is on the page does not grow with the fleet, and each filter is answered before the next key."""
    made = made_up(10_000)
    (tmp_path / "large.html").write_text(render(made.fleet, facts()), encoding="utf-8")
    small, large = opened(), opened(tmp_path / "large.html")
    expect(large.locator("#shown")).to_have_text("1–50 of 10,000 servers")
    nodes = [page.evaluate("document.querySelectorAll('*').length") for page in (small, large)]
    assert nodes[1] < 1.2 * nodes[0]
    large.get_by_label("Server", exact=True).press_sequentially("10.0.7.24")
    wanted = {name for name in made.expected if "10.0.7.24" in name}
    assert set(servers(large)) == wanted
    expect(large.locator("#map .ytick text")).to_have_count(len(wanted))
    large.get_by_label("Server", exact=True).fill("")
    large.get_by_label("Sort by").select_option(label="name")
    assert large.locator("#plan tbody tr").count() == SHOWN
    large.locator("#plan tbody button").last.click()
    expect(large.locator("#load .scatterlayer .trace")).to_have_count(7)


def test_the_service_shows_it_to_a_browser_that_is_asked_for_a_password(
    browser: Browser, file: Path, tmp_path: Path
) -> None:
    """With the service's own headers around the page's policy; nothing else is asked of the service."""
    world = World(tmp_path)
    world.exchange.put_report(ServedReport("k", "m", "1", "2016-06-30T23", "2016-07-01T00:00:00+00:00"), file)
    token = world.keys.create("a person")[1]
    with listening(world) as address:
        login = {"username": "anybody", "password": token}
        context = browser.new_context(http_credentials=login)  # type: ignore[arg-type]
        page = context.new_page()
        heard, asked = complaints(page), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        expect(page.locator("#map .ytick text")).to_have_count(SHOWN)
        context.close()
    assert heard == []
    assert {url for url in asked if not url.startswith("data:")} == {f"{address}/"}


@contextmanager
def listening(world: World) -> Iterator[str]:
    """The app on a port of its own, in a thread."""
    server = uvicorn.Server(uvicorn.Config(create_app(world.options()), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_page_that_was_cut_off_says_so(browser: Browser, file: Path, tmp_path: Path) -> None:
    text = file.read_text(encoding="utf-8")
    at = text.index('id="data">') + 2_000
    (tmp_path / "cut.html").write_text(text[:at] + text[text.index("</script>", at) :], encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "cut.html").as_uri())
    expect(page.get_by_role("alert")).to_contain_text("The report cannot be shown: ")
    page.close()
