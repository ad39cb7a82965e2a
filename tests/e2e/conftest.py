"""What the end-to-end tests work with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkouts import Checkout, generate_small_data, journey, make_checkout
from tests.targets.machines.process import free_port


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return make_checkout(tmp_path_factory.mktemp("a checkout") / "workload forecast")


@pytest.fixture(scope="session")
def small_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def travelled(checkout: Checkout) -> Checkout:
    """The checkout after README's journey: each command as it stands there, but for the ports, which may be taken."""
    checkout.link_environment()
    activated: list[str] = []  # what one command has sourced, the next ones have too
    answers = {"make ui": "/health", "make serve": "/health"}
    for command in journey():
        if command in answers:
            port = free_port()
            with checkout.running(f"{command} PORT={port}", f"http://127.0.0.1:{port}{answers[command]}"):
                continue
        activated += [command.split("&&")[0]] if command.startswith("source") else []
        done = checkout.shell("; ".join([*activated, command]))
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return checkout
