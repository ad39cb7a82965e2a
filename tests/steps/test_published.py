"""What is published changes under a reader's hands: a folder stands in for the container."""

from __future__ import annotations

from pathlib import Path

import pytest

from workload_forecast import config
from workload_forecast.errors import DataError
from workload_forecast.progress import Progress
from workload_forecast.steps import download
from workload_forecast.steps.published import RESULTS, Publication, place_of
from workload_forecast.storage.locations import Location, parse_location


@pytest.fixture
def place(tmp_path: Path) -> Location:
    (tmp_path / "result" / "model").mkdir(parents=True)
    (tmp_path / "result" / "model" / "MLmodel").write_text("1")
    return parse_location(str(tmp_path / "container" / "train"))


def put(place: Location, folder: Path, key: str) -> None:
    Publication(place, Progress()).put(folder, key, "run")


def test_every_result_that_can_be_asked_for_has_a_place() -> None:
    assert tuple(RESULTS) == config.RESULTS


def test_results_of_a_part_of_the_servers_have_places_of_their_own() -> None:
    given = {"storage_account": "account", "storage_container": "mine"}
    settings = config.load_settings("ONE_MONTH").model_copy(update=given)
    selections = (
        config.Selection(),
        config.Selection("FILTER_IP"),
        config.Selection(sample=0.25),
        config.Selection(sample=0.5),
    )
    places = [place_of(settings, "train", subset=selection.subset) for selection in selections]
    assert [str(place).partition("/mine/")[2] for place in places] == [
        "train",
        "debug/train",
        "sample-0.25/train",
        "sample-0.5/train",
    ]


def test_another_result_than_the_wanted_one_is_not_taken(place: Location, tmp_path: Path) -> None:
    put(place, tmp_path / "result", "one")
    publication = Publication(place, Progress())
    assert not publication.get("two", tmp_path / "target")
    put(place, tmp_path / "result", "two")  # since the publication was looked at
    assert not publication.get("one", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    assert Publication(place, Progress()).get("two", tmp_path / "target", "model")
    assert (tmp_path / "target" / "MLmodel").read_text() == "1"


def test_a_download_that_was_overtaken_says_so(
    place: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Overtaken(Publication):
        def __init__(self, where: Location, progress: Progress) -> None:
            super().__init__(where, progress)
            put(where, tmp_path / "result", "two")

    put(place, tmp_path / "result", "one")
    monkeypatch.setattr(download, "place_of", lambda *_, **__: place)
    monkeypatch.setattr(download, "Publication", Overtaken)
    with pytest.raises(DataError, match="was replaced while it was fetched: do it again"):
        download.run_download(config.load_settings("ONE_MONTH"), "model", tmp_path / "target")
    assert not (tmp_path / "target").exists()
