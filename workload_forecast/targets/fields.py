"""The fields of a target's two files, and what may stand in them."""

from __future__ import annotations

import json
import os
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from workload_forecast.targets.redaction import looks_secret

TargetType = Literal["docker", "remote-docker", "spark-cluster", "databricks"]
TARGET_TYPES: tuple[TargetType, ...] = get_args(TargetType)
Framework = Literal["python", "pyspark"]

COMPUTE_SUFFIX = ".compute.json"

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
_WORKING_DIRECTORIES = ("PWD", "OLDPWD")
REMOTE = ("remote-docker", "spark-cluster")

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
PATTERNS = {
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
WORDS = {  # pydantic's own words -> those of a JSON file
    "Extra inputs are not permitted": "is not a known field",
    "Field required": "is missing",
    "must be a valid boolean": "must be true or false",
    "must be a valid dictionary": "must be an object {NAME: VALUE}",
    "must be a valid integer": "must be a whole number",
    "must be a valid number": "must be a number",
    "must be a valid string": "must be text in quotes",
    "must be a valid tuple": "must be a list [...]",
}
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


def is_path(text: str) -> bool:
    """Return whether a target is named by its file rather than by its name."""
    return "/" in text or os.sep in text or text.endswith(".json")


class TargetFile(BaseModel):
    """A file, or a part of one: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class ComputeTarget(TargetFile):
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
        return self.type in REMOTE

    @staticmethod
    def fields_of(target_type: TargetType) -> tuple[str, ...]:
        """Return the names that a compute file of this type may hold."""
        return tuple(to_camel(name) for name in _FIELDS_OF_TYPE[target_type])


class Mount(TargetFile):
    """A directory of the target that the job's container sees."""

    source: str = Field(min_length=1, description="Directory on the target.")
    target: str = Field(pattern=_ABSOLUTE, description="Absolute path inside the container.")
    read_only: StrictBool = Field(default=True, description="Whether the job may only read it.")

    _plain = field_validator("*")(_plain)


class SparkDependencies(TargetFile):
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


class RunConfiguration(TargetFile):
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
        default=False, description="Whether to pass debug=FILTER_IP to an entry point with debug and sample unset."
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
        if not is_path(value) and not re.fullmatch(_NAME, value):
            raise ValueError(f"'{value}' {PATTERNS[_NAME]}; or be a path that ends in {COMPUTE_SUFFIX}")
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
            if looks_secret(name) and name not in _WORKING_DIRECTORIES:
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
