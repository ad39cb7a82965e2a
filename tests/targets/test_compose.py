"""The compose file, read by the real docker-compose; no registry has to be reached for that, nothing is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.targets.machines.process import MachineError, free_port, which
from workload_forecast.cli import cli

DOCKER = Path(__file__).parents[2] / "docker"
#: Azurite's account and the start of its key when it is given none: both are in its documentation.
KNOWN_TO_EVERYBODY = ("devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2U")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The docker folder as an operator has it, without the passwords of whoever runs the tests."""
    shutil.copytree(DOCKER, tmp_path / "docker", ignore=shutil.ignore_patterns(".env", "__pycache__"))
    return tmp_path / "docker"


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRACKING_", "COMPOSE_"))}
    return {**kept, "AZURE_STORAGE_CONNECTION_STRING": "AccountName=mine;AccountKey=bWluZQ=="}


def make_passwords(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(folder / "tracking" / "passwords.sh")],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def config(folder: Path) -> subprocess.CompletedProcess[str]:
    program = which("docker-compose")
    if not program:
        raise MachineError("docker-compose is not installed: run tests/targets/machines/install.sh as root")
    return subprocess.run(
        [program, "-f", str(folder / "compose.yaml"), "config"],
        env=environment(),
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def started(shown: str, profiles: set[str]) -> dict[str, Any]:
    """Services without a profile, or with one of these; docker-compose 1.29 shows the others as well."""
    services: dict[str, Any] = yaml.safe_load(shown)["services"]
    given = {name: set(service.get("profiles", [])) for name, service in services.items()}
    return {name: service for name, service in services.items() if not given[name] or given[name] & profiles}


def secrets(folder: Path) -> dict[str, str]:
    """The file as a shell reads it, which a backup does; compose has rules of its own."""
    shown = "set -a; . ./.env; env -0"
    done = subprocess.run(["env", "-i", "bash", "-c", shown], cwd=folder, capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)
    return {name: value for name, value in found.items() if name.startswith(("TRACKING_", "COMPOSE_"))}


def test_passwords_are_made_once_and_differ(folder: Path, tmp_path: Path) -> None:
    assert make_passwords(folder).returncode == 0
    made = (folder / ".env").read_text()
    assert (folder / ".env").stat().st_mode & 0o077 == 0

    again = make_passwords(folder)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    assert (folder / ".env").read_text() == made

    first = secrets(folder)
    (folder / ".env").rename(tmp_path / "first")
    assert make_passwords(folder).returncode == 0
    second = secrets(folder)
    same = {name for name in first if first[name] == second[name]}
    assert same == {"COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "TRACKING_ADMIN_USERNAME", "TRACKING_ARTIFACTS"}
    assert all(len(first[name]) >= 32 for name in set(first) - same)


def test_nothing_secret_is_in_the_file() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    for service in services.values():
        for name, value in service["environment"].items():
            if any(word in name for word in ("PASSWORD", "KEY", "SECRET", "CONNECTION", "ACCOUNTS")):
                assert value.startswith("${"), name
                assert ":?" in value or value.endswith(":-}"), name
    assert not [known for known in KNOWN_TO_EVERYBODY if known in text]


@pytest.mark.targets
def test_what_compose_reads(folder: Path) -> None:
    without = config(folder)
    assert without.returncode != 0
    assert "run docker/tracking/passwords.sh first" in without.stderr

    make_passwords(folder)
    done = config(folder)
    assert done.returncode == 0, done.stderr
    services = started(done.stdout, {"azurite"})
    assert set(services) == {"database", "blobs", "tracking"}
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert sorted(ports) == ["127.0.0.1:10000:10000/tcp", "127.0.0.1:5000:5000/tcp"]
    made, given = secrets(folder), services["tracking"]["environment"]
    assert given["AZURE_STORAGE_CONNECTION_STRING"] == made["TRACKING_STORAGE_CONNECTION_STRING"], "not the shell's own"
    assert given["PGPASSWORD"] == services["database"]["environment"]["POSTGRES_PASSWORD"]
    account, key = services["blobs"]["environment"]["AZURITE_ACCOUNTS"].split(":")
    assert f"AccountName={account};AccountKey={key};" in given["AZURE_STORAGE_CONNECTION_STRING"]

    # the server takes it as it is, and gets as far as asking for the database, which has its name in compose alone
    here = {"MLFLOW_PORT": str(free_port()), "TRACKING_WAIT_SECONDS": "1", "PATH": os.environ["PATH"]}
    start = subprocess.run(
        [sys.executable, str(folder / "tracking" / "start.py")],
        env={**{name: str(value) for name, value in given.items()}, **here},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert start.returncode == 1
    assert "the database postgresql://mlflow@database/mlflow did not answer within 1 s" in start.stderr


@pytest.mark.targets
def test_the_forecast_service_beside_it(folder: Path) -> None:
    make_passwords(folder)
    text = (folder / ".env").read_text()
    (folder / ".env").write_text(
        text.replace("COMPOSE_PROFILES=azurite\n", "COMPOSE_PROFILES=azurite,service\n")
        + "SERVICE_TRACKING_USERNAME=forecasts\nSERVICE_TRACKING_PASSWORD=a-password-of-its-own\n"
    )
    done = config(folder)
    assert done.returncode == 0, done.stderr
    services = started(done.stdout, {"azurite", "service"})
    assert set(services) == {"database", "blobs", "tracking", "forecast-service", "forecast-follower"}
    service, follower = services["forecast-service"], services["forecast-follower"]
    assert service["ports"] == ["127.0.0.1:8080:8080/tcp"]
    assert "ports" not in follower
    for part in (service, follower):
        assert part["image"] == "workload-forecast-service"
        assert part["build"] == {"context": str(folder.parent), "dockerfile": "docker/service.Dockerfile"}
        assert (part["read_only"], part["cap_drop"], part["tmpfs"]) == (True, ["ALL"], ["/tmp"])
        assert part["security_opt"] == ["no-new-privileges:true"]
        assert "exchange:/data:rw" in part["volumes"]
    known = " ".join(service["environment"])
    assert not [word for word in ("MLFLOW", "AZURE", "PASSWORD", "KEY") if word in known], "the follower's alone"
    assert follower["environment"]["MLFLOW_TRACKING_PASSWORD"] == "a-password-of-its-own"
    assert "a-password-of-its-own" not in " ".join([*follower["command"], *service["command"]])
    host = follower["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert host in services["tracking"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    for part in (service, follower):
        name, *given = part["command"]
        parsed = cli.commands[name].make_context(name, [str(word) for word in given]).params
        assert parsed["model"] == "workload-forecast"
    assert service["stop_grace_period"] == "70s", "longer than the service takes to answer what it has begun"
