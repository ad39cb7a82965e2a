"""What every store has to do. A test class for each kind inherits all of it and names its bench."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.storage.bench import Bench, some_bytes
from workload_forecast.errors import DataError
from workload_forecast.storage.published import MANIFEST

NAMES = [
    "2016/06/a/0/request.csv",
    "2016/06/a/1/request.csv",
    "2016/06/b/0/request.csv",
    "2016/07/a/0/request.csv",
    "2016/07/a/0/.hidden/request.csv",
    "2016/07/a/0/request.csv.gz",
    "request.csv",
    ".hidden.csv",
    "odd/two words, ünï 100% #1+2=3&.csv",
]
PATTERNS = [
    "*/*/*/*/request.csv",
    "2016/06/[ab]/*/request.csv",
    "2016/*/[!b]/?/request.csv*",
    "**/request.csv",
    "**",
    "2016/**/request.csv",
    "2016/**/**/*.gz",
    "*.csv",
    ".*.csv",
    "request.csv",
    "odd/*",
    "2016/0*/a/0/.hidden/*",
    "2016/a**/*",
]
#: Publishes a folder and stops after its first file.
WRITER = """
import os, sys, time
from pathlib import Path
from tests.storage.bench import blob_store
from workload_forecast.storage.local_store import LocalStore
from workload_forecast.storage.locations import parse_location

place = parse_location(sys.argv[2])
store = LocalStore() if place.is_local else blob_store(place, dict(os.environ))
put = store._put

def put_and_wait(*arguments):
    put(*arguments)
    print("one file is there", flush=True)
    time.sleep(600)

