"""Feature rows of whole fleets: prepared in parts, so that memory is bounded, and kept for starts in the past.

The rows of one part pass through the feature functions with hundreds of columns of look-back, however large the fleet:
measured, 0.3 GB for a part of 64 servers. Parts of 256 take 0.7 GB and a tenth less time. What is kept is
``servers × 96 hours × 51 columns × 8 B``: 39 MB for 1,000 servers, 0.39 GB for 10,000; twice that while a new history
takes the place of the old one, beside the hourly load itself (``servers × hours × 13 columns × 8 B``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from workload_forecast.errors import DataError
from workload_forecast.features.build import LOOK_BACK_HOURS
from workload_forecast.schemas import HORIZON_HOURS, HOURLY_LOAD, PRIMARY_MEASURE
from workload_forecast.service.problems import Refused
from workload_forecast.serving.forecaster import Forecaster
from workload_forecast.serving.history import HOUR, Prepared

#: Servers whose rows are made at once.
PART = 64

#: Hours that are prepared ahead: every start of the next two days, with its 48 hours.
AHEAD_HOURS = 2 * HORIZON_HOURS

#: Bytes of rows for other starts that are kept beside the newest ones, and how many are made at once.
KEPT_BYTES = 128 * 2**20
AT_ONCE = 2

#: Preparations that run or wait; whoever comes then is told to come again.
WAITING = 16


@dataclass(frozen=True)
class History:
    """Hourly load in memory."""

    name: str  #: of its file, which is never written twice
    rows: pl.DataFrame
    servers: tuple[str, ...]
    oldest: datetime
    newest: datetime  #: last hour with a known load of any server

    @property
    def start(self) -> datetime:
        """The first hour that is not known."""
        return self.newest + HOUR

    @property
    def earliest(self) -> datetime:
        """The earliest start whose features reach no further back than the history does, or :attr:`start`."""
        return min(self.start, self.oldest + LOOK_BACK_HOURS * HOUR)


def read_history(file: Path) -> History:
    """Read a Parquet file of :data:`~workload_forecast.schemas.HOURLY_LOAD`.

    Raises:
        DataError: no hour of it has a load, or a row lacks its server or hour.
        OSError, polars.exceptions.PolarsError: it cannot be read.
    """
    rows = pl.read_parquet(file, columns=list(HOURLY_LOAD.columns))
    rows = rows.with_columns(pl.col("hour").cast(pl.Datetime("us")))
    if rows["server"].null_count() + rows["hour"].null_count():
        raise DataError(f"{file.name} holds a row without a server or an hour. Run the step etl again.")
    known = _known(rows)
    if known.is_empty():
        raise DataError(f"{file.name} holds no hour with a load. Run the step etl on data that has sessions.")
    oldest, newest = known["hour"].min(), known["hour"].max()
    assert isinstance(oldest, datetime)
    assert isinstance(newest, datetime)
    return History(file.name, rows, tuple(rows["server"].unique().sort()), oldest, newest)


def prepare_fleet(
    forecaster: Forecaster,
    history: History,
    start: datetime | None = None,
    hours: int = AHEAD_HOURS,
    servers: Sequence[str] | None = None,
) -> Prepared:
    """Make the rows as :meth:`Forecaster.prepare` does, part by part.

    Args:
        forecaster: whose features they are to be.
        history: what is known.
        start: first hour; None: the first that is not known.
        hours: from there on.
        servers: those that are wanted; None: all.
    """
    start = start or history.start
    wanted = history.servers if servers is None else sorted(set(servers) & set(history.servers))
    past = history.rows if start >= history.start else history.rows.filter(pl.col("hour") < start)
    newest = _known(past)["hour"].max()
    parts = [
        forecaster.prepare(
            past.filter(pl.col("server").is_in(list(part))), start, hours,
            known_until=newest if isinstance(newest, datetime) else None,
        )
        for part in (wanted[at : at + PART] for at in range(0, max(len(wanted), 1), PART))
    ]  # fmt: skip
    if len(parts) == 1:
        return parts[0]
    names = [name for part in parts for name in part.servers]
    return Prepared(
        start,
        hours,
        {name: position for position, name in enumerate(names)},
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.same_hour for part in parts]),
        np.concatenate([part.same_hour_age for part in parts]),
        np.concatenate([part.last_seen for part in parts]),
    )


class OtherStarts:
    """Rows for starts that are not prepared ahead: made on demand in threads, the last used ones are kept."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, "prepare")
        self._kept: OrderedDict[object, Future[Prepared]] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Take no more work."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def get(
        self, forecaster: Forecaster, history: History, start: datetime, servers: Sequence[str]
    ) -> Future[Prepared]:
        """Return the rows of the servers for :data:`HORIZON_HOURS` hours, which may still be in the making.

        A small fleet is prepared as a whole, as the next request is likely to name another server and the same start.

        Raises:
            Refused: 503, too many wait already.
        """
        wanted = None if len(history.servers) <= PART else tuple(sorted(set(servers)))
        key = (history.name, forecaster.scorer.facts.rows, start, wanted)
        with self._lock:
            found = self._kept.get(key)
            if sum(not future.done() for future in self._kept.values()) >= WAITING and found is None:
                detail = "Forecasts for other starts than the next two days' are queuing. Ask again in a few seconds."
                raise Refused(503, "busy", detail, {"Retry-After": "5"})
            if found is None or (found.done() and (found.cancelled() or found.exception())):
                found = self._pool.submit(prepare_fleet, forecaster, history, start, HORIZON_HOURS, wanted)
                self._kept[key] = found
            self._kept.move_to_end(key)
            self._tidy()
        return found

    def _tidy(self) -> None:
        size = 0
        for key, future in reversed(list(self._kept.items())):
            done = future.done() and not future.cancelled() and not future.exception()
            size += future.result().features.nbytes if done else 0
            if size > KEPT_BYTES and len(self._kept) > 1:
                del self._kept[key]


def _known(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col(PRIMARY_MEASURE).is_finite())
