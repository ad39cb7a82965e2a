from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.helpers import noisy, series
from tests.frames import Row
from tests.serving.conftest import SHARES
from tests.serving.histories import HOUR, class_of, frame, shown
from tests.serving.test_compiled import set_fact
from tests.strategies import START, hourly_tables
from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.features.build import LOOK_BACK_HOURS
from workload_forecast.schemas import CLASSES, FEATURE_NAMES, KNOWN_FEATURES
from workload_forecast.serving.compiled import FACTS
from workload_forecast.serving.forecaster import RECENT_FEATURES, SOURCES, Forecaster
from workload_forecast.serving.history import Prepared


def at(hours: int) -> datetime:
    return START + hours * HOUR


@pytest.fixture(scope="module")
def forecaster(lag_model: Path) -> Forecaster:
    return Forecaster.load(lag_model)


def expected_source(rows: list[Row], server: str, start: datetime, hour: datetime) -> str:
    """By the definition, hour by hour: a load of the week before the horizon; of the same hour within the look-back."""
    known = {row["hour"] for row in rows if row["server"] == server and row["hour"] < start}
    if any(hour - k * HOUR in known for k in range(48, 216)):
        return "model"
    same = (hour - 24 * k * HOUR for k in range(1, 40))
    return "baseline" if any(start - LOOK_BACK_HOURS * HOUR <= at for at in same if at in known) else "none"


@settings(max_examples=12, deadline=None)
@given(
    rows=hourly_tables(max_rows_each=6),
    asked=st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "unseen"]), min_size=1, max_size=5),
    start=st.integers(-10, 1000).map(at),
    hours=st.integers(1, 48),
)
def test_every_server_and_hour_is_answered_once_in_order_and_by_the_rule(
    forecaster: Forecaster, rows: list[Row], asked: list[str], start: datetime, hours: int
) -> None:
    found = forecaster.forecast(frame(rows), asked, start, hours).to_pylist()
    once = list(dict.fromkeys(asked))
    assert [(row["server"], row["hour"]) for row in found] == [
        (s, start + k * HOUR) for s in once for k in range(hours)
    ]
    for row in found:
        assert row["source"] == expected_source(rows, row["server"], start, row["hour"])
        probabilities = [row[f"probability_{name}"] for name in CLASSES]
        if row["source"] == "none":
            assert [row["prediction"], row["confidence"], *probabilities] == [None] * 5
        else:
            assert row["confidence"] == row[f"probability_{row['prediction']}"]
            assert sum(probabilities) == pytest.approx(1)


def test_the_model_answers_from_the_load_that_is_48_hours_old(forecaster: Forecaster) -> None:
    rows = noisy(300, seed=11)
    loads = {row["hour"]: row["total_load"] for row in rows}
    start = at(300)
    found = forecaster.forecast(frame(rows), ["a"], start)
    hours = [start + k * HOUR for k in range(48)]
    known = [(loads[h - 48 * HOUR], i) for i, h in enumerate(hours) if h - 48 * HOUR in loads]
    assert len({class_of(load) for load, _ in known}) == 3
    for load, i in known:
        assert found["prediction"][i].as_py() == class_of(load)


def test_a_server_that_is_too_new_for_the_model_is_answered_by_its_last_same_hour(forecaster: Forecaster) -> None:
    """Seen for ten hours before the start, with a load of every class: hours 40 to 49."""
    loads = dict(zip(range(40, 50), [50.0, 100.0, 100.01, 200.0, 300.0, 300.01, 999.0, 0.0, 150.0, 310.0], strict=True))
    found = forecaster.forecast(frame(series(loads.__getitem__, loads)), ["a"], at(50), 48).to_pylist()
    for row in found:
        hour = (row["hour"] - START) // HOUR
        # from hour 88 on, 48 hours before lies within the ten hours
        source = "model" if hour >= 88 else "baseline" if (hour - 40) % 24 < 10 else "none"
        assert row["source"] == source, hour
        if source == "baseline":
            name = class_of(loads[40 + (hour - 40) % 24])
            assert row["prediction"] == name
            shares = SHARES[CLASSES.index(str(name))]
            assert tuple(row[f"probability_{c}"] for c in CLASSES) == shares
            assert row["confidence"] == shares[CLASSES.index(str(name))]


def test_servers_that_are_unseen_or_not_asked_for(forecaster: Forecaster) -> None:
    history = frame(series(200.0, range(100), "a") + series(50.0, range(100), "b"))
    found = shown(forecaster.forecast(history, ["b", "new", "b"], at(100), 1))
    assert found == [("b", at(100), "low", "model"), ("new", at(100), None, "none")]
    assert forecaster.forecast(history, [], at(100), 5).num_rows == 0
    assert shown(forecaster.forecast(history, "new", at(100), 1)) == found[1:]


def test_prepared_rows_answer_any_hours_within_them(forecaster: Forecaster) -> None:
    history = frame(noisy(300, seed=1) + noisy(290, seed=2, server="b"))
    prepared = forecaster.prepare(history, at(300), 96)
    for first, hours in ((0, 48), (10, 24), (48, 48), (95, 1)):
        found = forecaster.answer(prepared, ["b", "c", "a"], at(300 + first), hours)
        assert [row[:2] for row in shown(found)] == [(s, at(300 + first + k)) for s in "bca" for k in range(hours)]
        whole = forecaster.answer(prepared, ["a"], at(300), 48)
        if first + hours <= 48:
            assert found.slice(2 * hours).equals(whole.slice(first, hours))


