"""What docs/targets.md says of fields, commands, files, links and messages is so."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from workload_forecast.cli import cli
from workload_forecast.targets.contract import Launcher
from workload_forecast.targets.files import (
    FOLDER_VARIABLE,
    TARGET_TYPES,
    ComputeTarget,
    Mount,
    RunConfiguration,
    SparkDependencies,
    parse_run_configuration,
    parse_target,
)
from workload_forecast.targets.tracking import CREDENTIALS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "targets.md"
TEXT = PAGE.read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)

NAMES_OF_2017 = (
    "<name>.compute", "<name>.runconfig", "ArgumentVector", "Target", "EnvironmentVariables", "Framework",
    "CondaDependenciesFile", "SparkDependenciesFile", "PrepareEnvironment", "TrackedRun", "UseSampling",
    "yarnDeployMode", "nativeSharedDirectory", "sharedVolumes", "baseDockerImage", "python and spark-submit location",
)  # fmt: skip
#: Backends and programs that are not ours to check.
BUILT_IN_BACKENDS = {"databricks", "TYPE"}
OTHER_PROGRAMS = {"ssh-copy-id"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def section(title: str) -> str:
    """Return what stands below a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PROSE, flags=re.DOTALL | re.MULTILINE)
    assert found, f"there is no section '{title}'"
    return found[1]


def table(title: str) -> list[list[str]]:
    """Return the rows of a section's first table, without its head."""
    rows = [line.strip("| ") for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.split(" | ")] for row in rows[2:]]


def defaults(model: type[BaseModel]) -> dict[str, str]:
    """Return each field, as the files spell it, with its default as the page has to write it."""
    found = {}
    for field in model.model_fields.values():
        assert field.alias
        value = field.get_default()
        value = {} if isinstance(value, BaseModel) else value
        found[field.alias] = "required" if field.is_required() else f"`{json.dumps(value)}`"
    return found


COMMANDS = [
    shlex.split(line, comments=True)
    for block in blocks("sh")
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]


# --- fields --------------------------------------------------------------------------------------------------------


def test_the_table_of_a_compute_file_is_the_model() -> None:
    rows = table("Fields of a compute file")

    assert {row[0].strip("`"): row[2] for row in rows} == defaults(ComputeTarget)
    for name, types, *_ in rows:
        known = [one for one in TARGET_TYPES if name.strip("`") in ComputeTarget.fields_of(one)]
        assert types == ("all" if len(known) == len(TARGET_TYPES) else ", ".join(known)), name


def test_the_table_of_a_run_configuration_is_the_model() -> None:
    rows = table("Fields of a run configuration")

    assert {row[0].strip("`"): row[1] for row in rows} == defaults(RunConfiguration)


@pytest.mark.parametrize(("field", "model"), [("mounts", Mount), ("spark", SparkDependencies)])
def test_the_fields_within_a_field_are_named(field: str, model: type[BaseModel]) -> None:
    (meaning,) = [row[-1] for row in table("Fields of a run configuration") if row[0] == f"`{field}`"]

    assert [name for name in defaults(model) if f"`{name}`" not in meaning] == []


@pytest.mark.parametrize("text", blocks("json"))
def test_every_file_that_is_shown_is_a_valid_one(text: str) -> None:
    content = json.loads(text)
    if "type" in content:
        parse_target(content, "the page")
    elif "target" in content:
        parse_run_configuration(content, "the page")
    else:
        SparkDependencies.model_validate(content)


def test_each_kind_of_file_is_shown() -> None:
    shown = [json.loads(text) for text in blocks("json")]

    assert any("type" in one for one in shown)
    assert any("target" in one for one in shown)
    assert any("configuration" in one for one in shown)


# --- commands ------------------------------------------------------------------------------------------------------


