"""The distribution's own Chromium, driven by playwright: no browser is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from tests.targets.machines.process import MachineError, which


@contextmanager
def chromium() -> Iterator[Browser]:
    program = which("chromium")
    if not program:
        raise MachineError("Chromium is not installed. Run tests/stack/machines/install.sh as root, then this again.")
    with sync_playwright() as playwright:
        # root, as in a container, has no sandbox
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


def complaints(page: Page) -> list[str]:
    """The list that errors of the page and of its console are put into from now on."""
    heard: list[str] = []
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("console", lambda line: heard.append(f"{line.type}: {line.text}") if line.type == "error" else None)
    return heard
