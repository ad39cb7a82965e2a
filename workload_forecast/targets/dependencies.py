"""What a project needs to run, as one flat text of pip requirements, whatever file says it.

Understood are conda's YAML, MLflow's ``python_env`` YAML and pip's requirements files. A target installs the flat text
with pip into an environment of its own, so the text alone decides whether two projects share one.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from workload_forecast.errors import SettingsError

# Only conda installs these, and a target does without: the pip part brings a Java of its own.
_CONDA_ONLY = frozenset({"openjdk"})
# Every environment has them.
_BUILD_TOOLS = frozenset({"pip", "setuptools", "wheel"})

_CONDA_PACKAGE = re.compile(r"(?:[\w./-]+::)?(?P<name>[A-Za-z0-9_.-]+)\s*(?P<version>.*)", re.DOTALL)
_VERSION = re.compile(r"\d+(?:\.\d+)*")
_COMMENT = re.compile(r"(?:^|\s+)#.*$")
_INCLUDE = re.compile(r"(?:(-r|-c)\s*|(--requirement|--constraint)(?:\s+|\s*=\s*))(?P<file>\S.*)")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"']+", re.IGNORECASE)
_LOCAL = re.compile(r"(?:-e|--editable)\b|file:|[./~]|[\w.-]+/|\S+\.(?:whl|zip|tar\.gz)(?:\s|$)", re.IGNORECASE)
_FIND_LINKS = re.compile(r"(?:-f\s*|--find-links(?:\s+|\s*=\s*))(?P<place>\S+)")


@dataclass(frozen=True)
class Dependencies:
    """The needs of a project.

    Attributes:
        python: wanted versions of Python as a PEP 440 specifier (``==3.11.*``); empty: any.
        requirements: text of a pip requirements file, one requirement or option a line, hashes kept, without includes.
            A constraint (``-c``) is a line like any other: one text has no other way to hold it.
        pins: exact version by canonical package name, markers not evaluated; several candidates for one package, as
            for different versions of Python, are separated by ``|``.
        ignored: packages of the conda file that a target does without.
    """

    python: str = ""
    requirements: str = ""
    pins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ignored: tuple[str, ...] = ()

    def accepts_python(self, version: str) -> bool:
        """Whether Python of this version (``3.11.2``) will do."""
        return SpecifierSet(self.python).contains(version, prereleases=True)


def read_dependencies(project: Path, file: str = "") -> Dependencies:
    """Read what the project needs.

    Args:
        project: the project's folder.
        file: conda or ``python_env`` YAML, or a requirements file (``.txt``), relative to the project; empty: what
            MLflow would take: what MLproject names, or else ``conda.yaml``. A project with neither needs nothing.

    Raises:
        SettingsError: a file is missing, outside the project, not understood, includes itself, or names what pip cannot
            install on another machine: a package of conda's, a local path, an address with a password.
    """
    path = _inside(project, project, file, "dependenciesFile") if file else _default_file(project)
    if path is None:
        return Dependencies()
    suffix = path.suffix.lower()
    if suffix == ".txt":
        return _from_lines(project, path, _text(path), "", ())
    if suffix not in {".yaml", ".yml"}:
        raise SettingsError(f"{path} is neither conda's YAML (.yaml, .yml) nor a requirements file (.txt). Name one.")
    content = _yaml(path)
    if "python" in content or "build_dependencies" in content:
        return _from_python_env(project, path, content)
    return _from_conda(project, path, content)


def environment_hash(*parts: str) -> str:
    """Return 16 hex digits that stand for these texts, in this order: the name of what is built from them."""
    whole = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogateescape")
        whole.update(b"%d:%b" % (len(content), content))
    return whole.hexdigest()[:16]


def _default_file(project: Path) -> Path | None:
    # MLflow takes the name in any case, and conda.yaml where MLproject names no environment.
    described = next((path for path in sorted(project.iterdir()) if path.name.lower() == "mlproject"), None)
    content = _yaml(described) if described else {}
    for key in ("conda_env", "python_env"):
        if content.get(key):
            return _inside(project, project, str(content[key]), f"{key} of {described}")
    usual = project / "conda.yaml"
    return usual if usual.is_file() and "docker_env" not in content else None


def _from_conda(project: Path, path: Path, content: Mapping[str, Any]) -> Dependencies:
    python, ignored, lines = "", [], []
    for entry in _entries(path, content, "dependencies"):
        if isinstance(entry, dict) and set(entry) == {"pip"}:
            lines += [str(line) for line in _entries(path, entry, "pip")]
            continue
        match = _CONDA_PACKAGE.fullmatch(entry.strip()) if isinstance(entry, str) else None
        if match is None:
            raise SettingsError(f"{path}: {entry!r} is not understood. Write it like python=3.11.")
        name = match["name"].lower()
        if name == "python":
            python = _python(path, match["version"])
        elif name in _CONDA_ONLY:
            ignored.append(name)
        elif name not in _BUILD_TOOLS:
            raise SettingsError(
                f"{path}: {name} is a package of conda's, and compute targets install with pip. Name it in the "
                "pip part if pip has it, or install it in the project's Dockerfile or on the cluster."
            )
    return _from_lines(project, path, "\n".join(lines), python, tuple(ignored))


def _from_python_env(project: Path, path: Path, content: Mapping[str, Any]) -> Dependencies:
    build = (str(line) for line in _entries(path, content, "build_dependencies"))
    lines = [line for line in build if canonicalize_name(re.split(r"[^\w.-]", line)[0]) not in _BUILD_TOOLS]
    lines += [str(line) for line in _entries(path, content, "dependencies")]
    return _from_lines(project, path, "\n".join(lines), _python(path, str(content.get("python") or "")), ())


def _python(path: Path, written: str) -> str:
    """Conda's ``=3.11`` or ``>=3.10,<3.13``, or a bare version, as a PEP 440 specifier."""
    wanted = re.sub(r"\s+(?=[^<>=!~,\s])", "=", re.sub(r"([<>=!~,])\s+", r"\1", written.strip()))
    bare = re.fullmatch(r"(={0,2})(\d[\d.]*?)(\.?\*)?(?:=[\w*]+)?", wanted)  # the last is conda's name of a build
    if bare:
        # conda's == and a version with all its parts are exact; anything else means "of this series".
        exact = not bare[3] and (bare[1] == "==" or bare[2].count(".") == 2)
        wanted = f"=={bare[2]}" if exact else f"=={bare[2]}.*"
    try:
        return str(SpecifierSet(wanted))
    except InvalidSpecifier as error:
        raise SettingsError(f"{path}: Python's version {written!r} is not understood. Write it like 3.11.") from error


