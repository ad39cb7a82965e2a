"""Fetching one blob in ranges: in parallel, with bounded memory, resumed where it stopped, and only if unchanged.

Beside the target lie, until it is whole, ``NAME.part`` with the bytes and ``NAME.part.log``: the blob's version, size
and the size of a range on the first line, then the number of each range that has arrived.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import requests
from azure.core import MatchConditions
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobClient

from workload_forecast.errors import DataError, EnvironmentProblem
from workload_forecast.storage.contract import Item, Told
from workload_forecast.storage.failures import status_of
from workload_forecast.storage.published import digests
from workload_forecast.storage.retries import backoff, deadline, is_name_problem


@dataclass(frozen=True)
class Limits:
    """How much a transfer may take.

    Attributes:
        workers: ranges in flight; with ``range_bytes`` they bound the memory.
        range_bytes: of one request; the service gives a checksum for at most 4 MiB.
        deadline_s: for one request and its repetitions.
        connect_s: until a connection stands.
        read_s: without a single byte.
        first_wait_s: before the first repetition.
        longest_wait_s: between two of them.
    """

    workers: int = 8
    range_bytes: int = 4 << 20
    deadline_s: float = 120.0
    connect_s: float = 10.0
    read_s: float = 30.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0


def download(client: BlobClient, item: Item, target: Path, limits: Limits, told: Told) -> None:
    """Fetch a blob.

    Raises:
        AzureError: the service refused, or the deadline is over; with status 412, the blob has changed.
        RequestException: the same, from below the client.
        DataError: what arrived is not what the service has a checksum of.
        EnvironmentProblem: the disk is full, or cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    log = target.with_name(f"{target.name}.part.log")
    header = json.dumps({"version": item.version, "size": item.size, "range_bytes": limits.range_bytes})
    with _disk(target):
        done = _arrived(part, log, header)
        if not done:
            log.write_text(header + "\n", encoding="utf-8")
        _make_room(part, item, len(done) * limits.range_bytes)
    count = -(-item.size // limits.range_bytes)
    told(sum(min(limits.range_bytes, item.size - number * limits.range_bytes) for number in done))
    file = os.open(part, os.O_RDWR)
    try:
        with log.open("a", encoding="utf-8") as arrived:
            fetch = _Ranges(client, item, limits, told, file, arrived)
            fetch.all(number for number in range(count) if number not in done)
    finally:
        os.close(file)
    if item.size == 0:
        with deadline(limits.deadline_s):
            client.get_blob_properties(etag=f'"{item.version}"', match_condition=MatchConditions.IfNotModified)
    if item.md5 is not None and digests(part)[1] != item.md5:
        part.unlink()
        log.unlink()
        raise DataError(f"{item.location} does not have the MD5 that is stored with it: upload it again.")
    with _disk(target):
        part.replace(target)
        log.unlink()


class _Ranges:
    """The ranges of one blob that are still to come."""

    def __init__(self, client: BlobClient, item: Item, limits: Limits, told: Told, file: int, arrived: TextIO) -> None:
        self._client, self._item, self._limits, self._told = client, item, limits, told
        self._file, self._arrived = file, arrived
        self._lock, self._stop = threading.Lock(), threading.Event()

    def all(self, numbers: Iterator[int]) -> None:
        """Fetch them; the first error ends the others after the range that they are at."""
        with ThreadPoolExecutor(self._limits.workers, thread_name_prefix="range") as pool:
            for worker in [pool.submit(self._work, numbers) for _ in range(self._limits.workers)]:
                try:
                    worker.result()
                except BaseException:
                    self._stop.set()
                    raise

    def _work(self, numbers: Iterator[int]) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    number = next(numbers, None)
                if number is None:
                    return
                self._fetch(number)
        except BaseException:
            self._stop.set()
            raise

    def _fetch(self, number: int) -> None:
        start = number * self._limits.range_bytes
        length = min(self._limits.range_bytes, self._item.size - start)
        content = read_range(self._client, self._item, start, length, self._limits, self._stop.is_set)
        with _disk(Path(self._arrived.name)):
            written = 0
            while written < len(content):
                written += os.pwrite(self._file, memoryview(content)[written:], start + written)
            with self._lock:
                self._arrived.write(f"{number}\n")
                self._arrived.flush()
                self._told(len(content))


def _never() -> bool:
    return False


def read_range(
    client: BlobClient, item: Item, start: int, length: int, limits: Limits, stopped: Callable[[], bool] = _never
) -> bytes:
    """Return a range of a blob that must still be the one that was found; raises as :func:`download`."""

    def once() -> bytes:
        stream = client.download_blob(
            offset=start,
            length=length,
            etag=f'"{item.version}"',
            match_condition=MatchConditions.IfNotModified,
            max_concurrency=1,
            validate_content=True,
        )
        content = stream.readall()
        if len(content) != length:
            raise requests.ConnectionError("a range came incomplete")
        return content

    return read_patiently(once, limits, stopped)


def read_patiently(read: Callable[[], bytes], limits: Limits, stopped: Callable[[], bool] = _never) -> bytes:
    """Return what ``read`` returns, calling it again while the line breaks within the body.

    The client itself repeats a request only until an answer has begun.

    Raises:
        AzureError: the service refused, or the deadline is over.
        RequestException: the same, from below the client.
    """
    count = 0
    with deadline(limits.deadline_s) as until:
        while True:
            try:
                return read()
            except (AzureError, requests.RequestException) as problem:
                wait = backoff(count, limits.first_wait_s, limits.longest_wait_s)
                if status_of(problem) or is_name_problem(problem) or stopped() or time.monotonic() + wait > until:
                    raise
            time.sleep(wait)
            count += 1


def _arrived(part: Path, log: Path, header: str) -> set[int]:
    """Return the ranges that an earlier attempt left, if it was for the same version of the blob."""
    try:
        lines = log.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return set()
    if lines[0] != header or not part.exists():
        return set()
    # what follows the last newline was cut short
    return {int(line) for line in lines[1:-1]}


def _make_room(part: Path, item: Item, arrived: int) -> None:
    part.touch()
    free = shutil.disk_usage(part.parent).free
    if item.size - arrived > free:
        raise EnvironmentProblem(
            f"{item.location} needs {item.size - arrived} bytes in {part.parent}, where {free} are free: free some, "
            "or choose another folder."
        )
    os.truncate(part, item.size)


@contextmanager
def _disk(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise EnvironmentProblem(f"{target} cannot be written: {problem.strerror}.") from None
