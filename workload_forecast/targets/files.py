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
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from workload_forecast.errors import SettingsError

TargetType = Literal["docker", "remote-docker", "spark-cluster", "databricks"]
TARGET_TYPES: tuple[TargetType, ...] = get_args(TargetType)
Framework = Literal["python", "pyspark"]
Kind = Literal["compute", "runconfig"]

FOLDER_VARIABLE = "WORKLOAD_FORECAST_TARGETS"
COMPUTE_SUFFIX, RUN_CONFIGURATION_SUFFIX = ".compute.json", ".runconfig.json"

#: What MLflow mixes into the configuration of every backend (constants of ``mlflow.projects.utils``; a test compares).
MLFLOW_KEYS = ("ENV_MANAGER", "SYNCHRONOUS", "DOCKER_ARGS", "STORAGE_DIR", "build_image", "docker_auth")

_SSH = ("address", "port", "username", "identity_file", "ssh_config")
_IMAGE = ("base_image", "dockerfile")
_SPARK = ("spark_master", "yarn_deploy_mode", "python_location", "spark_submit_location")
_PLACES = ("name", "type", "base_directory", "shared_directory")
_FIELDS_OF_TYPE: dict[TargetType, tuple[str, ...]] = {
    "docker": (*_PLACES, *_IMAGE),
    "remote-docker": (*_PLACES, *_SSH, *_IMAGE),
    "spark-cluster": (*_PLACES, *_SSH, *_SPARK),
    "databricks": ("name", "type", "shared_directory", "profile"),
}
_REMOTE = ("remote-docker", "spark-cluster")

# A value that begins with "-" would be read as an option by ssh, rsync or docker; quotes, spaces and dollars in a host
# or user name would reach the shell of a ProxyCommand in the user's ssh configuration.
_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"
_HOST = r"^([A-Za-z0-9._:%][A-Za-z0-9._:%-]*)?$"
_USER = r"^([A-Za-z0-9._+][A-Za-z0-9._+@-]*)?$"
_DIRECTORY = r"^(/|~/)"
_DIRECTORY_OR_NONE = r"^(/|~/|$)"
_ABSOLUTE = r"^/"
_MASTER = r"^(yarn|spark://[^\s-]\S*|local(\[[0-9*,]+\])?)?$"
_GPU = r"^(all|[1-9][0-9]*)?$"
_MEMORY = r"^([1-9][0-9]*[bkmg]?)?$"
_COORDINATES = r"^[\w.][\w.-]*:[\w.-]+:[\w.-]+$"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATTERNS = {
    _NAME: "must be letters, digits, '.', '_' or '-', and not begin with '.' or '-'",
    _HOST: "must be a host name, an IP address or a Host of your ssh configuration, not beginning with '-'",
    _USER: "must be a user name of letters, digits, '.', '_', '+', '@' or '-', not beginning with '-'",
    _DIRECTORY: "must be a path on the target that begins with '/' or '~/'",
    _DIRECTORY_OR_NONE: "must be empty or a path on the target that begins with '/' or '~/'",
    _ABSOLUTE: "must be a path in the container that begins with '/'",
    _MASTER: "must be '' (the cluster's own), 'yarn', 'spark://HOST:PORT' or 'local[N]'",
    _GPU: "must be '' (none), 'all' or a number of GPUs like '2'",
    _MEMORY: "must be a number with b, k, m or g, like '8g'",
    _COORDINATES: "must be GROUP:ARTIFACT:VERSION",
}
_WORDS = {  # pydantic's own words -> those of a JSON file
    "Extra inputs are not permitted": "is not a known field",
    "Field required": "is missing",
    "must be a valid boolean": "must be true or false",
    "must be a valid dictionary": "must be an object {NAME: VALUE}",
    "must be a valid integer": "must be a whole number",
    "must be a valid number": "must be a number",
    "must be a valid string": "must be text in quotes",
    "must be a valid tuple": "must be a list [...]",
}
_SECRET = re.compile(r"key|secret|passw|_pwd|token(?!iz)|(^|[._-])sas($|[._-])|connection[._-]?string", re.IGNORECASE)
# Spark has many harmless names with "key" inside (spark.sql.mapKeyDedupPolicy): only a whole part is a secret
_SPARK_SECRET = re.compile(r"(^|[._-])(key|sas)($|[._-])|secret(?!Bit)|password|token", re.IGNORECASE)