store._put = put_and_wait
store.put_folder(Path(sys.argv[1]), place)
"""


class StoreConformance:
    """Inherit, and give a fixture ``bench``."""

    def test_a_glob_finds_what_it_finds_on_a_disk(self, bench: Bench, tmp_path: Path) -> None:
        local = tmp_path / "oracle"
        for name in NAMES:
            bench.write(name, name.encode())
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            (local / name).write_bytes(name.encode())

        for pattern in PATTERNS:
            # the standard library's answer, which Path.glob differs from in hidden names
            expected = [Path(name) for name in glob.glob(str(local / pattern), recursive=True)]  # noqa: PTH207
            wanted = sorted(path.relative_to(local).as_posix() for path in set(expected) if path.is_file())
            if not wanted:
                with pytest.raises(DataError):
                    bench.store.find(bench.root.join(pattern))
                continue
            found = bench.store.find(bench.root.join(pattern))
            assert [item.location.below(bench.root) for item in found] == wanted, pattern
            assert [item.size for item in found] == [len(name.encode()) for name in wanted]

    def test_nothing_found_is_an_error_with_the_pattern(self, bench: Bench) -> None:
        bench.write("a/b.csv", b"x")
        for pattern in ("a/*.gz", "nothing.csv", "a", "*/*/*"):
            with pytest.raises(DataError, match=r"correct"):
                bench.store.find(bench.root.join(pattern))

    @pytest.mark.parametrize("size", [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 1_000_003])
    def test_fetch_brings_every_byte(self, bench: Bench, tmp_path: Path, size: int) -> None:
        content = some_bytes(size)
        [item] = bench.store.find(bench.write("some file.bin", content))
        told: list[int] = []

        bench.store.fetch(item, tmp_path / "out.bin", told.append)

        assert (tmp_path / "out.bin").read_bytes() == content
        assert sum(told) == size == item.size
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out.bin"]

    def test_a_head_is_the_start_of_the_file_that_was_found(self, bench: Bench) -> None:
        content = some_bytes(200_000)
        [item] = bench.store.find(bench.write("f", content))
        for size in (1, 65_536, 150_000, 10**9):
            assert bench.store.head(item, size) == content[:size]
        [empty] = bench.store.find(bench.write("empty", b""))
        assert bench.store.head(empty, 100) == b""
        bench.write("f", content[::-1])
        with pytest.raises(DataError, match="has changed since it was found"):
            bench.store.head(item, 100)

    def test_the_version_changes_with_the_content_only(self, bench: Bench) -> None:
        location = bench.write("f", b"one")
        [before], [again] = bench.store.find(location), bench.store.find(location)
        bench.write("f", b"two")
        [after] = bench.store.find(location)
        assert before == again
        assert before.version != after.version

    def test_a_file_that_has_changed_is_not_fetched(self, bench: Bench, tmp_path: Path) -> None:
        for size in (0, 200_000):
            [item] = bench.store.find(bench.write("f", some_bytes(size)))
            bench.write("f", some_bytes(max(size, 1)))
            with pytest.raises(DataError, match="has changed since it was found"):
                bench.store.fetch(item, tmp_path / "out")
            assert not (tmp_path / "out").exists()

    def test_a_folder_lists_all_that_is_below_it(self, bench: Bench) -> None:
        for name in NAMES:
            bench.write(f"top [1]/{name}", b"x")
        bench.write("top [1]2/no", b"x")

        top = bench.root.join("top [1]")
        assert [item.location.below(top) for item in bench.store.files(top)] == sorted(NAMES)
        assert len(bench.store.files(bench.root)) == len(NAMES) + 1
        assert bench.store.files(bench.root.join("top")) == []

    def test_a_file_that_is_put_is_there_and_replaces_what_was(self, bench: Bench, tmp_path: Path) -> None:
        for content in (b"", some_bytes(200_000), b"12"):
            (tmp_path / "source").write_bytes(content)
            bench.store.put(tmp_path / "source", bench.root.join("a b", "ü.bin"))

            [item] = bench.store.find(bench.root.join("a b", "ü.bin"))
            bench.store.fetch(item, tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == content
            assert bench.names() == ["a b/ü.bin"], "no draft is left"

    def test_a_file_that_is_gone_is_not_fetched(self, bench: Bench, tmp_path: Path) -> None:
        [item] = bench.store.find(bench.write("f", b"12345"))
        if bench.azurite:
            bench.raw("f").delete_blob()
        else:
            item.location.as_path().unlink()
        with pytest.raises(DataError, match="not there any more"):
            bench.store.fetch(item, tmp_path / "out")

    def test_a_part_of_a_folder_comes_alone(self, bench: Bench, tmp_path: Path) -> None:
        source = a_folder(tmp_path / "source", {"model/x": b"1", "model/y/z": b"2", "model2/x": b"3", "info": b"4"})
        place = bench.root.join("results")
        bench.store.put_folder(source, place)

        bench.store.get_folder(place, tmp_path / "model", part="model")
        bench.store.get_folder(place, tmp_path / "info", part="info")

        assert content_of(tmp_path / "model") == {"x": b"1", "y/z": b"2"}
        assert content_of(tmp_path / "info") == {"info": b"4"}
        with pytest.raises(DataError, match=r"has no 'mod': it has info, model, model2"):
            bench.store.get_folder(place, tmp_path / "none", part="mod")
        assert not (tmp_path / "none").exists()

    def test_a_folder_goes_out_and_comes_back(self, bench: Bench, tmp_path: Path) -> None:
        source = a_folder(tmp_path / "source", {"a.bin": some_bytes(300_000), "ü b/100%/#c?.txt": b"x", "empty": b""})
        place = bench.root.join("results", "model")

        manifest = bench.store.put_folder(source, place, {"rows": 3})
        got = bench.store.get_folder(place, tmp_path / "target")

        assert got == manifest == bench.store.read_manifest(place)
        assert manifest.info == {"rows": 3}
        assert [file.path for file in manifest.files] == ["a.bin", "empty", "ü b/100%/#c?.txt"]
        assert manifest.size == 300_001
        assert content_of(tmp_path / "target") == content_of(source)

    def test_nothing_published_is_an_error(self, bench: Bench, tmp_path: Path) -> None:
        bench.write("results/data.csv", b"x")
        assert bench.store.read_manifest(bench.root.join("results")) is None
        with pytest.raises(DataError, match="nothing is published"):
            bench.store.get_folder(bench.root.join("results"), tmp_path / "target")
        with pytest.raises(DataError, match="holds no files"):
            bench.store.put_folder(a_folder(tmp_path / "empty", {}), bench.root.join("results"))
        assert not (tmp_path / "target").exists()

    def test_the_new_publication_replaces_all_of_the_old_one(self, bench: Bench, tmp_path: Path) -> None:
        place = bench.root.join("results")
        bench.store.put_folder(a_folder(tmp_path / "one", {"a": b"1", "b": b"1"}), place)
        second = bench.store.put_folder(a_folder(tmp_path / "two", {"a": b"2"}), place)

        bench.store.get_folder(place, tmp_path / "target")

        assert content_of(tmp_path / "target") == {"a": b"2"}
        assert bench.names() == [f"results/data-{second.generation}/a", f"results/{MANIFEST}"]

    def test_a_writer_that_fails_leaves_the_old_publication(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = bench.root.join("results")
        bench.store.put_folder(a_folder(tmp_path / "one", {"a": b"1", "b": b"1"}), place)
        real, calls = type(bench.store)._put, []  # type: ignore[attr-defined]

        def broken(*arguments: object) -> None:
            calls.append(arguments)
            if len(calls) == 2:
                raise OSError("the power failed")
            real(*arguments)

        monkeypatch.setattr(type(bench.store), "_put", broken)
        with pytest.raises(OSError, match="power"):
            bench.store.put_folder(a_folder(tmp_path / "two", {"a": b"2", "b": b"2"}), place)
        monkeypatch.undo()
        bench.store.get_folder(place, tmp_path / "target")
        assert content_of(tmp_path / "target") == {"a": b"1", "b": b"1"}
        assert len(bench.names()) == 4, "the orphan is there, and nobody reads it"

        third = bench.store.put_folder(a_folder(tmp_path / "three", {"a": b"3"}), place)
        assert bench.names() == [f"results/data-{third.generation}/a", f"results/{MANIFEST}"]

    def test_orphans_go_and_living_writers_and_strangers_stay(self, bench: Bench, tmp_path: Path) -> None:
        place = bench.root.join("results")
        dead, unmarked, living = "20200101T000000-aaaaaaaa", "20200101T000000-bbbbbbbb", "20200101T000000-cccccccc"
        bench.write(f"results/writer-{dead}", b"")
        for generation in (dead, unmarked, living):
            bench.write(f"results/data-{generation}/deep/part", b"x")
        strangers = ["results/data.csv", "results/data-2016/part", "results/writer-of-this", "results2/data", "other"]
        for name in strangers:
            bench.write(name, b"x")
        held = bench.store._hold(place.join(f"writer-{living}"))  # type: ignore[attr-defined]
        with held as still_held:
            manifest = bench.store.put_folder(a_folder(tmp_path / "new", {"a": b"1"}), place)
            still_held()
            kept = [f"results/writer-{living}", f"results/data-{living}/deep/part"]
            published = [f"results/data-{manifest.generation}/a", f"results/{MANIFEST}"]
            assert bench.names() == sorted([*strangers, *kept, *published])

        bench.store.delete(place)
        assert bench.names() == sorted(strangers)
        assert bench.store.read_manifest(place) is None
        bench.store.delete(place)

    @pytest.mark.slow
    def test_a_writer_that_is_killed_leaves_nothing_for_long(self, bench: Bench, tmp_path: Path) -> None:
        place, source = bench.root.join("results"), a_folder(tmp_path / "one", {"a": b"1"})
        a_folder(tmp_path / "killed", {"a": b"2", "b": b"2"})
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        if bench.azurite:
            environment["AZURE_STORAGE_CONNECTION_STRING"] = bench.azurite.connection_string(bench.endpoint)
        command = [sys.executable, "-c", WRITER, str(tmp_path / "killed"), str(place)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
            try:
                assert writer.stdout is not None
                assert writer.stdout.readline() == b"one file is there\n"
                bench.store.put_folder(source, place)
                assert len(bench.names()) == 4, "the living writer's file and mark stay"
            finally:
                writer.kill()

        end = time.monotonic() + 60
        while True:
            manifest = bench.store.put_folder(source, place)
            if bench.names() == [f"results/data-{manifest.generation}/a", f"results/{MANIFEST}"]:
                break
            assert time.monotonic() < end, bench.names()
            time.sleep(0.5)

    def test_a_reader_gets_one_publication_or_the_other(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = bench.root.join("results")
        files = {f"part-{number}": b"old" for number in range(4)}
        bench.store.put_folder(a_folder(tmp_path / "old", files), place)
        real, fetched = type(bench.store).fetch, []

        def replaced_meanwhile(*arguments: object) -> None:
            fetched.append(arguments)
            if len(fetched) == 2:
                bench.store.put_folder(a_folder(tmp_path / "new", {**dict.fromkeys(files, b"new")}), place)
            real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(type(bench.store), "fetch", replaced_meanwhile)
        bench.store.get_folder(place, tmp_path / "target")

        assert content_of(tmp_path / "target") == dict.fromkeys(files, b"new")
        assert len(fetched) > 4

    def test_a_publication_that_somebody_damaged_is_an_error(self, bench: Bench, tmp_path: Path) -> None:
        place = bench.root.join("results")
        manifest = bench.store.put_folder(a_folder(tmp_path / "one", {"a": b"12", "b": b"12"}), place)
        data = f"results/data-{manifest.generation}"

        bench.write(f"{data}/a", b"21")
        with pytest.raises(DataError, match="is not what was published"):
            bench.store.get_folder(place, tmp_path / "target")

        location = bench.write(f"{data}/b", b"")
        if bench.azurite:
            bench.raw(location.path).delete_blob()
        else:
            location.as_path().unlink()
        bench.write(f"{data}/a", b"12")
        with pytest.raises(DataError, match=r"lacks files that its manifest\.json names"):
            bench.store.get_folder(place, tmp_path / "target")
        assert not (tmp_path / "target").exists()

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"\xff",
            b'{"format": 2}',
            b'{"format": 1, "generation": "x", "files": [], "info": 3}',
            json.dumps(
                {"format": 1, "generation": "x", "info": {}, "files": [{"path": "../x", "size": 1, "sha256": ""}]}
            ).encode(),
        ],
    )
    def test_a_manifest_that_is_none_is_an_error(self, bench: Bench, content: bytes) -> None:
        bench.write(f"results/{MANIFEST}", content)
        with pytest.raises(DataError, match=r"manifest\.json"):
            bench.store.read_manifest(bench.root.join("results"))


def a_folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def content_of(folder: Path) -> dict[str, bytes]:
    names = [Path(top) / name for top, _, files in os.walk(folder) for name in files]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in names}
