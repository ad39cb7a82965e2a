"""Globs over names that are no files: what :func:`glob.glob` would match, decided segment by segment."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

_MAGIC = re.compile(r"[*?[]")


def is_pattern(path: str) -> bool:
    """Whether a path has one of the glob characters ``*``, ``?``, ``[``."""
    return _MAGIC.search(path) is not None


def literal_head(path: str) -> str:
    """Return what every match begins with: the text before the first glob character."""
    return _MAGIC.split(path, maxsplit=1)[0]


def matches(pattern: str, name: str) -> bool:
    """Whether a file of this name is found by the pattern.

    ``*`` and ``?`` stay within a segment, ``**`` as a whole segment stands for any number of them, and a name that
    begins with a dot is found only by a segment that does so too.
    """
    return _match(pattern.split("/"), name.split("/"))


def _match(pattern: Sequence[str], name: Sequence[str]) -> bool:
    if not pattern or not name:
        return not pattern and not name
    head, rest = pattern[0], pattern[1:]
    if head != "**":
        return _match_segment(head, name[0]) and _match(rest, name[1:])
    while rest and rest[0] == "**":  # two of them mean no more than one, and would be tried in every combination
        rest = rest[1:]
    if rest and _match(rest, name):
        return True
    return not name[0].startswith(".") and ((not rest and len(name) == 1) or _match([head, *rest], name[1:]))


def _match_segment(pattern: str, name: str) -> bool:
    if not is_pattern(pattern):
        return pattern == name
    if name.startswith(".") and not pattern.startswith("."):
        return False
    return fnmatch.fnmatchcase(name, pattern)
