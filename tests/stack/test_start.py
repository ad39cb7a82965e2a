"""Starting: from nothing, twice at once, after an older MLflow, and every way of not starting."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.stack.machines.postgres import Postgres
from tests.stack.machines.tracking import (
    ADMIN,
    Parts,
    clean_environment,
    make_tracking,
    server_environment,
    start_command,
    tracking_server,
)
from tests.storage.machines.azurite import Azurite
from tests.targets.machines.process import free_port

pytestmark = pytest.mark.stack


def start(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        start_command(*arguments), env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def told(done: subprocess.CompletedProcess[str], secrets: list[str]) -> str:
    """The one line that a start which fails has to say."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("tracking: ")
    for secret in secrets:
        assert secret not in lines[0]
    return lines[0]


def secrets_of(environment: dict[str, str], parts: Parts) -> list[str]:
    names = ("PGPASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")
    return [parts.azurite.key, *(environment[name] for name in names if environment.get(name))]


def test_everything_that_is_not_set_is_told_at_once() -> None:
    line = told(start(clean_environment()), [])
    for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_AUTH_ADMIN_USERNAME"):
        assert name in line
    assert "MLFLOW_AUTH_ADMIN_PASSWORD" in line
    assert "MLFLOW_FLASK_SERVER_SECRET_KEY" in line
    assert start(clean_environment(), "nonsense").returncode == 2
    assert start(clean_environment() | {"MLFLOW_PORT": str(free_port())}, "health").returncode == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"MLFLOW_BACKEND_STORE_URI": "postgresql://mlflow:geheim@h/mlflow"}, "has a password in it: take it out"),
        ({"MLFLOW_BACKEND_STORE_URI": "postgresql://h/mlflow?password=geheim"}, "has a password in it: take it out"),
        ({"MLFLOW_BACKEND_STORE_URI": "sqlite:///mlflow.db"}, "MLFLOW_BACKEND_STORE_URI must be the database, like"),
        ({"MLFLOW_BACKEND_STORE_URI": "postgresql://mlflow@h"}, "MLFLOW_BACKEND_STORE_URI must be the database, like"),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "az://c/mlflow"}, "MLFLOW_ARTIFACTS_DESTINATION must be like wasbs://"),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "wasbs://c@a.blob.core.windows.net/x?sig=geheim"}, "must be like wasbs://"),
        ({"TRACKING_DEFAULT_PERMISSION": "ALL"}, "TRACKING_DEFAULT_PERMISSION is 'ALL': make it one of NO_PERMISSIONS"),
        ({"MLFLOW_PORT": "http"}, "MLFLOW_PORT is 'http': make it a whole number"),
        ({"MLFLOW_AUTH_ADMIN_PASSWORD": ""}, "not set in the environment: MLFLOW_AUTH_ADMIN_PASSWORD ("),
        ({"AZURE_STORAGE_CONNECTION_STRING": "geheim"}, "AZURE_STORAGE_CONNECTION_STRING is no connection string"),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;AccountKey=Z2VoZWlt"},
            "is for account other, MLFLOW_ARTIFACTS_DESTINATION names wfstorage: make them agree",
        ),
    ],
)
def test_settings_that_cannot_be(given: dict[str, str], message: str, parts: Parts, folder: Path) -> None:
    environment = server_environment(parts, folder) | given
    line = told(start(environment), ["geheim", "Z2VoZWlt", *secrets_of(environment, parts)])
    assert message in line


