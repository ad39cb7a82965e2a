"""Which files of a project travel to a compute target: those that git would keep, without what ``.runignore`` names.

Git itself is asked, so its ignore rules hold exactly, also in a folder that is no repository. ``.runignore`` has the
syntax of ``.gitignore``, may lie in any folder of the project, and also holds for files that git tracks. It only leaves
files out: it brings none back that ``.gitignore`` names.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workload_forecast.errors import EnvironmentProblem, SettingsError

RUNIGNORE = ".runignore"

_MEGABYTE = 1_000_000
_BLOCK = 1 << 20
_NAMED = 5

# Set inside a git hook: they would point every git below at the hook's repository.
_OF_ANOTHER_REPOSITORY = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
)


@dataclass(frozen=True)
class Snapshot:
    """The files of a project at one moment.

    Attributes:
        folder: the project's folder, absolute.
        files: relative POSIX paths of files and symbolic links, sorted; bytes that are not UTF-8 are surrogates.
        bytes: the size of all files together.
        digest: SHA-256 of names, contents, link targets and executable bits, 64 hex digits.
    """

    folder: Path
    files: tuple[str, ...]
    bytes: int
    digest: str


def project_files(folder: Path, limit_megabytes: float) -> Snapshot:
    """List, measure and hash the files of the project in ``folder``; contents are read in blocks.

    ``folder`` may be a repository, a folder in one, or none. Checked-out submodules and nested repositories belong to
    the project, each with its own rules. ``.git`` never travels.

    Raises:
        SettingsError: no such folder, a link that leads outside of it, or more than ``limit_megabytes`` (of 10⁶ bytes).
        EnvironmentProblem: git is missing or fails, or a file cannot be read.
    """
    if not folder.is_dir():
        raise SettingsError(f"There is no project folder {folder}. Name the folder that holds MLproject.")
    folder = folder.resolve()
    listed = _not_ignored(folder)
    files = tuple(sorted(listed - _run_ignored(folder, listed)))
    _refuse_links_outside(folder, files)
    sizes = {name: (folder / name).lstat().st_size for name in files}
    total = sum(sizes.values())
    if total > limit_megabytes * _MEGABYTE:
        raise SettingsError(_too_large(folder, sizes, limit_megabytes))
    return Snapshot(folder=folder, files=files, bytes=total, digest=_digest(folder, files))


def copy(snapshot: Snapshot, target: Path) -> None:
    """Copy the files to the new or empty folder ``target``, with modes, times of change and links as links.

    Raises:
        EnvironmentProblem: ``target`` holds something, or a file has gone or cannot be read or written.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise EnvironmentProblem(f"{target} is not empty. Give every run a folder of its own.")
        for name in snapshot.files:
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(snapshot.folder / name, place, follow_symlinks=False)
    except OSError as error:
        raise EnvironmentProblem(f"The project cannot be copied to {target}: {error}. Submit again.") from error


def _not_ignored(folder: Path) -> set[str]:
    """Files and links below ``folder`` that git tracks or would track."""
    if _in_work_tree(folder):
        tracked = _git(folder, "ls-files", "-z", "--cached")
        ignored_as_a_whole = not tracked and _git_answers(folder, "check-ignore", "-q", ".")
        # A project below a folder that the outer repository ignores, such as a clone under outputs/, is none of its.
        if not ignored_as_a_whole:
            return _present(folder, tracked + _git(folder, "ls-files", "-z", "--others", "--exclude-standard"))
    with _empty_repository(folder) as options:
        return _present(folder, _git(folder, *options, "ls-files", "-z", "--others", "--exclude-standard"))


def _present(folder: Path, listing: bytes) -> set[str]:
    """What is there of a listing; nested repositories, which git lists as one folder, are listed in their turn."""
    found: set[str] = set()
    parents: dict[str, bool] = {"": True}
    for entry in filter(None, listing.split(b"\0")):
        name = os.fsdecode(entry).rstrip("/")
        if not _real_folder(folder, os.path.dirname(name), parents):  # noqa: PTH120  # names are text here
            continue
        try:
            mode = (folder / name).lstat().st_mode
        except FileNotFoundError:
            continue  # tracked and deleted
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            found.add(name)
        elif stat.S_ISDIR(mode) and (folder / name / ".git").exists():
            found.update(f"{name}/{inner}" for inner in _not_ignored(folder / name))
    return found


def _real_folder(folder: Path, name: str, known: dict[str, bool]) -> bool:
    """Whether no part of ``name`` is a link: git does not follow links, and files behind one are deleted for it."""
    if name not in known:
        above = _real_folder(folder, os.path.dirname(name), known)  # noqa: PTH120
        known[name] = above and not (folder / name).is_symlink()
    return known[name]


