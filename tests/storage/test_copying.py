"""Copies between places of either kind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.storage.bench import Bench, some_bytes
from tests.storage.machines.azurite import Azurite
from workload_forecast.errors import DataError
from workload_forecast.storage.contract import Store
from workload_forecast.storage.copying import Copied, copy_files
from workload_forecast.storage.locations import Location

FILES = {
    "1/abc/artifacts/model/metadata": some_bytes(150_000),
    "1/abc/artifacts/.hidden/.x": b"hidden",
    "1/abc/artifacts/plot [1] ü 100%.png": b"png",
    "models/empty": b"",
    "top": b"top",
}


@pytest.fixture(params=["folder to folder", *(pytest.param(n, marks=pytest.mark.azurite) for n in ("out", "in"))])
def benches(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Bench, Bench]:
    """A source and a target: two folders, or a folder and a container."""
    folder = Bench.in_folder(tmp_path / "one")
    if request.param == "folder to folder":
        return folder, Bench.in_folder(tmp_path / "two")
    container: Bench = request.getfixturevalue("blob_bench")
    return (container, folder) if request.param == "out" else (folder, container)


def opener(*benches: Bench) -> Callable[[Location], Store]:
    def open_place(location: Location) -> Store:
        return next(bench.store for bench in benches if bench.root.endpoint == location.endpoint)

    return open_place


def content(bench: Bench, folder: Path) -> dict[str, bytes]:
    found = {}
    for number, item in enumerate(bench.store.files(bench.root)):
        bench.store.fetch(item, folder / f"read-{number}")
        found[item.location.below(bench.root)] = (folder / f"read-{number}").read_bytes()
    return found


def test_everything_goes_over_and_only_once(benches: tuple[Bench, Bench], tmp_path: Path) -> None:
    source, target = benches
    for name, data in FILES.items():
        source.write(name, data)
    size = sum(map(len, FILES.values()))

    assert copy_files(source.root, target.root, open_place=opener(*benches)) == Copied(len(FILES), size, 0)
    versions = [item.version for item in target.store.files(target.root)]
    assert content(target, tmp_path) == FILES

    assert copy_files(source.root, target.root, open_place=opener(*benches)) == Copied(0, 0, len(FILES))
    assert [item.version for item in target.store.files(target.root)] == versions, "nothing was written again"


def test_what_differs_is_replaced_only_if_that_is_asked_for(benches: tuple[Bench, Bench], tmp_path: Path) -> None:
    source, target = benches
    for name, data in {"a": b"new", "b": b"12345", "c": b"same"}.items():
        source.write(name, data)
    before = {"a": b"old", "c": b"same", "stranger": b"mine"}
    for name, data in before.items():
        target.write(name, data)

    with pytest.raises(
        DataError, match=r"1 of the files are there with another content, like .*/a: nothing was copied.*--replace"
    ):
        copy_files(source.root, target.root, open_place=opener(*benches))
    assert content(target, tmp_path) == before

    assert copy_files(source.root, target.root, replace=True, open_place=opener(*benches)) == Copied(2, 8, 1)
    assert content(target, tmp_path) == {**before, "a": b"new", "b": b"12345"}


def test_a_part_of_a_place_is_copied_to_a_part(benches: tuple[Bench, Bench]) -> None:
    source, target = benches
    for name in ("in/x/1", "in/2", "in2/3", "4"):
        source.write(name, name.encode())
    done = copy_files(source.root.join("in"), target.root.join("out"), open_place=opener(*benches))
    assert done.files == 2
    assert target.names() == ["out/2", "out/x/1"]


def test_places_in_each_other_are_refused(tmp_path: Path) -> None:
    place = Bench.in_folder(tmp_path)
    place.write("a/b/c", b"x")
    for source, target in (("a", "a/b"), ("a/b", "a"), ("a", "a")):
        with pytest.raises(DataError, match="lie in each other"):
            copy_files(place.root.join(source), place.root.join(target))
    assert place.names() == ["a/b/c"]


@pytest.mark.azurite
def test_a_blob_without_a_checksum_is_compared_by_its_bytes(blob_bench: Bench, tmp_path: Path) -> None:
    from azure.storage.blob import ContentSettings

    folder = Bench.in_folder(tmp_path / "here")
    for name, there in (("same", b"12345"), ("other", b"54321")):
        folder.write(name, b"12345")
        blob_bench.write(name, there)
        blob_bench.raw(name).set_http_headers(ContentSettings())
    assert {item.md5 for item in blob_bench.store.files(blob_bench.root)} == {None}

    done = copy_files(folder.root, blob_bench.root, replace=True, open_place=opener(folder, blob_bench))

    assert done == Copied(1, 5, 1)


@pytest.mark.azurite
def test_a_name_that_no_folder_can_have_is_an_error(blob_bench: Bench, tmp_path: Path) -> None:
    blob_bench.write("a", b"x")
    blob_bench.raw("b//c").upload_blob(b"x")
    target = Bench.in_folder(tmp_path / "x")
    with pytest.raises(DataError, match="empty or dotted segment"):
        copy_files(blob_bench.root, target.root, open_place=opener(blob_bench, target))
    assert not (tmp_path / "x").exists()


@pytest.mark.azurite
@pytest.mark.slow
def test_the_command_copies_and_tells_errors_in_one_line(blob_bench: Bench, azurite: Azurite, tmp_path: Path) -> None:
    blob_bench.write("in/a", b"12345")
    blob_bench.write("in/b", b"1")
    source = str(blob_bench.root.join("in"))

    def copy(*arguments: str) -> subprocess.CompletedProcess[str]:
        text = azurite.connection_string(blob_bench.endpoint)
        return subprocess.run(
            [sys.executable, "-m", "workload_forecast.storage.copying", *arguments],
            env={**os.environ, "AZURE_STORAGE_CONNECTION_STRING": text},
            capture_output=True,
            text=True,
            check=False,
        )

    done = copy(source, str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (0, "copied 2 files (0.0 MB), 0 were there already\n")
    (tmp_path / "out/a").write_text("54321")
    refused = copy(source, str(tmp_path / "out"))
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.startswith(f"Error: 1 of the files are there with another content, like {tmp_path}/out/a: ")
    assert refused.stderr.count("\n") == 1
    assert copy(source, str(tmp_path / "out"), "--replace").returncode == 0
    assert (tmp_path / "out/a").read_text() == "12345"
    assert copy(source).returncode == 2