def _plain(value: object) -> object:
    if isinstance(value, str) and value.startswith("-"):
        raise ValueError("must not begin with '-', because it would be read as an option")
    if isinstance(value, str) and re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("must not hold line breaks or control characters")
    return value


def _as_text(value: object) -> object:
    """Spark settings are text; YAML and JSON writers leave the quotes of numbers and booleans out."""
    if not isinstance(value, dict):
        return value
    return {name: json.dumps(item) if isinstance(item, (bool, int, float)) else item for name, item in value.items()}


def looks_secret(name: str) -> bool:
    """Whether a variable of this name probably holds a key, password, token or connection string."""
    return bool(_SECRET.search(name))


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class ComputeTarget(_File):
    """Where a job runs; the content of NAME.compute.json."""

    name: str = Field(pattern=_NAME, description="Name of the target; the file is called NAME.compute.json.")
    type: TargetType = Field(description="Kind of target; the MLflow backend of the same name launches it.")
    address: str = Field(
        default="", pattern=_HOST, description="Host name, IP address, or a Host of your ssh configuration."
    )
    port: int | None = Field(default=None, ge=1, le=65535, strict=True, description="ssh port; null leaves it to ssh.")
    username: str = Field(default="", pattern=_USER, description="ssh user; empty leaves it to your ssh configuration.")
    identity_file: str = Field(
        default="",
        description="Private key for ssh, like ~/.ssh/id_ed25519, or relative to this file; empty: ssh chooses.",
    )
    ssh_config: str = Field(
        default="", description="ssh configuration to use instead of ~/.ssh/config; relative to this file."
    )
    base_directory: str = Field(
        default="~/.workload_forecast",
        pattern=_DIRECTORY,
        description="Folder on the target for runs, environments and data.",
    )
    shared_directory: str = Field(
        default="",
        pattern=_DIRECTORY_OR_NONE,
        description="Directory of the target that persists between runs: mounted into containers at the same path, "
        "seen by all nodes of a cluster. Programs find it in WORKLOAD_FORECAST_SHARED.",
    )
    base_image: str = Field(
        default="", description="Image that the job's image builds on; empty: that of the Dockerfile."
    )
    dockerfile: str = Field(
        default="docker/Dockerfile", description="Dockerfile of the job's image, relative to the project."
    )
    spark_master: str = Field(
        default="",
        pattern=_MASTER,
        description="Spark master: yarn or spark://HOST:PORT; empty: the cluster's own default.",
    )
    yarn_deploy_mode: Literal["client", "cluster"] = Field(
        default="client",
        description="Where YARN runs the driver: on the head node (client) or in a container (cluster).",
    )
    python_location: str = Field(
        default="", description="Python interpreter on the target; empty: search for a fitting one."
    )
    spark_submit_location: str = Field(default="", description="spark-submit on the target; empty: search for it.")
    profile: str = Field(default="", description="Profile of the Databricks CLI; empty: its default.")

    _plain = field_validator("*")(_plain)

    @model_validator(mode="after")
    def _fits_its_type(self) -> ComputeTarget:
        known = self.fields_of(self.type)
        given = self.model_dump(by_alias=True, exclude_defaults=True)
        foreign = ", ".join(name for name in given if name not in known)
        if foreign:
            raise ValueError(f"type {self.type} does not know {foreign}; its fields are {', '.join(known)}")
        if self.remote and not self.address:
            raise ValueError(f"type {self.type} needs address, a host name or a Host of your ssh configuration")
        if self.yarn_deploy_mode == "cluster" and self.spark_master not in ("", "yarn"):
            raise ValueError(f"yarnDeployMode cluster needs sparkMaster yarn, not {self.spark_master}")
        return self

    @property
    def remote(self) -> bool:
        """Whether the target is reached through ssh."""
        return self.type in _REMOTE

    @staticmethod
    def fields_of(target_type: TargetType) -> tuple[str, ...]:
        """Return the names that a compute file of this type may hold."""
        return tuple(to_camel(name) for name in _FIELDS_OF_TYPE[target_type])


