"""The two files of a target: *where* a job runs (``NAME.compute.json``) and *how* (``NAME.runconfig.json``).

Both are small, reviewed like code and free of secrets: keys and passwords come from ssh, its agent and the launching
machine's environment. ``python -m workload_forecast.targets.files`` renews the JSON Schemas in ``docs/schemas``.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from workload_forecast.config import read_json
from workload_forecast.errors import SettingsError
from workload_forecast.targets.fields import (
    COMPUTE_SUFFIX,
    PATTERNS,
    REMOTE,
    TARGET_TYPES,
    WORDS,
    ComputeTarget,
    Framework,
    Mount,
    RunConfiguration,
    SparkDependencies,
    TargetFile,
    TargetType,
    is_path,
)
from workload_forecast.targets.redaction import looks_secret

__all__ = [
    "COMPUTE_SUFFIX",
    "TARGET_TYPES",
    "ComputeTarget",
    "Framework",
    "Mount",
    "RunConfiguration",
    "SparkDependencies",
    "TargetType",
    "looks_secret",
]

Kind = Literal["compute", "runconfig"]

FOLDER_VARIABLE = "WORKLOAD_FORECAST_TARGETS"
RUN_CONFIGURATION_SUFFIX = ".runconfig.json"

#: What MLflow mixes into the configuration of every backend (constants of ``mlflow.projects.utils``; a test compares).
MLFLOW_KEYS = ("ENV_MANAGER", "SYNCHRONOUS", "DOCKER_ARGS", "STORAGE_DIR", "build_image", "docker_auth")

Model = TypeVar("Model", bound=TargetFile)


def load_target(name_or_path: str | Path, project: Path | None = None) -> ComputeTarget:
    """Return a compute target by path, or by name from $WORKLOAD_FORECAST_TARGETS, ./targets or PROJECT/targets.

    A relative ``identityFile`` or ``sshConfig`` is made absolute, seen from the file.

    Raises:
        SettingsError: naming the file, the field and what is allowed, or where it was looked for.
    """
    path = find_file("compute", name_or_path, project)
    given = _read_json(path)
    for field in ("identityFile", "sshConfig"):
        if isinstance(value := given.get(field), str) and value and not value.startswith(("-", "~", "/")):
            given[field] = str(path.absolute().parent / value)
    target = parse_target(given, str(path))
    if path.name.endswith(COMPUTE_SUFFIX) and path.name != target.name + COMPUTE_SUFFIX:
        raise SettingsError(f"{path}: name '{target.name}' and the file's name differ: let both be the same.")
    return target


def load_run_configuration(name_or_path: str | Path, project: Path | None = None) -> RunConfiguration:
    """Return a run configuration by path, or by name from the folders of :func:`load_target`.

    Raises:
        SettingsError: as in :func:`load_target`.
    """
    path = find_file("runconfig", name_or_path, project)
    return parse_run_configuration(_read_json(path), str(path))


def parse_target(mapping: Mapping[str, Any], origin: str) -> ComputeTarget:
    """Return the compute target that the fields of a file describe.

    Raises:
        SettingsError: naming origin, field and what is allowed.
    """
    return _validate(ComputeTarget, mapping, origin)


def parse_run_configuration(mapping: Mapping[str, Any], origin: str) -> RunConfiguration:
    """Return the run configuration that MLflow read for a backend, without MLflow's own keys.

    Args:
        mapping: the content of the file, as MLflow hands it to the backend.
        origin: what the errors name as the place of the content.

    Raises:
        SettingsError: naming origin, field and what is allowed.
    """
    given = {name: value for name, value in mapping.items() if name not in MLFLOW_KEYS}
    if "type" in given and "target" not in given:
        raise SettingsError(f"{origin}: this is a compute target; give a run configuration (NAME.runconfig.json).")
    return _validate(RunConfiguration, given, origin)


def spark_dependencies(configuration: RunConfiguration, project: Path) -> SparkDependencies:
    """Return the Spark settings, repositories and packages of the file and of the configuration itself, which wins.

    Raises:
        SettingsError: the file is missing, not JSON or YAML, or holds something else.
    """
    if not configuration.spark_dependencies_file:
        return configuration.spark
    path = project / Path(configuration.spark_dependencies_file).expanduser()
    base, own = _validate(SparkDependencies, _read_mapping(path), str(path)), configuration.spark
    return SparkDependencies(
        configuration={**base.configuration, **own.configuration},
        repositories=tuple(dict.fromkeys(base.repositories + own.repositories)),
        packages=tuple(dict.fromkeys(base.packages + own.packages)),
    )


def targets_folders(project: Path | None = None) -> list[Path]:
    """Return the folders in which a name is looked up, in this order."""
    named = os.environ.get(FOLDER_VARIABLE)
    folders = [Path(named).expanduser()] if named else []
    folders.append(Path("targets"))
    if project and project.resolve() != Path.cwd():
        folders.append(project / "targets")
    return folders


def targets_folder(project: Path | None = None) -> Path:
    """Return the folder to write to: $WORKLOAD_FORECAST_TARGETS, else the first of ./targets, PROJECT/targets."""
    folders = targets_folders(project)
    if os.environ.get(FOLDER_VARIABLE):
        return folders[0]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def list_targets(folder: Path) -> list[ComputeTarget]:
    """Return the targets of a folder by name; none if there is no such folder.

    Raises:
        SettingsError: one of the files is not a compute target.
    """
    return [load_target(path) for path in sorted(folder.glob(f"*{COMPUTE_SUFFIX}"))]


def find_file(kind: Kind, name_or_path: str | Path, project: Path | None = None) -> Path:
    """Return the path of ``NAME.compute.json`` or ``NAME.runconfig.json``.

    Raises:
        SettingsError: there is none; says where it was looked for and which there are.
    """
    text = str(name_or_path)
    if is_path(text):
        path = Path(text).expanduser()
        beside = project / path if project else path
        return beside if beside.is_file() and not path.is_file() else path
    file_name = f"{text}.{kind}.json"
    folders = targets_folders(project)
    for folder in folders:
        if (folder / file_name).is_file():
            return folder / file_name
    there = sorted({path.name[: -len(f".{kind}.json")] for folder in folders for path in folder.glob(f"*.{kind}.json")})
    raise SettingsError(
        f"{file_name} is not in {', '.join(map(str, folders))}; there is {', '.join(there) or 'none yet'}. "
        "Write it with `workload-forecast target attach`, or give the path of a file."
    )


def save(item: ComputeTarget | RunConfiguration, path: Path, *, overwrite: bool = False) -> Path:
    """Write what was set in a target or run configuration as readable JSON and return the path.

    Raises:
        SettingsError: the path holds something else and ``overwrite`` is not given, or it cannot be written.
    """
    content = item.model_dump(mode="json", by_alias=True, exclude_unset=True)
    kind: Kind = "compute" if isinstance(item, ComputeTarget) else "runconfig"
    schema = next(
        (up / _schema_path(kind) for up in path.absolute().parents if (up / _schema_path(kind)).is_file()), None
    )
    if schema:  # an address that no editor can open would be worse than none
        content = {"$schema": Path(os.path.relpath(schema, path.absolute().parent)).as_posix(), **content}
    if path.exists() and not overwrite:
        if _read_json(path) != content:
            raise SettingsError(f"{path} exists and says something else: remove it first, or allow to overwrite it.")
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as problem:
        raise SettingsError(f"{path} cannot be written: {problem}.") from None
    return path


def json_schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema that editors check the files with."""
    model: type[TargetFile] = ComputeTarget if kind == "compute" else RunConfiguration
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(by_alias=True)}
    schema["properties"] = {"$schema": {"type": "string"}, **schema["properties"]}
    if kind == "compute":
        schema["allOf"] = [_only_fields_of(target_type) for target_type in TARGET_TYPES]
    return schema


