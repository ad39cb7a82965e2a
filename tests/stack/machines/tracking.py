"""The tracking stack without Docker: what the container runs, on the tests' own database and blob server."""

from __future__ import annotations

import os
import secrets
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.stack.machines.postgres import Postgres
from tests.storage.machines.azurite import Azurite
from tests.targets.machines.process import Server, fetch, free_port

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

START = Path(__file__).parents[3] / "docker" / "tracking" / "start.py"
ADMIN = "chief"
PREFIX = "mlflow"
#: What the server's own variables begin with; the tests' shell must not add to them.
VARIABLES = ("AZURE_", "MLFLOW_", "PG", "TRACKING_", "WORKLOAD_")


@dataclass(frozen=True)
class Parts:
    """What a server stands on: a database, and a container that is made by its start."""

    postgres: Postgres
    azurite: Azurite
    database: str
    container: str

    @classmethod
    def new(cls, postgres: Postgres, azurite: Azurite) -> Parts:
        return cls(postgres, azurite, postgres.new_database(), f"artifacts-{uuid.uuid4().hex[:10]}")

    @property
    def destination(self) -> str:
        """As Hadoop writes it, the only form that MLflow takes; the connection string says where the server is."""
        return f"wasbs://{self.container}@{self.azurite.account}.blob.core.windows.net/{PREFIX}"

    @property
    def blobs(self) -> ContainerClient:
        """The SDK's own view of the container."""
        from azure.storage.blob import ContainerClient

        return ContainerClient.from_connection_string(self.azurite.connection_string(), self.container)

    def environment(self) -> dict[str, str]:
        """Database and artifacts, as the server, a backup and a restore are told of them."""
        return {
            **clean_environment(),
            "MLFLOW_BACKEND_STORE_URI": self.postgres.uri(self.database),
            "PGPASSWORD": self.postgres.password,
            "MLFLOW_ARTIFACTS_DESTINATION": self.destination,
            "AZURE_STORAGE_CONNECTION_STRING": self.azurite.connection_string(),
        }


@dataclass(frozen=True)
class Tracking:
    """A running server; what it holds survives :meth:`stop` and :meth:`start`."""

    parts: Parts
    server: Server
    port: int
    folder: Path
    password: str = field(repr=False)
    secret_key: str = field(repr=False)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> dict[str, str]:
        """What nothing may show, by what it is."""
        return {
            "the administrator's password": self.password,
            "the database's password": self.parts.postgres.password,
            "the account's key": self.parts.azurite.key,
            "the key of the sessions": self.secret_key,
        }

    def client(self, user: str = ADMIN, password: str = "") -> dict[str, str]:
        """The environment of a client: an address and a login, and nothing of the server's own."""
        return {
            **clean_environment(),
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password or self.password,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }


def clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def server_environment(parts: Parts, folder: Path, **more: str) -> dict[str, str]:
    """Everything that a start needs, its port and passwords new."""
    return {
        **parts.environment(),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": secrets.token_hex(12),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        "MLFLOW_PORT": str(free_port()),
        **more,
    }


def make_tracking(parts: Parts, folder: Path, **more: str) -> Tracking:
    """A server that is not started yet."""
    environment = server_environment(parts, folder, **more)
    port = int(environment["MLFLOW_PORT"])
    server = Server(
        "the tracking server",
        start_command(),
        folder / f"tracking-{port}.log",
        lambda: fetch(f"http://127.0.0.1:{port}/health") == b"OK",
        environment,
    )
    password, key = environment["MLFLOW_AUTH_ADMIN_PASSWORD"], environment["MLFLOW_FLASK_SERVER_SECRET_KEY"]
    return Tracking(parts, server, port, folder, password, key)


def start_command(*arguments: str) -> list[str]:
    return [sys.executable, str(START), *arguments]


@contextmanager
def tracking_server(parts: Parts, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Tracking]:
    """Run a server until the block ends.

    Raises:
        MachineError: it does not answer; with the end of its log.
    """
    tracking = make_tracking(parts, folder, **(environment or {}))
    try:
        tracking.server.start()
        yield tracking
    finally:
        tracking.server.stop()
