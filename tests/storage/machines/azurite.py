"""A real blob server of the tests' own: Azurite, on the loopback, with an account and a key made for this run."""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.targets.machines.process import MachineError, Server, check, free_port, listens, which

VERSION = "3.35.0"
ACCOUNT = "wfstorage"


@dataclass(frozen=True)
class Azurite:
    """A running server."""

    server: Server
    port: int
    account: str
    key: str = field(repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.account}"

    def connection_string(self, endpoint: str = "") -> str:
        """How a client reaches it; through another address if one is given."""
        fields = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": self.account,
            "AccountKey": self.key,
            "BlobEndpoint": endpoint or self.endpoint,
        }
        return ";".join(f"{name}={value}" for name, value in fields.items())


def install_azurite() -> Path:
    """The server's program, installed once per user and version.

    Raises:
        MachineError: npm or Node.js is missing, or the package cannot be had.
    """
    missing = [command for command in ("node", "npm") if not which(command)]
    if missing:
        raise MachineError(f"Not installed: {', '.join(missing)}. Azurite needs Node.js: apt-get install nodejs npm.")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workload_forecast"
    folder = cache / f"azurite-{VERSION}"
    program = folder / "node_modules/azurite/dist/src/blob/main.js"
    done = folder / "installed"
    folder.mkdir(parents=True, exist_ok=True)
    with (cache / "azurite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            options = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
            check(["npm", "install", *options, "--prefix", str(folder), f"azurite@{VERSION}"])
            done.touch()
    return program


@contextmanager
def azurite_server(folder: Path) -> Iterator[Azurite]:
    """Run a server that keeps its blobs in a folder until the block ends.

    Raises:
        MachineError: it cannot be installed or does not answer; with the end of its log.
    """
    program, port = install_azurite(), free_port()
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder / "blobs")]
    # the client may speak a version of the protocol that is newer than the server
    options += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    node = which("node") or "node"
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}
    server = Server(
        "azurite", [node, str(program), *options], folder / "azurite.log", lambda: listens(port), environment
    )
    try:
        server.start()
        yield Azurite(server, port, ACCOUNT, key)
    finally:
        server.stop()
