"""The way from a target to the tracking server: straight, by a tunnel through ssh, or by a mounted SQLite store."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.contract import Check
from workload_forecast.targets.hosts import Host, SshHost, script, started, unreachable

#: What MLflow's client reads for its own authentication, and Azure's clients for theirs. The job gets those that the
#: launching process has, as secrets.
CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
)

#: How long a tunnel that another process holds is left alone, until it is asked for again.
_ELSEWHERE_SECONDS = 10.0

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_REMOTE_NEEDS_SERVER = (
    "start a server on this machine, which the target then reaches through ssh: "
    "mlflow server --backend-store-uri {uri} --port 5000; and set MLFLOW_TRACKING_URI=http://127.0.0.1:5000"
)


def local_store(uri: str) -> Path | None:
    """Return the database or folder of a store that is no server, or None."""
    parts = urlsplit(uri)
    if uri in {"databricks", "databricks-uc"}:
        return None
    if parts.scheme == "sqlite":
        return Path(unquote(parts.path[1:])).absolute()
    if parts.scheme in {"", "file"}:
        return Path(unquote(parts.path)).absolute()
    return None


def endpoint(uri: str) -> tuple[str, int] | None:
    """Return host and port of a tracking server, or None where there is none to connect to (a file, Databricks)."""
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    try:
        port = parts.port
    except ValueError as problem:
        raise SettingsError(f"MLFLOW_TRACKING_URI {without_password(uri)}: {problem}.") from None
    return parts.hostname, port or (443 if parts.scheme == "https" else 80)


def check_tracking(uri: str, artifact_location: str, host: Host, *, contained: bool) -> Iterator[Check]:
    """Yield what has to hold between the target and the tracking store."""
    if local_store(uri) is not None:
        if host.local and contained:
            yield Check("tracking store", True, f"{uri}, mounted into the container")
        else:
            yield Check(
                "tracking store",
                False,
                f"{uri} is a file of this machine, which {host.label} cannot see",
                _REMOTE_NEEDS_SERVER.format(uri=uri),
            )
        return
    if not host.local and artifact_location and local_store(artifact_location) is not None:
        yield Check(
            "artifact store",
            False,
            f"the experiment keeps artifacts in {artifact_location}, a folder of the server's machine",
            "start the server with --serve-artifacts --artifacts-destination FOLDER and use a new experiment",
        )
    yield Check("artifact store", True, artifact_location or "served by the tracking server")


def check_reachable_from_here(uri: str) -> Check:
    """Ask the tracking server for its health, in seconds rather than in MLflow's minutes of retries."""
    if endpoint(uri) is None:
        return Check("tracking server", True, uri)
    import requests

    address = without_password(uri)
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=5)
    except requests.exceptions.RequestException as problem:
        reason = re.sub(r".*\]\s|.*: ", "", str(problem)).strip("'\")> ") or type(problem).__name__
        remedy = "start it (make ui, or mlflow server …) or set MLFLOW_TRACKING_URI to one that runs"
        return Check("tracking server", False, f"{address} does not answer ({reason})", remedy)
    if answer.status_code >= 500:
        return Check("tracking server", False, f"{address} answers {answer.status_code}", "look at the server's log")
    return Check("tracking server", True, address)


def needs_tunnel(uri: str, host: Host) -> bool:
    """Return whether the target reaches the server only through us; a loopback address is ours, never the target's."""
    at = endpoint(uri)
    if at is None or host.local:
        return False
    if at[0] in _LOOPBACK:
        return True
    probe = 'timeout 5 bash -c \'exec 3<>"/dev/tcp/$1/$2"\' probe "$1" "$2"'
    return script(host, probe, at[0], str(at[1]), seconds=20).code != 0


def uri_through(uri: str, port: int) -> str:
    """Return the tracking URI as the target sees it behind a tunnel that ends at its own ``port``."""
    return urlsplit(uri)._replace(netloc=f"127.0.0.1:{port}").geturl()


def as_seen_from_anywhere(uri: str) -> str:
    """Return the URI of a store that is a file with its absolute path, and any other unchanged."""
    store = local_store(uri)
    if store is None:
        return uri
    if not uri.startswith("sqlite"):
        return store.as_uri()
    query = urlsplit(uri).query
    return f"sqlite:///{quote(str(store))}{'?' if query else ''}{query}"