def _run_ignored(folder: Path, files: set[str]) -> set[str]:
    """The files that ``.runignore`` names: git's own answer for an index that holds all files."""
    with _empty_repository(folder) as options:
        blob = _git(folder, *options, "hash-object", "--stdin").strip()
        index = b"".join(b"100644 %b 0\t%b\0" % (blob, os.fsencode(name)) for name in sorted(files))
        _git(folder, *options, "update-index", "-z", "--index-info", stdin=index)
        rules = ("--cached", "--ignored", f"--exclude-per-directory={RUNIGNORE}")
        listing = _git(folder, *options, "ls-files", "-z", *rules)
    return {os.fsdecode(entry) for entry in listing.split(b"\0") if entry}


def _refuse_links_outside(folder: Path, files: Sequence[str]) -> None:
    bad = []
    for name in files:
        path = folder / name
        if path.is_symlink():
            goal = os.readlink(path)  # noqa: PTH115  # Path would drop a trailing part such as "."
            if os.path.isabs(goal) or not path.resolve().is_relative_to(folder):  # noqa: PTH117
                bad.append(f"{_shown(name)} -> {_shown(goal)}")
    if bad:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise SettingsError(
            f"{folder} has links that lead outside of it or are absolute: {', '.join(bad[:_NAMED])}{more}. They lead "
            f"nowhere on a target: make them relative and within the project, or name them in {RUNIGNORE}."
        )


def _too_large(folder: Path, sizes: dict[str, int], limit: float) -> str:
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:_NAMED]
    named = ", ".join(f"{_shown(name)} ({sizes[name] / _MEGABYTE:.1f} MB)" for name in largest)
    return (
        f"The files of {folder} take {sum(sizes.values()) / _MEGABYTE:.1f} MB, and the run configuration allows "
        f"{limit:g} MB. The largest: {named}. Name what a run does not need in {RUNIGNORE} (syntax of .gitignore), "
        "or raise sizeLimitMegabytes."
    )


def _digest(folder: Path, files: Sequence[str]) -> str:
    whole = hashlib.sha256()
    for name in files:
        path = folder / name
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                kind, content = b"link", hashlib.sha256(os.fsencode(os.readlink(path)))  # noqa: PTH115
            else:
                kind, content = (b"program" if mode & stat.S_IXUSR else b"file"), hashlib.sha256()
                with path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        content.update(block)
        except OSError as error:
            raise EnvironmentProblem(
                f"{_shown(name)} of {folder} cannot be read: {error.strerror}. Submit again, or name it in {RUNIGNORE}."
            ) from error
        # No name holds a zero byte, and the content's digest has one length: two projects never give the same bytes.
        whole.update(kind + b"\0" + os.fsencode(name) + b"\0" + content.digest())
    return whole.hexdigest()


def _shown(name: str) -> str:
    """A name that fits in a line of a message, whatever its characters."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() and " " not in text else repr(text)


def _in_work_tree(folder: Path) -> bool:
    result = _run(folder, ("rev-parse", "--is-inside-work-tree"))
    if result.returncode == 0:
        return result.stdout.strip() == b"true"
    if b"not a git repository" in result.stderr:
        return False
    raise _failed(folder, "rev-parse", result.stderr)  # such as a repository that belongs to another user


@contextmanager
def _empty_repository(folder: Path) -> Iterator[tuple[str, str]]:
    """Options that make git take ``folder`` as the work tree of an empty repository, which lies elsewhere."""
    with tempfile.TemporaryDirectory(prefix="workload-forecast-git-") as place:
        _git(folder, "init", "--quiet", "--bare", "--template=", place)
        yield f"--git-dir={place}", f"--work-tree={folder}"


def _git_answers(folder: Path, *arguments: str) -> bool:
    return _run(folder, arguments).returncode == 0


def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    result = _run(folder, arguments, stdin)
    # Git goes on without what it may not read; a run must not start without a part of its code.
    if result.returncode or b"could not open directory" in result.stderr:
        raise _failed(folder, arguments[0], result.stderr)
    return result.stdout


def _run(folder: Path, arguments: Sequence[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=False, env=environment)
    except FileNotFoundError as error:
        raise EnvironmentProblem(
            "git is not installed; it decides which files of the project travel. Install it, like "
            "`sudo apt-get install -y git` or `brew install git`."
        ) from error


def _failed(folder: Path, command: str, stderr: bytes) -> EnvironmentProblem:
    said = " ".join(os.fsdecode(stderr).split()) or "it said nothing"
    return EnvironmentProblem(f"`git {command}` failed in {folder}: {said}. Mend what it says.")