def _only_fields_of(target_type: TargetType) -> dict[str, Any]:
    then: dict[str, Any] = {"propertyNames": {"enum": ["$schema", *ComputeTarget.fields_of(target_type)]}}
    if target_type in REMOTE:
        then["required"] = ["address"]
    return {"if": {"properties": {"type": {"const": target_type}}}, "then": then}


def _schema_path(kind: Kind) -> Path:
    return Path("docs", "schemas", f"{kind}.schema.json")


def _validate(model: type[Model], given: Mapping[str, Any], origin: str) -> Model:
    fields = [to_camel(name) for name in model.model_fields]
    given = {name: value for name, value in given.items() if name != "$schema"}
    for name in given:
        if name not in fields and looks_secret(name):
            raise SettingsError(
                f"{origin}: take '{name}' out and revoke it if it is real: credentials never stand in a file. "
                "ssh's keys and agent log in to targets; forwardVariables pass other secrets on."
            )
    unknown = [name for name in given if name not in fields]
    if unknown:
        if model is ComputeTarget and given.get("type") in TARGET_TYPES:
            fields = list(ComputeTarget.fields_of(given["type"]))
        near = difflib.get_close_matches(to_camel(unknown[0]), fields, 1)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise SettingsError(f"{origin}: {unknown[0]}: is not a known field.{guess} Fields: {', '.join(fields)}.")
    try:
        return model.model_validate(given)
    except ValidationError as problem:
        raise SettingsError(f"{origin}: {_explain(problem)}.") from None


def _explain(problem: ValidationError) -> str:
    lines: dict[str, list[str]] = {}
    for error in problem.errors(include_url=False, include_input=False):
        # the members of a union show up as "bool" and "literal[…]": plumbing, not part of the file
        where = ".".join(str(part) for part in error["loc"] if not re.match(r"bool$|literal\[", str(part)))
        message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        message = WORDS.get(message, message)
        if error["type"] == "string_pattern_mismatch":
            message = PATTERNS.get(error["ctx"]["pattern"], message)
        lines.setdefault(where, []).append(message)
    return "; ".join(
        f"{where}: {' or '.join(said).replace(' or must be ', ' or ')}" if where else said[0]
        for where, said in lines.items()
    )


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path, "file", "target or type")


def _read_mapping(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return _read_json(path)
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist; sparkDependenciesFile names it.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{path} cannot be read: {problem}.") from None
    except yaml.YAMLError as problem:
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(problem).split())}.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: must hold configuration, repositories or packages.")
    return content


if __name__ == "__main__":
    for published in get_args(Kind):
        _schema_path(published).parent.mkdir(parents=True, exist_ok=True)
        _schema_path(published).write_text(json.dumps(json_schema(published), indent=2) + "\n", encoding="utf-8")
