"""Rows for other starts: made once, kept within bounds, and refused when too many wait."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.service.worlds import LENGTH, World, at, served, text
from workload_forecast.errors import DataError
from workload_forecast.service import fleet
from workload_forecast.service.fleet import History, OtherStarts, read_history
from workload_forecast.service.problems import Refused
from workload_forecast.serving.forecaster import Forecaster


@pytest.fixture
def history(world: World) -> History:
    return read_history(world.folder / "load.parquet")


@pytest.fixture
def forecaster(world: World) -> Forecaster:
    return Forecaster.load(world.compiled)


@pytest.fixture
def others() -> Any:
    made = OtherStarts()
    yield made
    made.close()


def test_a_start_is_prepared_once_for_all_servers(
    others: OtherStarts, forecaster: Forecaster, history: History
) -> None:
    first = others.get(forecaster, history, at(900), ["a"])
    assert others.get(forecaster, history, at(900), ["b"]) is first
    assert set(first.result().servers) == {"a", "b", "silent"}  # the new one had not been seen by then
    assert others.get(forecaster, history, at(901), ["a"]) is not first


def test_of_a_large_fleet_only_those_asked_for_are_prepared(
    others: OtherStarts, forecaster: Forecaster, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "PART", 1)
    first = others.get(forecaster, history, at(900), ["b", "unseen", "b"])
    assert set(first.result().servers) == {"b"}
    assert others.get(forecaster, history, at(900), ["unseen", "b"]) is first
    assert others.get(forecaster, history, at(900), ["a"]) is not first


def test_what_is_kept_is_bounded_and_the_last_used_stays(
    others: OtherStarts, forecaster: Forecaster, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = others.get(forecaster, history, at(900), ["a"])
    monkeypatch.setattr(fleet, "KEPT_BYTES", 2 * one.result().features.nbytes)
    for start in (901, 902):
        assert others.get(forecaster, history, at(900), ["a"]) is one
        others.get(forecaster, history, at(start), ["a"]).result()
    others.get(forecaster, history, at(902), ["a"])
    assert len(others._kept) == 2
    assert others.get(forecaster, history, at(900), ["a"]) is one


def test_a_failure_is_not_kept(
    others: OtherStarts, forecaster: Forecaster, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise OSError("once")

    with monkeypatch.context() as patch:
        patch.setattr(fleet, "prepare_fleet", broken)
        assert others.get(forecaster, history, at(900), ["a"]).exception()
    assert others.get(forecaster, history, at(900), ["a"]).result().servers


def test_too_many_that_wait_are_refused_and_the_next_days_are_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    real = fleet.prepare_fleet

    def slow(*given: Any) -> Any:
        release.wait(30)
        return real(*given)

    with served(world, request_timeout_s=0.3) as client:
        monkeypatch.setattr(fleet, "prepare_fleet", slow)
        monkeypatch.setattr(fleet, "WAITING", 2)
        answers = [client.post("/forecast", json={"server": "a", "start": text(at(900 + i))}) for i in range(3)]
        assert [a.json()["type"].rpartition(":")[2] for a in answers] == ["too-slow", "too-slow", "busy"]
        assert client.post("/forecast", json={"server": "a", "start": text(at(LENGTH + 48))}).status_code == 200
        release.set()


def test_too_many_are_refused_at_once(others: OtherStarts, forecaster: Forecaster, history: History) -> None:
    others._kept.update({number: Future() for number in range(fleet.WAITING)})
    with pytest.raises(Refused, match="Ask again in a few seconds"):
        others.get(forecaster, history, at(900), ["a"])


@pytest.mark.parametrize("change", [pl.col("server").replace("a", None), pl.lit(None, pl.Float64).alias("total_load")])
def test_a_history_that_says_nothing_is_refused(world: World, tmp_path: Path, change: pl.Expr) -> None:
    pl.read_parquet(world.folder / "load.parquet").with_columns(change).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet holds"):
        read_history(tmp_path / "x.parquet")
