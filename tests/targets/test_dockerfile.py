"""What the Dockerfile promises, read from its text; that it builds is for the suites with an engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workload_forecast.targets.redaction import looks_secret

DOCKERFILE = Path(__file__).parents[2] / "docker" / "Dockerfile"


def instructions(text: str) -> list[tuple[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines).splitlines()
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1]) for line in joined]


@pytest.fixture(scope="module")
def found() -> list[tuple[str, str]]:
    return instructions(DOCKERFILE.read_text("utf-8"))


def of(found: list[tuple[str, str]], name: str) -> list[str]:
    return [arguments for instruction, arguments in found if instruction == name]


def test_the_base_image_can_be_named(found: list[tuple[str, str]]) -> None:
    assert found[0] == ("ARG", "BASE_IMAGE=python:3.11-slim-bookworm")
    assert found[1] == ("FROM", "${BASE_IMAGE}")
    assert len(of(found, "FROM")) == 1


def test_no_code_is_in_the_image(found: list[tuple[str, str]]) -> None:
    assert not of(found, "ADD")
    assert [arguments.split()[0] for arguments in of(found, "COPY")] == ["requirements.txt"]
    assert len(of(found, "COPY")[0].split()) == 2
    # nothing may hide the project's files, nor decide what runs and as whom
    assert {name for name, _ in found} == {"ARG", "FROM", "LABEL", "ENV", "RUN", "COPY", "CMD"}


def test_no_secret_can_be_given(found: list[tuple[str, str]]) -> None:
    names = [arguments.split("=")[0] for arguments in of(found, "ARG")]
    names += re.findall(r"(\w+)=", " ".join(of(found, "ENV")))
    assert {"BASE_IMAGE", "PYTHONUNBUFFERED", "HOME"} <= set(names)
    assert not [name for name in names if looks_secret(name)]


def test_nothing_needs_buildkit(found: list[tuple[str, str]]) -> None:
    text = DOCKERFILE.read_text("utf-8")
    assert not re.search(r"^#\s*syntax\s*=", text, re.MULTILINE)
    assert "<<" not in text
    for name, arguments in found:
        assert not (name in {"RUN", "COPY"} and arguments.startswith("--")), arguments


def test_packages_come_from_the_requirements_alone(found: list[tuple[str, str]]) -> None:
    installs = [part for arguments in of(found, "RUN") for part in arguments.split("&&") if " install " in part]
    assert len(installs) == 1
    assert "--no-cache-dir" in installs[0]
    assert installs[0].split()[-2:] == ["-r", "/opt/environment/requirements.txt"]
    assert not re.search(r"https?://", " ".join(arguments for _, arguments in found))


def test_any_user_can_run_it(found: list[tuple[str, str]]) -> None:
    environment = dict(re.findall(r"(\w+)=(\S+)", " ".join(of(found, "ENV"))))
    assert environment["PYTHONUNBUFFERED"] == "1"
    assert environment["GIT_PYTHON_REFRESH"] == "quiet"
    assert environment["LANG"] == "C.UTF-8"
    assert environment["USER"]
    assert f"chmod 1777 {environment['HOME']}" in " ".join(of(found, "RUN"))
    assert environment["PATH"].split(":")[0] == "/opt/environment/bin"
