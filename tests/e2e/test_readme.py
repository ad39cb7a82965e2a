"""What README tells people to type works, to the letter."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.checkouts import PROJECT, README, Checkout, commands_of, journey, write_settings
from workload_forecast.config import load_settings


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = commands_of(README)
MLFLOW = [line for line in dict.fromkeys(COMMANDS) if line.startswith("mlflow run") and " -b " not in line]


def test_the_two_commands_come_first() -> None:
    assert COMMANDS[:2] == ["make forecast", "make test"]


def test_the_journey_has_five_commands() -> None:
    assert len(journey()) == 5
    assert journey()[0] == "make forecast"


@pytest.mark.e2e
@pytest.mark.spark
@pytest.mark.timeout(1200)
def test_the_journey_leads_from_nothing_to_a_service(travelled: Checkout) -> None:
    """The fixture has typed the commands; each has left what the next ones build on."""
    steps = {"etl", "train", "promote", "tune", "forecast"}
    finished = [run for run in travelled.runs() if run.info.status == "FINISHED"]
    assert steps <= {run.data.tags.get("workload_forecast.step") for run in finished}
    champion = travelled.client.get_model_version_by_alias("workload-forecast", "champion")
    assert champion.run_id in {run.info.run_id for run in finished}


def test_every_make_command_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    named |= set(re.findall(r"`make ([a-z0-9-]+)`", README))
    assert named <= targets


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert [link for link in links if "://" not in link and not (PROJECT / link.split("#")[0]).exists()] == []


def test_the_settings_file_is_a_valid_one(tmp_path: Path) -> None:
    (text,) = blocks("json")
    (tmp_path / "settings.json").write_text(text)
    settings = load_settings(None, tmp_path / "settings.json")
    assert settings.data_file == json.loads(text)["dataFile"]


@pytest.mark.e2e
@pytest.mark.spark
@pytest.mark.parametrize("command", MLFLOW)
def test_mlflow_commands(checkout: Checkout, small_settings: Path, command: str) -> None:
    settings = json.loads(small_settings.read_text())
    write_settings(checkout.folder / "settings.json", dataFile=str(small_settings.parent / settings["dataFile"]))
    done = checkout.shell(command)
    assert done.returncode == 0, done.stderr
    last = max(checkout.runs(), key=lambda run: run.info.start_time)
    assert last.info.status == "FINISHED"


@pytest.mark.e2e
@pytest.mark.spark
def test_the_model_loads_as_shown(checkout: Checkout, small_settings: Path) -> None:
    assert checkout.mlflow_run("train", {"config": small_settings}).returncode == 0
    (code,) = blocks("python")
    (checkout.folder / "load.py").write_text(code)
    done = checkout.shell("python load.py")
    assert done.returncode == 0, done.stderr
