"""The stack, started once for all tests that only use it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.stack.job import Job, run_main_job
from tests.stack.machines.postgres import Postgres, postgres_server
from tests.stack.machines.tracking import Parts, Tracking, tracking_server
from tests.storage.machines.azurite import Azurite, azurite_server
from tests.targets.machines.process import short_folder


@dataclass(frozen=True)
class User:
    """An ordinary user, whom the administrator has made."""

    tracking: Tracking
    name: str
    password: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        return self.tracking.client(self.name, self.password)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with short_folder("postgres") as folder, postgres_server(folder) as running:
        yield running


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A blob server; unlike elsewhere, one that cannot be had is never a reason to skip."""
    with short_folder("azurite") as folder, azurite_server(folder) as running:
        yield running


@pytest.fixture
def parts(postgres: Postgres, azurite: Azurite) -> Parts:
    """An empty database, and the name of a container that is not there yet."""
    return Parts.new(postgres, azurite)


@pytest.fixture(scope="session")
def tracking(postgres: Postgres, azurite: Azurite) -> Iterator[Tracking]:
    with short_folder("tracking") as folder, tracking_server(Parts.new(postgres, azurite), folder) as running:
        yield running


@pytest.fixture(scope="session")
def analyst(tracking: Tracking) -> User:
    return make_user(tracking, "analyst")


@pytest.fixture(scope="session")
def job(tracking: Tracking, analyst: User, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The main job, run once as an ordinary user."""
    secrets_ = {**tracking.secrets, "the user's password": analyst.password}
    return run_main_job(tmp_path_factory.mktemp("job"), tracking.parts.azurite, analyst.environment, secrets_)


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder("stack") as made:
        yield made


def make_user(tracking: Tracking, name: str) -> User:
    """As docs/tracking.md says it: one request of the administrator's."""
    import requests

    user = User(tracking, name, secrets.token_hex(12))
    answer = requests.post(
        f"{tracking.uri}/api/2.0/mlflow/users/create",
        json={"username": user.name, "password": user.password},
        auth=("chief", tracking.password),
        timeout=30,
    )
    answer.raise_for_status()
    return user
