#!/usr/bin/env python3
"""The tracking server: the one definition of it, for the container, for machines without Docker and for the tests.

    python start.py             prepare what is missing, then serve
    python start.py upgrade     bring the tables of an older MLflow up to date; make a backup first
    python start.py container   make the artifacts' container if it is missing, and end (a restore needs it)
    python start.py health      end with 0 if the server of this machine answers

All settings come from the environment, see docs/tracking.md. No secret gets into an argument, a file or a line of the
log: the database's password stays in libpq's PGPASSWORD or PGPASSFILE, the administrator's and the storage account's
in the variables that MLflow itself reads. What goes wrong before the server runs is told in one line.

It has no dependency on the project, so that the image needs MLflow and its drivers alone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from typing import NoReturn

from tracking_server.artifacts import ensure_container
from tracking_server.database import connect, prepare_tables
from tracking_server.serving import LOCAL_HOSTS, auth_settings, check_port, is_healthy, serve
from tracking_server.settings import StartError, read_settings, tell

ACTIONS = ("serve", "upgrade", "container", "health")


def run(action: str) -> int:
    """Do what is asked and return the exit code."""
    if action == "health":
        return 0 if is_healthy(os.environ) else 1
    # Composed environments hold empty variables for what is not given; MLflow takes those for given.
    for name in [name for name, value in os.environ.items() if name.startswith(("AZURE_", "MLFLOW_")) and not value]:
        del os.environ[name]
    settings = read_settings(os.environ)
    until = time.monotonic() + settings.wait_s
    if action == "container":
        ensure_container(settings, os.environ, until)
        return 0
    if action == "serve":
        check_port(settings)
    connection = connect(settings, until)
    if action == "serve":
        ensure_container(settings, os.environ, until)
    os.environ.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", LOCAL_HOSTS)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # jobs that only the interface for language models starts
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    with auth_settings(settings):
        prepare_tables(connection, settings, upgrade=action == "upgrade")
        connection.close()
        if action == "upgrade":
            tell(f"the tables in {settings.database} are up to date")
            return 0
        return serve(settings)


def _end(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def main(given: list[str]) -> int:
    """Return the exit code of a command line."""
    action = given[0] if given else "serve"
    if len(given) > 1 or action not in ACTIONS:
        tell(f"usage: start.py [{' | '.join(ACTIONS)}]")
        return 2
    warnings.simplefilter("ignore")  # of libraries about each other: nothing that an operator could do about
    signal.signal(signal.SIGTERM, _end)  # a container's first process ignores it otherwise
    try:
        return run(action)
    except StartError as problem:
        tell(str(problem))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
