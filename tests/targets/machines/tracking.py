"""An MLflow tracking server of the tests' own on the loopback, which also keeps the artifacts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.targets.machines.process import Server, fetch, free_port, require


@dataclass(frozen=True)
class TrackingServer:
    """A running server; what it holds survives :meth:`stop` and :meth:`start`."""

    uri: str
    port: int
    server: Server

    @property
    def log(self) -> Path:
        return self.server.log

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        """Start it again, at the same address."""
        self.server.start()


@contextmanager
def tracking_server(folder: Path) -> Iterator[TrackingServer]:
    """Run a server with a SQLite database and an artifact folder until the block ends.

    Raises:
        MachineError: it does not answer; with the end of its log.
    """
    require("setpriv")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    options = {
        "backend-store-uri": f"sqlite:///{folder / 'mlflow.db'}",
        "artifacts-destination": str(folder / "artifacts"),
        "host": "127.0.0.1",
        "port": str(port),
        "workers": "1",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--serve-artifacts"]
    command += [part for name, value in options.items() for part in (f"--{name}", value)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    # without the workers of jobs that only the server's own interface starts
    environment = {**kept, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = Server(
        "the tracking server", command, folder / "tracking.log", lambda: fetch(f"{uri}/health") == b"OK", environment
    )
    try:
        server.start()
        yield TrackingServer(uri, port, server)
    finally:
        server.stop()