def test_a_port_that_is_taken(parts: Parts, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        environment = server_environment(parts, folder, MLFLOW_PORT=str(other.getsockname()[1]))
        line = told(start(environment), secrets_of(environment, parts))
    assert f"cannot listen at 127.0.0.1:{environment['MLFLOW_PORT']} (Address already in use)" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PGPASSWORD": "wrong"}, 'refuses this login: .*password authentication failed for user "mlflow".*PGPASSWORD'),
        ({"PGPASSWORD": ""}, "refuses this login: .*no password supplied"),
        ({"database": "nothing"}, 'refuses this login: .*database "nothing" does not exist.*CREATE DATABASE'),
        ({"port": "closed"}, r"did not answer within 1 s: .*Connection refused.* Start it, or correct MLFLOW_BACKEND"),
    ],
)
def test_a_database_that_is_not_there(change: dict[str, str], message: str, parts: Parts, folder: Path) -> None:
    environment = server_environment(parts, folder, TRACKING_WAIT_SECONDS="1")
    if "database" in change:
        environment["MLFLOW_BACKEND_STORE_URI"] = parts.postgres.uri(change["database"])
    elif "port" in change:
        environment["MLFLOW_BACKEND_STORE_URI"] = f"postgresql://mlflow@127.0.0.1:{free_port()}/mlflow"
    else:
        environment |= change
    line = told(start(environment), secrets_of(environment, parts))
    assert re.search(message, line), line


def test_a_database_that_belongs_to_somebody_else(postgres: Postgres, azurite: Azurite, folder: Path) -> None:
    from psycopg import sql

    parts = Parts.new(postgres, azurite)
    owner = sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(sql.Identifier(parts.database))
    postgres.execute("postgres", owner)
    environment = server_environment(parts, folder)
    line = told_after(start(environment), "made container", secrets_of(environment, parts))
    assert "this user may not make tables" in line
    assert "ALTER DATABASE mlflow OWNER TO mlflow" in line


def told_after(done: subprocess.CompletedProcess[str], first: str, secrets: list[str]) -> str:
    """The one line of a failure, after what the start has done before."""
    head, _, rest = done.stderr.partition("\n")
    assert first in head, done.stderr
    return told(subprocess.CompletedProcess(done.args, done.returncode, done.stdout, rest), secrets)


def test_an_account_that_refuses_or_is_away(parts: Parts, folder: Path) -> None:
    key = "d3Jvbmc="
    right = parts.azurite.connection_string()
    cases = {
        right.replace(parts.azurite.key, key): "refuses AZURE_STORAGE_CONNECTION_STRING for container",
        right.replace(parts.azurite.key, "no base64!"): "refuses AZURE_STORAGE_CONNECTION_STRING for container",
        parts.azurite.connection_string(f"http://127.0.0.1:{free_port()}/{parts.azurite.account}"): (
            "did not answer within 1 s (no answer): start it"
        ),
    }
    for text, message in cases.items():
        environment = server_environment(parts, folder, TRACKING_WAIT_SECONDS="1")
        environment["AZURE_STORAGE_CONNECTION_STRING"] = text
        line = told(start(environment), [key, *secrets_of(environment, parts)])
        assert message in line, line


def test_a_signature_that_may_not_make_a_container(parts: Parts, folder: Path) -> None:
    from datetime import datetime, timedelta, timezone

    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    azurite = parts.azurite
    end = datetime.now(timezone.utc) + timedelta(hours=1)
    may = ContainerSasPermissions(read=True, write=True, list=True, delete=True)
    signature = generate_container_sas(azurite.account, parts.container, azurite.key, permission=may, expiry=end)
    environment = server_environment(parts, folder)
    environment["AZURE_STORAGE_CONNECTION_STRING"] = (
        f"AccountName={azurite.account};BlobEndpoint={azurite.endpoint};SharedAccessSignature={signature}"
    )

    line = told(start(environment, "container"), [signature.split("sig=")[1], *secrets_of(environment, parts)])
    assert "and for the container to be made" in line
    parts.blobs.create_container()
    done = start(environment, "container")
    assert (done.returncode, done.stderr) == (0, ""), "with the container there, the same signature is enough"


def test_a_short_password_makes_no_administrator(parts: Parts, folder: Path) -> None:
    environment = server_environment(parts, folder, MLFLOW_AUTH_ADMIN_PASSWORD="geheim")
    done = start(environment)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "The configured password for the admin user 'chief' is invalid" in last
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr


@contextmanager
def two_servers(parts: Parts, folder: Path) -> Iterator[list[str]]:
    """Two starts at the same moment, as two machines would do it: each with a temporary folder of its own."""
    password = "one for both of them"
    servers = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        servers.append(make_tracking(parts, folder / name, MLFLOW_AUTH_ADMIN_PASSWORD=password, MLFLOW_WORKERS="1"))
    try:
        for tracking in servers:
            tracking.server.start(wait=False)
        for tracking in servers:
            tracking.server.wait_until_ready()
        logs = [tracking.server.log.read_text() for tracking in servers]
        for tracking in servers:
            answer = requests.get(f"{tracking.uri}/api/2.0/mlflow/users/current", auth=(ADMIN, password), timeout=30)
            assert answer.status_code == 200, answer.text
        yield logs
    finally:
        for tracking in servers:
            tracking.server.stop()


def test_two_starts_at_once_do_not_race(parts: Parts, folder: Path) -> None:
    with two_servers(parts, folder) as logs:
        made = [log for log in logs if "Creating initial MLflow database tables" in log]
        assert len(made) == 1, "one of them made the tables, the other one waited"
        assert not [log for log in logs if "Traceback" in log or "IntegrityError" in log]
    users = parts.postgres.rows(parts.database, "SELECT username FROM mlflow_auth.users")
    assert users == [(ADMIN,)]
    experiments = parts.postgres.rows(parts.database, "SELECT name FROM experiments")
    assert experiments == [("Default",)]


def test_the_database_may_come_up_after_the_server(parts: Parts, folder: Path) -> None:
    postgres = parts.postgres
    postgres.server.stop()
    tracking = make_tracking(parts, folder, MLFLOW_WORKERS="1")
    try:
        tracking.server.start(wait=False)
        time.sleep(2)
        assert tracking.server.running
        postgres.server.start()
        tracking.server.wait_until_ready()
    finally:
        tracking.server.stop()
        if not postgres.server.running:
            postgres.server.start()


def test_older_tables_wait_for_the_word_and_newer_ones_are_refused(parts: Parts, folder: Path) -> None:
    made = start(server_environment(parts, folder), "container")
    assert (made.returncode, made.stderr) == (0, f"tracking: made container {parts.container}\n")
    environment = server_environment(parts, folder)
    older = _make_older_tables(parts)

    line = told(start(environment), secrets_of(environment, parts))
    assert "are of an older MLflow: make a backup" in line
    assert "`upgrade`" in line
    assert parts.postgres.rows(parts.database, "SELECT version_num FROM alembic_version") == [(older,)]

    upgraded = start(environment, "upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    assert upgraded.stderr.splitlines()[-1].endswith("are up to date")
    with tracking_server(parts, folder, {"MLFLOW_WORKERS": "1"}) as tracking:
        assert requests.get(f"{tracking.uri}/health", timeout=30).text == "OK"

    from psycopg import sql

    parts.postgres.execute(parts.database, sql.SQL("UPDATE alembic_version SET version_num = 'ffffffffffff'"))
    assert "are of a newer MLflow than this one" in told(start(environment), secrets_of(environment, parts))


def _make_older_tables(parts: Parts) -> str:
    """Tables as they were one version ago, made with MLflow's own migrations; returns that version."""
    import sqlalchemy
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base

    postgres = parts.postgres
    url = sqlalchemy.URL.create(
        "postgresql+psycopg", "mlflow", postgres.password, "127.0.0.1", postgres.port, parts.database
    )
    engine = sqlalchemy.create_engine(url)
    config = _get_alembic_config("postgresql://")
    script = ScriptDirectory.from_config(config)
    head = script.get_revision(script.get_current_head() or "")
    older = str(head.down_revision)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, older)
    engine.dispose()
    return older
