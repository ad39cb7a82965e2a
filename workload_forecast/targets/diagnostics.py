"""A zip for a bug report: logs, settings and versions, without secrets."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath
from typing import Any

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.redaction import redact, secret_values

ABOUT = "about.json"

_TOOLS = {
    "ssh": ("ssh", "-V"),
    "rsync": ("rsync", "--version"),
    "docker": ("docker", "--version"),
    "git": ("git", "--version"),
}
_PATIENCE_SECONDS = 10


def write_diagnostics(path: Path, sources: Mapping[str, str | Path], secrets: Iterable[str]) -> Path:
    """Write a zip of redacted texts, readable by its owner alone; it appears whole or not at all.

    Args:
        path: the zip to write; one that is there is replaced.
        sources: name in the zip → the text itself, or the file that holds it. ``about.json`` is added.
        secrets: values that must not be in the zip, beside those that are recognised (see ``redaction``) and those of
            this process's environment variables whose names look secret.

    Returns:
        ``path``, absolute.

    Raises:
        SettingsError: a name leads out of the zip or is given twice, or a file is not UTF-8 text.
        EnvironmentProblem: a file cannot be read, or the zip cannot be written.
    """
    known = (*secrets, *secret_values(os.environ))
    texts = {ABOUT: json.dumps(about(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"}
    for name, source in sources.items():
        shown = redact(name, known)
        if shown in texts or not _stays_inside(shown):
            raise SettingsError(f"{shown!r} cannot be a file's name in {path}. Give a relative one that is not taken.")
        texts[shown] = _text(source, shown) if isinstance(source, Path) else source
    path = path.absolute()
    try:
        _write(path, {name: redact(text, known) for name, text in texts.items()})
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be written: {error.strerror}. Name a place that can.") from error
    return path


def about() -> dict[str, Any]:
    """Return what a reader of a bug report asks first: operating system, Python, libraries and tools with versions."""
    return {
        "operating system": _operating_system(),
        "machine": platform.machine(),
        "python": sys.version,
        "libraries": {one.metadata["Name"]: one.version for one in distributions()},
        "tools": {name: _version(command) for name, command in _TOOLS.items()},
    }


def _operating_system() -> str:
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']} ({platform.platform()})"
    except (OSError, KeyError):
        return platform.platform()  # not a Linux


def _version(command: tuple[str, ...]) -> str:
    """The first line that a tool says about itself (``ssh -V`` says it on standard error)."""
    try:
        result = subprocess.run(command, capture_output=True, check=False, timeout=_PATIENCE_SECONDS)
    except FileNotFoundError:
        return "not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no answer: {error}"
    lines = (result.stdout or result.stderr).decode("utf-8", "replace").splitlines()
    return lines[0].strip() if lines else f"no answer, exit code {result.returncode}"


def _stays_inside(name: str) -> bool:
    place = PurePosixPath(name)
    return bool(place.parts) and not place.is_absolute() and ".." not in place.parts and "\\" not in name


def _text(file: Path, name: str) -> str:
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise EnvironmentProblem(f"{file} cannot be read: {error.strerror}. Leave {name} out, or mend that.") from error
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SettingsError(f"{file} is not text, and secrets cannot be taken out of it. Leave {name} out.")
    return text


def _write(path: Path, texts: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes a file that its owner alone may read
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, text in sorted(texts.items()):
                    archive.writestr(name, text.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
