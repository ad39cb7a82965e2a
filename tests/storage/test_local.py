from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workload_forecast.errors import DataError, EnvironmentProblem
from workload_forecast.home import results_home
from workload_forecast.storage import lines as lines_module
from workload_forecast.storage.lines import count_lines, first_lines
from workload_forecast.storage.local import find_files, publish, read_info, write_info


def test_files_are_found_in_order_and_folders_are_not(tmp_path: Path) -> None:
    for name in ("b/2.csv", "a/1.csv", "a/folder.csv/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_files(str(tmp_path / "**" / "*.csv")) == [tmp_path / "a/1.csv", tmp_path / "b/2.csv"]


def test_a_file_is_found_once_in_however_many_ways_it_matches(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/1.csv").touch()
    assert find_files(str(tmp_path / "**/**/*.csv")) == [tmp_path / "a/b/1.csv"]


def test_no_file_is_an_error_that_repeats_the_glob() -> None:
    with pytest.raises(DataError, match=r"no file matches dataFile '/no/such/\*\.csv'"):
        find_files("/no/such/*.csv")


def test_first_lines_of_plain_and_packed_files() -> None:
    plain = b"one\r\ntwo\n\xff\n" + b"x" * 200_000
    packed = gzip.compress(plain) + gzip.compress(b"\nlast")
    assert (
        first_lines(plain, "a.csv", 3)
        == first_lines(packed, "a.csv.gz", 3)
        == ["one", "two", "\N{REPLACEMENT CHARACTER}"]
    )
    assert first_lines(plain, "a.csv", 100)[3] == "x" * 65536, "a giant line is cut, not loaded"
    assert first_lines(packed, "a.csv.gz", 100)[-1] == "last"


def test_first_lines_of_a_file_that_is_cut_short_are_those_that_are_there() -> None:
    lines = [f"{number:06d}" for number in range(50_000)]
    packed = gzip.compress("\n".join(lines).encode())
    found = first_lines(packed[: len(packed) // 2], "a.csv.gz", 1_000_000)
    assert 10_000 < len(found) < 50_000
    assert found[:-1] == lines[: len(found) - 1]
    with pytest.raises(DataError, match=r"a\.csv\.gz cannot be read"):
        first_lines(b"no gzip", "a.csv.gz", 1)


def test_a_result_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result"
    with publish(target) as draft:
        (draft / "table").write_text("1")
        write_info(draft, {"rows": 1})
        assert not target.exists()
    assert read_info(target) == {"rows": 1}

    def crash() -> None:
        with publish(target) as draft:
            (draft / "table").write_text("2")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash()
    assert (target / "table").read_text() == "1"
    with publish(target) as draft:
        (draft / "other").write_text("3")
    assert [path.name for path in target.iterdir()] == ["other"]
    assert list(target.parent.iterdir()) == [target], "no draft is left"
    assert read_info(target) is None


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_kept(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from workload_forecast.storage.local import publish\n"
        "with publish(Path(sys.argv[1])) as draft: os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "result")], cwd=Path(__file__).parents[2], check=False)
    assert len(list(tmp_path.iterdir())) == 1, "the crash left its draft"
    with publish(tmp_path / "result"), publish(tmp_path / "result"):
        assert len(list(tmp_path.iterdir())) == 2, "two living drafts, and no dead one"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match=r"cannot be written to .*file"), publish(tmp_path / "file" / "result"):
        pass


@given(
    data=st.lists(st.sampled_from([b"\xef\xbb\xbf", b"\xef", b"a", b"bc", b"\n", b"\r", b"\r\n", b"\x00"])).map(
        b"".join
    ),
    chunk=st.integers(1, 5),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_are_counted_across_chunks(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, data: bytes, chunk: int
) -> None:
    monkeypatch.setattr(lines_module, "_CHUNK_BYTES", chunk)
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(data)
    content = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r\n" in content and re.search(rb"\r[^\n]", content):
        with pytest.raises(DataError, match="mixes its ends of lines"):
            count_lines(path)
    else:
        assert count_lines(path) == sum(1 for line in re.split(rb"[\r\n]", content) if line)


def test_a_broken_gz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(b"not gzip")
    with pytest.raises(DataError, match=r"a\.csv\.gz cannot be read"):
        count_lines(path)


@pytest.mark.parametrize(
    ("uri", "environment", "folder", "expected"),
    [
        ("sqlite:////srv/runs/mlflow.db", {}, "/tmp/clone", "/srv/runs/outputs"),
        ("sqlite:///mlflow.db", {}, "/project", "/project/outputs"),
        ("sqlite:////srv/a%20b/mlflow.db", {}, "/project", "/srv/a b/outputs"),
        ("http://tracking:5000", {}, "/project", "/project/outputs"),
        ("http://tracking:5000", {"XDG_DATA_HOME": "/home/me/data"}, "/tmp/clone/x", "/home/me/data/workload_forecast"),
        ("sqlite:////srv/mlflow.db", {"WORKLOAD_FORECAST_HOME": "/big/disk"}, "/project", "/big/disk"),
    ],
)
def test_results_live_beside_the_tracking_database(
    uri: str, environment: dict[str, str], folder: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    assert results_home(uri, environment, Path(folder)) == Path(expected)