@pytest.mark.parametrize(("start", "hours"), [(at(299), 2), (at(300), 48), (at(347), 2)])
def test_hours_that_were_not_prepared_are_refused(forecaster: Forecaster, start: datetime, hours: int) -> None:
    prepared = forecaster.prepare(frame(series(1.0, range(300))), at(300), 24)
    with pytest.raises(SettingsError, match=r"hours from .* were asked for, but 2016-07-06 12:00:00 to .* prepared"):
        forecaster.answer(prepared, ["a"], start, hours)


@pytest.mark.parametrize("hours", [0, -1, 49, 10**9])
def test_hours_beyond_the_horizon_are_refused(forecaster: Forecaster, hours: int) -> None:
    with pytest.raises(SettingsError, match="hours must be 1 to 48"):
        forecaster.forecast(frame(series(1.0, range(3))), ["a"], at(10), hours)


def test_the_model_decides_how_missing_hours_are_read(forecaster: Forecaster, zero_model: Path) -> None:
    rows = series(200.0, [*range(50), 299])
    idle, unknown = (
        f.forecast(frame(rows), ["a"], at(300), 1).to_pylist()[0] for f in (Forecaster.load(zero_model), forecaster)
    )
    assert (idle["prediction"], idle["source"]) == ("low", "model")
    assert (unknown["prediction"], unknown["source"]) == ("medium", "baseline")


def test_a_row_without_any_recent_load_is_not_the_models(forecaster: Forecaster) -> None:
    calendar = forecaster.prepare(frame(series(1.0, range(300))), at(300), 1).features[0]
    for known, source in ((None, "none"), ("total_load_lag_730h", "none"), ("observed_hours_7d", "none"),
                          *((name, "model") for name in RECENT_FEATURES)):  # fmt: skip
        row = np.where([name in KNOWN_FEATURES for name in FEATURE_NAMES], calendar, np.nan)
        if known:
            row[0, FEATURE_NAMES.index(known)] = 1.0
        assert forecaster.answer_rows(row)["source"].to_pylist() == [source], known
    assert source in SOURCES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda features: features[1:] + features[:1], r"other features .* \(order, or horizon of 48 h\)"),
        (lambda features: [{**features[0], "name": "minute"}, *features[1:]], r"\(hour_of_day, minute\)"),
    ],
)
def test_a_model_of_other_features_is_refused(
    lag_model: Path, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    folder = Path(shutil.copytree(lag_model, tmp_path / "model"))
    set_fact(folder, features=change(json.loads((folder / FACTS).read_text())["features"]))
    with pytest.raises(ModelError, match=message):
        Forecaster.load(folder)


def test_a_model_for_another_horizon_is_refused(lag_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lag_model, tmp_path / "model"))
    set_fact(folder, horizon_hours=24)
    with pytest.raises(ModelError, match="horizon of 24 h"):
        Forecaster.load(folder)


def assert_looked_up(model: Forecaster, prepared: Prepared, servers: list[str], start: datetime) -> None:
    """What was asked of the model ahead, for all rows, gives the answers of asking it now."""
    scored = model.score_prepared(prepared)
    for hours in (1, 48):
        now = model.decide_prepared(prepared, servers, start, hours)
        ahead = model.decide_prepared(prepared, servers, start, hours, scored)
        assert ahead.sources.tolist() == now.sources.tolist()
        np.testing.assert_array_equal(ahead.probabilities, now.probabilities)
        said = now.sources != SOURCES.index("none")
        assert ahead.labels[said].tolist() == now.labels[said].tolist()


@settings(max_examples=10, deadline=None)
@given(
    rows=hourly_tables(max_rows_each=8),
    later=st.integers(0, 48),
    silence=st.sampled_from([0, 1, 40, *(LOOK_BACK_HOURS - k for k in (50, 30, 1, 0))]),
    idle=st.booleans(),
)
def test_rows_prepared_for_an_earlier_start_answer_as_a_fresh_forecast(
    forecaster: Forecaster, zero_model: Path, rows: list[Row], later: int, silence: int, idle: bool
) -> None:
    """Nothing was observed in between; what the later start does not reach any more must not be used."""
    model = Forecaster.load(zero_model) if idle else forecaster
    start = max(row["hour"] for row in rows) + (1 + silence) * HOUR
    asked = ["10.0.0.3", "10.0.0.2", "10.0.0.1", "unseen"]
    history = frame(rows)
    prepared = model.prepare(history, start, 96)
    found = model.answer(prepared, asked, start + later * HOUR)
    assert found.equals(model.forecast(history, asked, start + later * HOUR))
    assert_looked_up(model, prepared, asked, start + later * HOUR)


@pytest.mark.parametrize("later", [0, 25, 48])
@pytest.mark.parametrize("idle", [False, True])
def test_what_only_the_earlier_start_reached_is_left_aside(
    forecaster: Forecaster, zero_model: Path, later: int, idle: bool
) -> None:
    """A server that was seen for a day, 10 hours within the reach of the prepared start, beside one that still is."""
    first = LOOK_BACK_HOURS - 10
    model = Forecaster.load(zero_model) if idle else forecaster
    history = frame(series(200.0, range(24), "old") + series(50.0, range(24, first), "steady"))
    prepared = model.prepare(history, at(first), 96)
    assert_looked_up(model, prepared, ["old", "steady"], at(first + later))
    found = model.answer(prepared, ["old", "steady"], at(first + later))
    assert found.equals(model.forecast(history, ["old", "steady"], at(first + later)))
    sources = [row["source"] for row in found.to_pylist()[:48]]
    # 25 hours later a forecast reaches back to hours 15 to 23, 48 hours later to nothing of the old server
    known = {0: 24, 25: 9, 48: 0}[later]
    if idle:
        assert set(sources) == ({"model"} if known else {"none"})
    else:
        assert sources.count("baseline") == 2 * known
        assert sources.count("none") == 48 - 2 * known
