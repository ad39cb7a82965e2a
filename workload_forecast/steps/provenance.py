"""Which code and which libraries did it: part of every run's record and of the key under which it is found again."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent

_LIBRARIES = ("mlflow", "pyspark", "duckdb", "narwhals", "pandas", "numpy", "pyarrow")


@cache
def code_digest(*places: str) -> str:
    """Return a digest of the package's own source, so that an edit that was not committed counts as new code.

    Args:
        places: rooms and modules (``sessions``, ``schemas.py``), where not all of the package matters.
    """
    digest = hashlib.sha256()
    for root in (PACKAGE / place for place in places or ("",)):
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.suffix in {".py", ".json", ".html", ".css", ".js"}:
                digest.update(f"{path.relative_to(PACKAGE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide a result."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