class Mount(_File):
    """A directory of the target that the job's container sees."""

    source: str = Field(min_length=1, description="Directory on the target.")
    target: str = Field(pattern=_ABSOLUTE, description="Absolute path inside the container.")
    read_only: StrictBool = Field(default=True, description="Whether the job may only read it.")

    _plain = field_validator("*")(_plain)


class SparkDependencies(_File):
    """What ``spark-submit`` is asked for: settings, repositories and packages."""

    configuration: Annotated[
        dict[str, str],
        BeforeValidator(_as_text),
        WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}),
    ] = Field(default={}, description="Spark settings, like spark.executor.memory.")
    repositories: tuple[str, ...] = Field(default=(), description="Further Maven repositories.")
    packages: tuple[Annotated[str, Field(pattern=_COORDINATES)], ...] = Field(
        default=(), description="Maven packages as GROUP:ARTIFACT:VERSION."
    )

    @field_validator("configuration")
    @classmethod
    def _settings_of_spark(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"spark\.[^\s=]+", name) or re.search(r"[\x00\r\n]", text):
                raise ValueError(f"'{name}' must begin with 'spark.' (spark-submit ignores others) and fill one line")
            if _SPARK_SECRET.search(name):
                raise ValueError(
                    f"take '{name}' out and revoke it if it is real: credentials never stand in a file. "
                    "Set them in the cluster's own configuration or name a variable in forwardVariables"
                )
        return value

    @field_validator("repositories")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:/[^\s,]+", address):
                raise ValueError(f"'{address}' must be an address like https://HOST/PATH")
            if re.search(r"//[^/]*@", address):
                raise ValueError("take user and password out of the address: credentials never stand in a file")
        return value


