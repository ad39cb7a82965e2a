"""The main job on the stack: sessions in the blob server, results published there, runs and model on the server."""

from __future__ import annotations

import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from azure.storage.blob import BlobServiceClient

from tests.checkouts import generate_small_data, make_checkout, write_settings
from tests.storage.machines.azurite import Azurite

EXPERIMENT = "workload-forecast"


@dataclass(frozen=True)
class Job:
    """A main job that is over.

    Attributes:
        folder: everything that it wrote to this machine.
        results: the container that it published to.
        said: what it printed.
        seconds: of ``mlflow run`` alone.
        shown: secrets that stood in an argument of any process meanwhile, as ``what: command``.
    """

    folder: Path
    results: str
    said: str
    seconds: float
    shown: list[str] = field(default_factory=list)


def run_main_job(folder: Path, azurite: Azurite, environment: Mapping[str, str], secrets: Mapping[str, str]) -> Job:
    """Upload sessions, and run the project on them from a clone of its own."""
    client = BlobServiceClient.from_connection_string(azurite.connection_string())
    data, results = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("sessions", "results"))
    for name in (data, results):
        client.create_container(name)
    generate_small_data(folder / "generated")
    sessions = folder / "generated" / "sessions"
    for path in sorted(sessions.rglob("request.csv")):
        client.get_blob_client(data, path.relative_to(sessions).as_posix()).upload_blob(path.read_bytes())
    settings = write_settings(
        folder / "settings.json",
        dataFile=f"az://{data}/*/*/*/*/request.csv",
        storageAccount=azurite.account,
        storageContainer=results,
    )
    checkout = make_checkout(folder / "project")
    project = ["mlflow", "run", ".", "--env-manager", "local", "--experiment-name", EXPERIMENT]
    home = folder / "outputs"
    begin = time.monotonic()
    with watched_arguments(secrets) as shown:
        done = subprocess.run(
            [*project, "-e", "main", "-P", f"config={settings}"],
            cwd=checkout.folder,
            env={
                **environment,
                "WORKLOAD_FORECAST_HOME": str(home),
                "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string(),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=500,
        )
    said = done.stdout
    assert done.returncode == 0, said[-5000:]
    return Job(folder, results, said, time.monotonic() - begin, shown)


@contextmanager
def watched_arguments(secrets: Mapping[str, str]) -> Iterator[list[str]]:
    """Look at the arguments of every process of this machine, again and again; yields what was found."""
    found: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            found.extend(shown_arguments(secrets))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def shown_arguments(secrets: Mapping[str, str]) -> list[str]:
    """Secrets that stand in an argument of a process now."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes()
        except OSError:  # it ended meanwhile
            continue
        found += [f"{what}: {line!r}" for what, secret in secrets.items() if secret.encode() in line]
    return found
