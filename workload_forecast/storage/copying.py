"""Files from one place to another, whatever each of them is: how artifacts are backed up, restored and moved.

``python -m workload_forecast.storage.copying SOURCE TARGET [--replace]``
"""

from __future__ import annotations

import hmac
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from workload_forecast.errors import DataError, EnvironmentProblem, WorkloadForecastError
from workload_forecast.storage.contract import Item, Store
from workload_forecast.storage.locations import Location, parse_location
from workload_forecast.storage.published import digests
from workload_forecast.storage.stores import open_store

T = TypeVar("T")
#: Files on their way at once; each of them in several ranges.
_FILES = 4


@dataclass(frozen=True)
class Copied:
    """What a copy did: files and bytes that went over, and files that were there already."""

    files: int
    size: int
    unchanged: int


@dataclass(frozen=True)
class _Job:
    """A file to copy, and what is at its target now."""

    item: Item
    target: Location
    there: Item | None


def copy_files(
    source: Location,
    target: Location,
    replace: bool = False,
    open_place: Callable[[Location], Store] = open_store,
) -> Copied:
    """Copy every file below a folder to another one; files there that the source lacks stay.

    A file that is there with the same content is passed over, so that a copy which was broken off is taken up again
    by doing it once more.

    Args:
        source: a folder; an empty or missing one is copied as what it is.
        target: another one, outside it.
        replace: write over files that differ.
        open_place: how to come by the store of a place.

    Raises:
        DataError: without ``replace``, a file there differs: nothing was copied then. Or a file changed meanwhile.
        EnvironmentProblem: a place cannot be reached or written.
    """
    for inner, outer in ((source, target), (target, source)):
        if inner == outer or _is_below(inner, outer):
            raise DataError(f"{source} and {target} lie in each other: name two folders apart.")
    here, there = open_place(source), open_place(target)
    known = {item.location: item for item in there.files(target)}
    jobs = [_job(item, source, target, known) for item in here.files(source)]
    with tempfile.TemporaryDirectory(prefix="workload-forecast-") as scratch:
        folder = Path(scratch)
        same = _each(lambda job: _is_same(job, here, there, folder), jobs)
        changed = [job for job, unchanged in zip(jobs, same, strict=True) if not unchanged]
        differing = [job.target for job in changed if job.there]
        if differing and not replace:
            raise DataError(
                f"{len(differing)} of the files are there with another content, like {differing[0]}: nothing was "
                "copied. Name an empty place, or write over them with --replace."
            )
        _each(lambda job: _copy(job, here, there, folder), changed)
    return Copied(len(changed), sum(job.item.size for job in changed), len(jobs) - len(changed))


def _each(work: Callable[[_Job], T], jobs: Sequence[_Job]) -> list[T]:
    """Do several at once; the first error ends it after those that are under way."""
    with ThreadPoolExecutor(_FILES, thread_name_prefix="copy") as pool:
        try:
            return list(pool.map(work, jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _job(item: Item, source: Location, target: Location, known: dict[Location, Item]) -> _Job:
    name = item.location.below(source)
    if any(part in {"", ".", ".."} for part in name.split("/")):
        raise DataError(f"{item.location} has an empty or dotted segment in its name: rename it before it is copied.")
    place = target.join(name)
    return _Job(item, place, known.get(place))


def _is_same(job: _Job, here: Store, there: Store, scratch: Path) -> bool:
    """Whether the target has the content already; equal sizes are not enough."""
    if job.there is None or job.there.size != job.item.size:
        return False
    return hmac.compare_digest(_md5(job.item, here, scratch), _md5(job.there, there, scratch))


def _md5(item: Item, store: Store, scratch: Path) -> bytes:
    """A file's MD5: as the service says, or else from its bytes."""
    if item.md5 is not None:
        return item.md5
    if item.location.is_local:
        try:
            return digests(item.location.as_path())[1]
        except OSError as problem:
            raise EnvironmentProblem(f"{item.location} cannot be read: {problem.strerror}.") from None
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        store.fetch(item, Path(folder) / "blob")
        return digests(Path(folder) / "blob")[1]


def _copy(job: _Job, here: Store, there: Store, scratch: Path) -> None:
    if job.target.is_local:
        path = job.target.as_path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise EnvironmentProblem(f"{path.parent} cannot be made: {problem.strerror}.") from None
        here.fetch(job.item, path)
        return
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "file"
        here.fetch(job.item, path)
        there.put(path, job.target)


def _is_below(location: Location, folder: Location) -> bool:
    try:
        return bool(location.below(folder))
    except ValueError:
        return False


@click.command(help="Copy every file below SOURCE to TARGET: local folders or places in Azure Blob Storage.")
@click.argument("source")
@click.argument("target")
@click.option("--replace", is_flag=True, help="Write over files that are there with another content.")
def command(source: str, target: str, replace: bool) -> None:
    """Copy, and say what was done."""
    done = copy_files(parse_location(source), parse_location(target), replace)
    click.echo(f"copied {done.files} files ({done.size / 1e6:.1f} MB), {done.unchanged} were there already")


def main(arguments: Sequence[str]) -> int:
    """Return the exit code of a command line."""
    try:
        command(list(arguments), prog_name="copying", standalone_mode=False)
    except WorkloadForecastError as problem:
        click.echo(f"Error: {problem}", err=True)
        return problem.exit_code
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