def check(command: click.Command, words: list[str]) -> None:
    """Follow the words through groups to a command, and look for each option there."""
    context = click.Context(command)
    while isinstance(command, click.Group):
        assert words, f"{command.name} needs a subcommand"
        name, *words = words
        found = command.get_command(context, name)
        assert found, f"{command.name} has no subcommand {name}"
        command = found
    options = {name: one for one in command.params for name in one.opts + one.secondary_opts}
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    given: set[click.Parameter] = set()
    plain = 0
    while words:
        word, *words = words
        if not word.startswith("-"):
            plain += 1
            continue
        option = options.get(word)
        assert isinstance(option, click.Option), f"{command.name} has no option {word}"
        given.add(option)
        if not option.is_flag and not option.count:
            value, *words = words
            assert option.type.convert(value, option, context) is not None
    assert plain == len(arguments), f"{command.name} takes {len(arguments)} arguments, not {plain}"
    assert [
        one.name for one in command.params if one.required and isinstance(one, click.Option) and one not in given
    ] == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_exists_with_its_options(words: list[str]) -> None:
    program, *rest = words
    if program == "workload-forecast":
        check(cli, rest)
    elif program == "mlflow":
        from mlflow.cli import cli as mlflow_cli

        check(mlflow_cli, rest)
    elif words[:2] == ["python", "-m"]:
        assert find_spec(words[2])
    elif program == "export":
        assert re.fullmatch(r"[A-Z_]+=\S+", rest[0])
    else:
        assert program in OTHER_PROGRAMS


@pytest.mark.parametrize("words", re.findall(r"`workload-forecast ([^`]+)`", PROSE))
def test_commands_in_the_text_exist_too(words: str) -> None:
    check_prefix(cli, words.split())


def check_prefix(group: click.Group, words: list[str]) -> None:
    command: click.Command = group
    for word in words:
        if not isinstance(command, click.Group):
            break
        found = command.commands.get(word)
        assert found, f"{command.name} has no subcommand {word}"
        command = found


def test_every_type_is_walked_through() -> None:
    for one in TARGET_TYPES:
        backend = "databricks-existing" if one == "databricks" else one
        (name,) = {
            words[words.index("--name") + 1]
            for words in COMMANDS
            if words[1:3] == ["target", "attach"] and one in words
        }
        assert ["workload-forecast", "submit", "-c", name] in [words[:4] for words in COMMANDS]
        runs = [words for words in COMMANDS if words[:2] == ["mlflow", "run"] and backend in words]
        assert any(f"targets/{name}.runconfig.json" in words for words in runs), one


@pytest.mark.parametrize("backend", sorted(set(re.findall(r"-b ([\w-]+)", TEXT)) - BUILT_IN_BACKENDS))
def test_every_backend_that_is_named_can_be_loaded(backend: str) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["mlflow.project_backend"]
    module, _, name = declared[backend].partition(":")

    assert hasattr(importlib.import_module(module), name)


# --- names, links, messages ----------------------------------------------------------------------------------------


def test_every_name_of_2017_has_its_row() -> None:
    column = "\n".join(row[0] for row in table("The names of 2017"))

    assert [name for name in NAMES_OF_2017 if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", column)] == []


def test_variables_that_are_sent_or_read_are_named() -> None:
    assert [name for name in (*CREDENTIALS, FOLDER_VARIABLE) if name not in PROSE] == []


def test_all_that_a_launcher_has_to_do_is_told() -> None:
    told = section("How to add a type of target")

    assert [name for name in Launcher.__abstractmethods__ if f"`{name}`" not in told] == []


def anchors(path: Path) -> set[str]:
    """Return the anchors that a page's headings get where it is shown."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", PROSE))))
def test_every_link_leads_somewhere(link: str) -> None:
    if "://" in link:
        return
    name, _, anchor = link.partition("#")
    path = PAGE.parent / name if name else PAGE
    assert path.exists()
    assert not anchor or anchor in anchors(path)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:workload_forecast|tests|docker)/[\w./-]+)`", PROSE))))
def test_every_file_of_the_project_that_is_named_exists(path: str) -> None:
    assert path.endswith("NAME.py") or (ROOT / path).exists()


@pytest.mark.parametrize("message", [row[0] for row in table("Troubleshooting")])
def test_every_message_is_one_of_ours(message: str) -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "workload_forecast").rglob("*.py"))
    parts = [part.strip() for part in message.strip("`").split("…")]

    assert [part for part in parts if part not in source] == []
