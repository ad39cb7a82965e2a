"""What README tells people to type works, to the letter."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.checkouts import PROJECT, Checkout, write_settings
from workload_forecast.config import load_settings

README = (PROJECT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines() if line.strip()]
MLFLOW = [line for line in COMMANDS if line.startswith("mlflow run") and " -b " not in line]


def test_the_two_commands_come_first() -> None:
    assert COMMANDS[:2] == ["make forecast", "make test"]


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
