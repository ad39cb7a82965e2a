"""The snapshot follows the exchange, and what cannot be loaded changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.service.worlds import LENGTH, World, at, constant, make_world
from workload_forecast.service import state
from workload_forecast.service.exchange import FollowerState, ServedHistory
from workload_forecast.service.metrics import Metrics
from workload_forecast.service.state import Holder


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def holder(world: World) -> Holder:
    holder = Holder(world.exchange.folder, Metrics())
    holder.refresh()
    return holder


def failures(holder: Holder, what: str) -> float:
    return float(
        holder._metrics.registry.get_sample_value("workload_forecast_load_failures_total", {"what": what}) or 0
    )


def test_nothing_new_changes_nothing(holder: Holder) -> None:
    before = holder.current
    holder.refresh()
    assert holder.current is before
    assert holder.problems == {}


def test_a_new_model_is_swapped_in_and_the_rows_are_kept(holder: Holder, world: World) -> None:
    before = holder.current
    world.put_model(constant("high"))
    holder.refresh()
    assert holder.current.model is not None
    assert holder.current.model.version == "2"
    assert holder.current.prepared is before.prepared
    assert before.model is not None
    assert before.model.version == "1"


def test_a_model_that_reads_missing_hours_otherwise_gets_rows_of_its_own(holder: Holder, world: World) -> None:
    before = holder.current
    world.put_model(missing_hours="zero")
    holder.refresh()
    assert holder.current.prepared is not None
    assert before.prepared is not None
    assert holder.current.prepared is not before.prepared
    assert holder.current.prepared.features.tobytes() != before.prepared.features.tobytes()


def test_a_new_history_is_swapped_in_with_its_rows(holder: Holder, world: World) -> None:
    world.put_history([row for row in world.history if row["hour"] < at(LENGTH - 10)])
    holder.refresh()
    now = holder.current
    assert now.history is not None
    assert now.prepared is not None
    assert now.history.newest < now.prepared.start == now.history.start <= at(LENGTH - 10)


def test_answers_are_looked_up_and_always_those_of_the_model_that_is_served(holder: Holder, world: World) -> None:
    changes: list[Callable[[], None]] = [
        lambda: None,
        lambda: world.put_model(constant("high")),
        lambda: world.put_history(world.history[9:]),
    ]
    for change in changes:
        change()
        holder.refresh()
        now = holder.current
        assert now.forecaster is not None
        assert now.prepared is not None
        assert now.scored is not None
        expected = now.forecaster.score_prepared(now.prepared)
        assert now.scored.labels.tobytes() == expected.labels.tobytes()
        assert now.scored.probabilities.tobytes() == expected.probabilities.tobytes()


def break_model(world: World) -> None:
    (world.exchange.folder / world.exchange.model().path / "facts.json").write_text("{}")  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", ["changed", "gone", "not a note"])
def test_a_model_that_does_not_load_leaves_the_old_one(
    holder: Holder, world: World, damage: str, monkeypatch: Any
) -> None:
    before = holder.current
    world.put_model(constant("high"))
    if damage == "changed":
        break_model(world)
    elif damage == "gone":
        shutil.rmtree(world.exchange.folder / world.exchange.model().path)  # type: ignore[union-attr]
    else:
        (world.exchange.folder / "model.json").write_text("[1")
    for _ in range(3):
        holder.refresh()
    assert holder.current is before
    assert holder.problems["model"]
    assert failures(holder, "model") == 1  # tried again later, not every second
    monkeypatch.setattr(state, "RETRY_AFTER_S", 0.0)
    world.put_model(constant("high"))
    holder.refresh()
    assert holder.problems == {}
    assert holder.current.model is not None
    assert holder.current.model.version == "3"


def test_a_failed_load_is_tried_again(holder: Holder, world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(state, "RETRY_AFTER_S", 0.0)
    world.put_model(constant("high"))
    place = world.exchange.folder / world.exchange.model().path  # type: ignore[union-attr]
    place.rename(place.with_name("elsewhere"))
    holder.refresh()
    assert "model" in holder.problems
    place.with_name("elsewhere").rename(place)
    holder.refresh()
    assert holder.problems == {}
    assert holder.current.model is not None
    assert holder.current.model.version == "2"


def test_rows_from_before_the_history_are_no_history_to_forecast_from(holder: Holder, world: World) -> None:
    cut = at(LENGTH - 20)
    before = next(row for row in world.history if row["server"] == "a")
    world.put_history([before, *(row for row in world.history if row["hour"] >= cut)])
    note = world.exchange.history()
    assert note is not None
    world.exchange.put_history(replace(note, oldest=cut.isoformat()), world.exchange.folder / note.path)
    holder.refresh()
    now = holder.current.history
    assert now is not None
    assert before["hour"] in now.rows["hour"]
    assert now.oldest == cut


@pytest.mark.parametrize("content", [b"", b"PAR1 no parquet", None])
def test_a_history_that_does_not_load_leaves_the_old_one_and_models_go_on(
    holder: Holder, world: World, content: bytes | None, tmp_path: Path
) -> None:
    before = holder.current
    file = tmp_path / "bad.parquet"
    if content is None:
        import polars as pl

        pl.DataFrame({"server": ["a"], "hour": [at(0)]}).write_parquet(file)
    else:
        file.write_bytes(content)
    world.exchange.put_history(ServedHistory("k2", "", "", ""), file)
    world.put_model(constant("low"))
    holder.refresh()
    assert holder.current.history is before.history
    assert holder.current.model is not None
    assert holder.current.model.version == "2"
    assert holder.problems["history"]
    assert failures(holder, "history") == 1


def test_what_was_taken_out_of_the_exchange_is_served_on(holder: Holder, world: World) -> None:
    before = holder.current
    shutil.rmtree(world.exchange.folder)
    holder.refresh()
    assert holder.current is before


def test_the_followers_state_is_known(holder: Holder, world: World) -> None:
    world.exchange.put_follower(FollowerState("2016-07-01T00:00:00+00:00", "registry away"))
    holder.refresh()
    assert holder.follower == FollowerState("2016-07-01T00:00:00+00:00", "registry away")
    assert holder._metrics.registry.get_sample_value("workload_forecast_follower_failing") == 1
    (world.exchange.folder / "follower.json").write_text("7")
    holder.refresh()
    assert "not what the follower writes" in holder.problems["follower"]


def test_a_model_without_a_history_scores(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put_model()
    holder = Holder(world.exchange.folder, Metrics())
    holder.refresh()
    assert holder.current.forecaster
    assert holder.current.prepared is None