def login(uri: str) -> dict[str, str]:
    """Return MLflow's variables for the user and password that a tracking URI holds."""
    parts = urlsplit(uri)
    named = {"MLFLOW_TRACKING_USERNAME": parts.username, "MLFLOW_TRACKING_PASSWORD": parts.password}
    return {name: unquote(value) for name, value in named.items() if value} if endpoint(uri) else {}


def without_password(uri: str) -> str:
    """Return the URI without user and password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri  # as it is: put together again, an absolute SQLite path would lose slashes
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """Return those of :data:`CREDENTIALS` that are set."""
    return {name: environment[name] for name in CREDENTIALS if environment.get(name)}


@dataclass
class Tunnel:
    """A port on the target's loopback that leads to a server that only this machine reaches.

    Opened anew whenever the connection was lost; the port stays the same, so that a running job finds it again. It
    outlives the process that opened it: ``adopted`` is the process id of an ssh that another process of ours started.
    """

    host: SshHost
    uri: str
    port: int = 0
    adopted: int = 0
    _adopted_at: str = ""
    _again: float = 0.0
    _process: subprocess.Popen[bytes] | None = None
    _said: tempfile._TemporaryFileWrapper[bytes] | None = None

    def __post_init__(self) -> None:
        self._adopted_at = started(self.adopted) if self.adopted else ""

    def open(self) -> int:
        """Open the tunnel unless it is open, and return its port on the target.

        Raises:
            EnvironmentProblem: it cannot be opened.
        """
        if self.alive() or time.monotonic() < self._again:
            return self.port
        at = endpoint(self.uri)
        assert at is not None, "only a server is tunnelled to"
        name = f"[{at[0]}]" if ":" in at[0] else at[0]
        options = ["-N", "-T", "-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=INFO", "-o", "ControlPath=none"]
        command = ["ssh", *self.host.options(), *options, "-R", f"127.0.0.1:{self.port}:{name}:{at[1]}"]
        self.close()
        self._said = tempfile.NamedTemporaryFile()  # noqa: SIM115  closed by close()
        self._process = subprocess.Popen(
            [*command, "--", self.host.address],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
        )
        self.port = self._opened(self._process)
        return self.port

    def alive(self) -> bool:
        """Return whether the tunnel is open."""
        if self._process is not None:
            return self._process.poll() is None
        return bool(self._adopted_at) and started(self.adopted) == self._adopted_at

    def hand_over(self) -> int:
        """Leave the tunnel open for another process, and return the process id of its ssh."""
        process, self._process = self._process, None
        if process is None:
            return self.adopted
        # whoever takes over asks whether it lives: once dead, it must not stay in the process table because of us
        threading.Thread(target=process.wait, daemon=True).start()
        return process.pid

    def close(self) -> None:
        """Close the tunnel."""
        if self._adopted_at and self._process is None and self.alive():
            with suppress(OSError):
                os.kill(self.adopted, signal.SIGTERM)
        self._adopted_at = ""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        if self._said is not None:
            self._said.close()
        self._process = self._said = None

    def _opened(self, process: subprocess.Popen[bytes]) -> int:
        """Wait until the port is there. A port that was asked for is not announced: ssh lives on, or it does not."""
        pause = threading.Event()
        for tenth in range(150):
            pause.wait(0.1)
            said = self._read()
            allocated = re.search(r"Allocated port (\d+) for remote forward", said)
            if allocated:
                return int(allocated.group(1))
            if process.poll() is not None and self.port and "forwarding failed" in said:
                self._again = time.monotonic() + _ELSEWHERE_SECONDS
                return self.port  # another of our processes follows the job, and holds the tunnel
            if process.poll() is not None:
                raise EnvironmentProblem(f"tunnel to the tracking server: {unreachable(self.host.label, said)}")
            if self.port and tenth == 20:
                return self.port
        self.close()
        raise EnvironmentProblem(f"the tunnel from {self.host.label} to the tracking server did not open within 15 s.")

    def _read(self) -> str:
        assert self._said is not None
        return Path(self._said.name).read_text(errors="replace")  # by name: ssh shares the position of the open file
