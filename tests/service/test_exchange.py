"""A reader of the exchange sees whole things, whatever the follower does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.service.exchange import KEPT, Exchange, FollowerState, ServedHistory, ServedModel

MODEL = ServedModel("workload-forecast", "3", "a1", "2016-07-01T00:00:00+00:00")
HISTORY = ServedHistory("k1", "2016-05-01T00:00:00", "2016-06-30T23:00:00", "2016-07-01T00:00:00+00:00")


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange(tmp_path / "new" / "exchange")


def compiled(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "facts.json").write_text(text)
    return folder


def test_nothing_is_there_at_first(exchange: Exchange) -> None:
    assert (exchange.model(), exchange.history(), exchange.follower()) == (None, None, None)


def test_what_was_put_is_read(exchange: Exchange, tmp_path: Path) -> None:
    model = exchange.put_model(MODEL, compiled(tmp_path / "compiled", "one"))
    (tmp_path / "load.parquet").write_bytes(b"load")
    history = exchange.put_history(HISTORY, tmp_path / "load.parquet")
    exchange.put_follower(FollowerState("now", "the registry is away"))
    other = Exchange(exchange.folder)
    assert other.model() == model == replace(MODEL, path=model.path)
    assert other.history() == history == replace(HISTORY, path=history.path)
    assert (exchange.folder / model.path / "facts.json").read_text() == "one"
    assert (exchange.folder / history.path).read_bytes() == b"load"
    assert history.path.endswith(".parquet")
    assert other.follower() == FollowerState("now", "the registry is away")


def test_the_last_few_stay_for_services_that_still_load_them(exchange: Exchange, tmp_path: Path) -> None:
    put = [exchange.put_model(MODEL, compiled(tmp_path / "compiled", str(number))) for number in range(6)]
    (exchange.folder / "models" / ".half").mkdir()
    put.append(exchange.put_model(MODEL, compiled(tmp_path / "compiled", "last")))
    assert {path.name for path in (exchange.folder / "models").iterdir()} == {
        Path(model.path).name for model in put[-KEPT - 1 :]
    }


def test_a_broken_note_is_one_clear_line(exchange: Exchange) -> None:
    exchange.put_follower(FollowerState("now"))
    for text in ("{", "[]", '{"checked": "now", "more": 1}'):
        (exchange.folder / "follower.json").write_text(text)
        with pytest.raises(SettingsError, match="not what the follower writes"):
            exchange.follower()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        Exchange(tmp_path / "taken").put_follower(FollowerState("now"))
