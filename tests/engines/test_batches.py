"""Servers in batches: none is lost, none comes twice, none is larger than it may be."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.helpers import noisy
from tests.frames import arrow, rows_of
from workload_forecast.engines.batches import from_arrow, ranges, read_all, read_batches, write_batch
from workload_forecast.errors import SchemaError
from workload_forecast.schemas import DOUBLE, HOURLY_LOAD, INTEGER, TEXT, Table

NUMBERS = Table("numbers", {"server": TEXT, "number": INTEGER, "half": DOUBLE}, ("server", "number"), ("number",))


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 50)), st.integers(1, 100))
def test_every_server_is_in_one_batch_of_the_size_that_is_allowed(rows: dict[str, int], at_most: int) -> None:
    batches = ranges(rows, at_most)
    held = [[server for server in sorted(rows) if first <= server <= last] for first, last, _ in batches]
    assert [server for batch in held for server in batch] == sorted(rows)
    assert [sum(rows[server] for server in batch) for batch in held] == [number for _, _, number in batches]
    assert all(number <= at_most or first == last for first, last, number in batches)
    sizes = [number for _, _, number in batches]
    assert all(one + rows[first] > at_most for one, (first, _, _) in zip(sizes, batches[1:], strict=False))


def test_a_folder_is_read_batch_by_batch(tmp_path: Path) -> None:
    """Whatever characters its name has: none of them is a pattern. Names are ordered by their code points."""
    folder = tmp_path / "load[*] of é?"
    folder.mkdir()
    servers = ["10.0.0.1", "B", "a", "é", "\U0001f600"]
    for number, chosen in enumerate((servers[::2], servers[1::2])):
        rows = [row for server in chosen for row in noisy(5, seed=number, server=server)]
        pq.write_table(arrow(HOURLY_LOAD, rows), folder / f"{number}.parquet")
    read = [
        (rows_of(frame), done)
        for frame, done in read_batches(HOURLY_LOAD, folder, ranges(dict.fromkeys(servers, 5), 10))
    ]
    assert [{row["server"] for row in rows} for rows, _ in read] == [{"10.0.0.1", "B"}, {"a", "é"}, {"\U0001f600"}]
    assert [done for _, done in read] == [40, 80, 100]


def test_batches_lie_beside_each_other(tmp_path: Path) -> None:
    for number in range(2):
        rows = [{"server": server, "number": n, "half": n / 2} for server in "ba" for n in (number, 5)]
        assert write_batch(from_arrow(arrow(NUMBERS, rows)), NUMBERS, tmp_path / "table", number) == 4
    files = sorted(str(path.relative_to(tmp_path / "table")) for path in tmp_path.rglob("*.parquet"))
    assert files == [
        "number=0/part-0.parquet",
        "number=1/part-1.parquet",
        "number=5/part-0.parquet",
        "number=5/part-1.parquet",
    ]
    assert pl.read_parquet(tmp_path / "table" / files[2])["server"].to_list() == ["a", "b"]
    stored = rows_of(read_all(NUMBERS, tmp_path / "table"))
    assert sorted((row["server"], row["number"]) for row in stored) == [
        (server, n) for server in "ab" for n in (0, 1, 5, 5)
    ]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    frame = from_arrow(arrow(NUMBERS, [{"server": "a", "number": 1, "half": 0.5}])).drop("half")
    with pytest.raises(SchemaError, match="half"):
        write_batch(frame, NUMBERS, tmp_path, 0)