class RunConfiguration(_File):
    """How a job runs on a target; the content of NAME.runconfig.json."""

    target: str = Field(description="Name of a compute target, or the path of its NAME.compute.json.")
    framework: Literal["auto", "python", "pyspark"] = Field(
        default="auto",
        description="What starts the program: python or spark-submit; auto: what the type of target calls for.",
    )
    environment_variables: dict[str, str] = Field(
        default={}, description="Variables that the program finds in its environment. Secrets: forwardVariables."
    )
    forward_variables: tuple[str, ...] = Field(
        default=(), description="Names of the launcher's variables to pass on; the way for secrets."
    )
    dependencies_file: str = Field(
        default="", description="Conda YAML or requirements.txt, relative to the project; empty: that of MLproject."
    )
    spark_dependencies_file: str = Field(
        default="",
        description="JSON or YAML file with configuration, repositories and packages, relative to the project.",
    )
    spark: SparkDependencies = Field(
        default=SparkDependencies(), description="The same in place; wins over the file where both say something."
    )
    prepare_environment: StrictBool = Field(
        default=True, description="Whether submit builds a missing environment; if not, `target prepare` must have."
    )
    use_sampling: StrictBool = Field(
        default=False, description="Whether to pass debug=FILTER_IP to an entry point with an unset debug parameter."
    )
    gpu: str = Field(default="", pattern=_GPU, description="GPUs of the container: empty, all, or a number like 2.")
    memory: str = Field(default="", pattern=_MEMORY, description="Limit of the container's memory, like 8g.")
    cpus: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] | None = Field(
        default=None, description="Limit of the container's processors, like 2.0."
    )
    mounts: tuple[Mount, ...] = Field(default=(), description="Further directories that the container sees.")
    data: Literal["auto", "launcher", "target"] = Field(
        default="auto",
        description="Where the session files are: on the launching machine (they travel) or on the target.",
    )
    fetch_results: Literal["auto"] | StrictBool = Field(
        default="auto", description="Whether results come back to the launcher's home; auto: from remote targets."
    )
    size_limit_megabytes: int = Field(
        default=100, ge=1, strict=True, description="Largest snapshot of the project that travels."
    )
    cluster_spec: str = Field(
        default="", description="Databricks: JSON file with a cluster or job, relative to the project."
    )

    _plain = field_validator("dependencies_file", "spark_dependencies_file", "cluster_spec")(_plain)

    @field_validator("target")
    @classmethod
    def _name_or_path(cls, value: str) -> str:
        _plain(value)
        if not _is_path(value) and not re.fullmatch(_NAME, value):
            raise ValueError(f"'{value}' {_PATTERNS[_NAME]}; or be a path that ends in {COMPUTE_SUFFIX}")
        return value

    @field_validator("environment_variables", "forward_variables")
    @classmethod
    def _variable_names(cls, value: Any) -> Any:
        for name in value:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"'{name}' must be a variable's name: letters, digits and '_', no digit first")
        return value

    @field_validator("environment_variables")
    @classmethod
    def _no_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if looks_secret(name):
                raise ValueError(
                    f"take '{name}' out and revoke it if it is real: credentials never stand in a file. "
                    f"Put its name into forwardVariables and set it where you launch from"
                )
            if "\x00" in text:
                raise ValueError(f"'{name}' must not hold a NUL character")
        return value

    @model_validator(mode="after")
    def _said_once(self) -> RunConfiguration:
        both = ", ".join(sorted(set(self.environment_variables).intersection(self.forward_variables)))
        if both:
            raise ValueError(f"{both}: choose between environmentVariables and forwardVariables")
        return self

    def framework_on(self, target_type: TargetType) -> Framework:
        """Return what starts the program on a target of this type."""
        if self.framework != "auto":
            return self.framework
        return "pyspark" if target_type == "spark-cluster" else "python"


Model = TypeVar("Model", bound=_File)


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
    if _is_path(text):
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
    model: type[_File] = ComputeTarget if kind == "compute" else RunConfiguration
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(by_alias=True)}
    schema["properties"] = {"$schema": {"type": "string"}, **schema["properties"]}
    if kind == "compute":
        schema["allOf"] = [_only_fields_of(target_type) for target_type in TARGET_TYPES]
    return schema


def _only_fields_of(target_type: TargetType) -> dict[str, Any]:
    then: dict[str, Any] = {"propertyNames": {"enum": ["$schema", *ComputeTarget.fields_of(target_type)]}}
    if target_type in _REMOTE:
        then["required"] = ["address"]
    return {"if": {"properties": {"type": {"const": target_type}}}, "then": then}


def _schema_path(kind: Kind) -> Path:
    return Path("docs", "schemas", f"{kind}.schema.json")


def _is_path(text: str) -> bool:
    return "/" in text or os.sep in text or text.endswith(".json")


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
        message = _WORDS.get(message, message)
        if error["type"] == "string_pattern_mismatch":
            message = _PATTERNS.get(error["ctx"]["pattern"], message)
        lines.setdefault(where, []).append(message)
    return "; ".join(
        f"{where}: {' or '.join(said).replace(' or must be ', ' or ')}" if where else said[0]
        for where, said in lines.items()
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist (looked from {Path.cwd()}).") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{path} cannot be read: {problem}.") from None
    except json.JSONDecodeError as problem:
        raise SettingsError(f"{path}, line {problem.lineno}: not valid JSON: {problem.msg}.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: must be a JSON object with fields like target or type.")
    return content


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
