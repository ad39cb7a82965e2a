"""Write the files: one task per file, in as many processes as there are cores.

Memory is constant. A file is made in blocks of about :data:`BLOCK_ROWS` rows (of one hour, if an hour alone has more),
each written before the next is drawn, so a worker holds one block and the load of the block's days, however long
the file or the window is. Where the blocks begin follows from the settings, and a block's random numbers from its
copy and first hour; hence the bytes depend neither on the number of workers nor on the order of the files.
"""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import date, timedelta
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import IO

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.sessions.generator import folder
from workload_forecast.sessions.generator.dirt import spoilt_bytes
from workload_forecast.sessions.generator.fleet import Fleet
from workload_forecast.sessions.generator.manifest import FileRecord, Manifest
from workload_forecast.sessions.generator.rows import draw_sessions, lay_out
from workload_forecast.sessions.generator.settings import FilePlan, GeneratorSettings, plan_files
from workload_forecast.sessions.generator.streams import Stream, stream
from workload_forecast.sessions.layouts import LAYOUTS

#: Rows made at once: enough to keep the arrays' overhead small, few enough to stay in the processor's caches.
BLOCK_ROWS = 60_000
#: Below this, starting processes costs more than it saves.
ROWS_WORTH_A_POOL = 1_500_000

#: Called with the files that are done, all files, and the rows written so far.
Progress = Callable[[int, int, int], None]


def generate(
    settings: GeneratorSettings, root: Path, *, workers: int | None = None, progress: Progress | None = None
) -> Manifest:
    """Write the sessions of ``settings`` below ``root`` and, last of all, ``manifest.json``.

    Files that an earlier run of the generator has left there are replaced; after an interruption there is no manifest.

    Args:
        settings: what to generate.
        root: folder of the data, made if it is missing.
        workers: processes, by default one for each core; the bytes do not depend on it.
        progress: called in this process after every file, also with 0 files at the beginning.

    Raises:
        SettingsError: ``workers`` is below 1.
        DataError: ``root`` holds sessions that are not the generator's.
        EnvironmentProblem: the disk is too small, or a file cannot be written.
    """
    if workers is not None and workers < 1:
        raise SettingsError(f"generator: workers is {workers}; it must be at least 1.")
    plans = plan_files(settings)
    processes = min(workers or os.cpu_count() or 1, len(plans))
    if settings.estimated_rows < ROWS_WORTH_A_POOL:
        processes = 1
    report = progress or _silent
    try:
        folder.begin(root, settings)
        report(0, len(plans), 0)
        records: list[FileRecord] = []
        for record in _records(settings, root, plans, processes):
            records.append(record)
            report(len(records), len(plans), sum(done.rows for done in records))
        manifest = Manifest(settings, tuple(sorted(records, key=lambda record: record.path)))
        folder.finish(root, manifest.to_json())
    except OSError as error:
        raise EnvironmentProblem(
            f"generator: cannot write below {root}: {error}. Check the folder, its permissions and the free space."
        ) from error
    except BrokenProcessPool as error:
        raise EnvironmentProblem(
            "generator: a worker process was killed, most likely for lack of memory. Ask for fewer workers or fewer "
            "sessions an hour."
        ) from error
    return manifest


def _silent(_done: int, _total: int, _rows: int) -> None:
    """Report nothing."""


def _records(settings: GeneratorSettings, root: Path, plans: list[FilePlan], processes: int) -> Iterator[FileRecord]:
    """Yield a record of each file as it is finished."""
    task = partial(write_file, settings, root)
    if processes == 1:
        yield from map(task, plans)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        for future in as_completed([pool.submit(task, plan) for plan in plans]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def write_file(settings: GeneratorSettings, root: Path, plan: FilePlan) -> FileRecord:
    """Write one file under a temporary name, give it its own name, and return what is in it."""
    path = root / plan.path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = folder.part_of(path)
    rows, dirt = 0, Counter[str]()
    try:
        with _writer(part, settings.compress) as file:
            for data, found in _blocks(settings, plan):
                file.write(data)
                rows += data.count(b"\n")
                dirt.update(found)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return FileRecord(plan.path, rows, path.stat().st_size, dict(sorted(dirt.items())))


@contextmanager
def _writer(path: Path, compress: bool) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with path.open("wb") as file:
        if not compress:
            yield file
            return
        # neither name nor time go into the header: equal content is equal bytes
        with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=file, mtime=0) as compressed:
            yield compressed


def _blocks(settings: GeneratorSettings, plan: FilePlan) -> Iterator[tuple[bytes, Counter[str]]]:
    """Yield the file's CSV and its dirt, block by block."""
    fleet, layout = _fleet(settings.seed, settings.servers), LAYOUTS[settings.layout]
    for first, days in _windows(settings, plan):
        load = fleet.load(first, days, plan.copy)
        for hours in _hours(settings, days):
            name = (plan.copy, first.toordinal() * 24 + hours.start)
            rng = stream(settings.seed, Stream.SESSION, *name)
            sessions = draw_sessions(fleet, load, hours, settings.sessions_per_server_hour, rng)
            table = lay_out(sessions, fleet, first, days, layout=layout, rng=rng)
            yield spoilt_bytes(table, layout, settings.dirt_rate, stream(settings.seed, Stream.DIRT, *name))


def _windows(settings: GeneratorSettings, plan: FilePlan) -> Iterator[tuple[date, int]]:
    """Yield first day and number of days of the stretches whose load is computed at once."""
    step = max(1, int(BLOCK_ROWS / (settings.sessions_per_hour * 24)))
    for offset in range(0, (plan.last - plan.first).days + 1, step):
        first = plan.first + timedelta(days=offset)
        yield first, min(step, (plan.last - first).days + 1)


def _hours(settings: GeneratorSettings, days: int) -> Iterator[range]:
    step = 24 * days if days > 1 else min(24, max(1, int(BLOCK_ROWS / settings.sessions_per_hour)))
    for begin in range(0, 24 * days, step):
        yield range(begin, min(begin + step, 24 * days))


@lru_cache(maxsize=1)
def _fleet(seed: int, servers: int) -> Fleet:
    return Fleet(seed, servers)
