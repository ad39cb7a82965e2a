"""MLflow's own server with users and permissions, in this process."""

from __future__ import annotations

import configparser
import os
import socket
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tracking_server.settings import Settings, StartError, tell

#: Names by which a browser or client on this machine calls it; a server behind a proxy is told its name.
LOCAL_HOSTS = "localhost,localhost:*,127.0.0.1,127.0.0.1:*"


@contextmanager
def auth_settings(settings: Settings) -> Iterator[None]:
    """Name MLflow a file with what it takes from a file only; nothing in it is secret."""
    parser = configparser.ConfigParser(interpolation=None)
    parser["mlflow"] = {
        "default_permission": settings.permission,
        "database_uri": settings.auth_database.replace("%", "%%"),
        "auth_cache_ttl_seconds": str(settings.login_cache_s),
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    with tempfile.TemporaryDirectory(prefix="tracking-") as folder:
        file = Path(folder) / "auth.ini"
        with file.open("w", encoding="utf-8") as stream:
            parser.write(stream)
        os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(file)
        yield


def arguments(settings: Settings) -> list[str]:
    """What ``mlflow`` is told besides the environment."""
    options = {
        "--app-name": "basic-auth",
        "--host": settings.host,
        "--port": str(settings.port),
        "--workers": str(settings.workers),
        "--backend-store-uri": settings.store,
        "--artifacts-destination": settings.destination,
    }
    return ["server", "--serve-artifacts", *(part for option in options.items() for part in option)]


def serve(settings: Settings) -> int:
    """Run the server in this process until it is told to end."""
    from mlflow.cli import cli

    tell(f"serving at {settings.host}:{settings.port}, default permission {settings.permission}")
    cli(arguments(settings), prog_name="mlflow", standalone_mode=False)
    return 0


def check_port(settings: Settings) -> None:
    """Look whether the port is free, before anything is begun.

    Raises:
        StartError: it is not, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as problem:
            raise StartError(
                f"cannot listen at {settings.host}:{settings.port} ({problem.strerror}): end what listens there, or "
                "set MLFLOW_PORT and MLFLOW_HOST."
            ) from None


def is_healthy(environment: Mapping[str, str]) -> bool:
    """Whether the server of this machine answers."""
    host = environment.get("MLFLOW_HOST") or "127.0.0.1"
    here = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{here}:{environment.get('MLFLOW_PORT') or 5000}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