def _from_lines(project: Path, path: Path, text: str, python: str, ignored: tuple[str, ...]) -> Dependencies:
    # A file that is included twice brings its lines once.
    found = dict(_flattened(project, path, text, ()))
    pins: dict[str, list[str]] = {}
    for line, origin in found.items():
        name, version = _checked(line, origin)
        if version and version not in pins.setdefault(name, []):
            pins[name].append(version)
    return Dependencies(
        python=python,
        requirements="".join(f"{line}\n" for line in found),
        pins=MappingProxyType({name: "|".join(versions) for name, versions in sorted(pins.items())}),
        ignored=ignored,
    )


def _flattened(project: Path, path: Path, text: str, including: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Lines without comments, continuations and includes, each with the place that it comes from."""
    if path in including:
        chain = " -> ".join(str(one) for one in (*including, path))
        raise SettingsError(f"A requirements file includes itself: {chain}. Remove one of the includes.")
    for number, line in _logical_lines(text):
        origin = f"{path}:{number}"
        include = _INCLUDE.fullmatch(line)
        if include is None:
            yield line, origin
            continue
        words = shlex.split(include["file"])
        if len(words) != 1 or "://" in words[0]:
            raise SettingsError(f"{origin}: {line!r} includes no file of the project. Put a copy beside this one.")
        included = _inside(project, path.parent, words[0], origin)
        yield from _flattened(project, included, _text(included), (*including, path))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines as pip joins them: a backslash at the end goes on with the next; numbered by their first."""
    start, parts = 0, list[str]()
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        comment = line.lstrip().startswith("#")
        start = start if parts else number
        goes_on = line.endswith("\\") and not comment
        parts.append(f" {line}" if comment else line[:-1] if goes_on else line)
        if goes_on and number < len(lines):
            continue
        joined = " ".join(_COMMENT.sub("", "".join(parts)).split())
        if joined:
            yield start, joined
        parts = []


def _checked(line: str, origin: str) -> tuple[str, str]:
    """The canonical name and the exact version that a line pins; empty where it pins none."""
    _refuse_password(line, origin)
    if line.startswith("-") and not re.match(r"(?:-e|--editable)\b", line):
        links = _FIND_LINKS.fullmatch(line)
        if links and "://" not in links["place"] and not links["place"].startswith("/"):
            raise SettingsError(f"{origin}: {links['place']} is not on the target. Give an absolute path of there.")
        return "", ""
    if _LOCAL.match(line) and "@ " not in line:
        raise SettingsError(
            f"{origin}: {line!r} is a local path, and environments are built without the code. Name a package "
            "with its version; the project itself is importable from its own folder."
        )
    if re.match(r"(?:\w+\+)?\w+://", line):
        return "", ""  # an archive or a repository by its address
    try:
        requirement = Requirement(re.split(r"\s--?[a-z]", line, maxsplit=1)[0])
    except InvalidRequirement as error:
        raise SettingsError(f"{origin}: {line!r} is no requirement of pip's. Write it like numpy==2.1.0.") from error
    pinned = (one.version for one in requirement.specifier if one.operator in {"==", "==="})
    exact = [version for version in pinned if not version.endswith("*")]
    return canonicalize_name(requirement.name), exact[0] if exact else ""


def _refuse_password(line: str, origin: str) -> None:
    for address in _ADDRESS.findall(line):
        password = urlsplit(address).password
        if password and not re.fullmatch(r"\$\{\w+\}", password):
            raise SettingsError(
                f"{origin}: the address of {urlsplit(address).hostname} holds a password, which would stay in the "
                "environment. Take it out, and configure pip on the target (pip.conf) instead."
            )


def _inside(project: Path, base: Path, name: str, origin: str) -> Path:
    path = (base / name).resolve()
    if not path.is_relative_to(project.resolve()):
        raise SettingsError(f"{origin}: {name} lies outside the project {project}. Move it into the project.")
    if not path.is_file():
        raise SettingsError(f"{origin}: there is no file {path}. Correct the name.")
    return path


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as UTF-8 text: {error}. Save it as UTF-8.") from error


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {' '.join(str(error).split())}. Correct it.") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds no names and values at its top. See MLflow's documentation of projects.")
    return content


def _entries(path: Path, content: Mapping[str, Any], key: str) -> list[Any]:
    entries = content.get(key) or []
    if not isinstance(entries, list):
        raise SettingsError(f"{path}: {key} is not a list. Begin each of its lines with a dash.")
    return entries
