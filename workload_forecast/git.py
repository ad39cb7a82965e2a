"""What git says about a folder: the commit it is at, and what was changed since."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_state(folder: Path) -> tuple[str | None, str]:
    """Return the commit that ``folder`` is at, or None outside a checkout, and the uncommitted diff below it."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None, ""
    return commit.strip(), _git(folder, "diff", "HEAD", "--", ".") or ""


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return None  # no git on this machine: the code digest still tells versions apart
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
