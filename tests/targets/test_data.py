"""Where a job finds its sessions, for every kind of target."""

from __future__ import annotations

import glob
import json
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workload_forecast.config import load_settings
from workload_forecast.errors import SettingsError
from workload_forecast.targets.data import DataPlan, Where, _root, plan_data
from workload_forecast.targets.files import Mount

STORE = "/store/data"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "the project"
    folder.mkdir()
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sessions of two servers on this machine, and a file that is none."""
    folder = tmp_path / "some data"
    for name in ("one/a.csv", "one/b.csv", "two/a.csv", "two/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 10)
    (folder / "two" / "folder.csv").mkdir()
    return folder


def write(project: Path, name: str = "settings.json", **content: Any) -> None:
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text(json.dumps({"duration": "ONE_MONTH", **content}))


def plan(
    project: Path, *, where: Where = "auto", local: bool = False, contained: bool = True, **parameters: str
) -> DataPlan:
    parameters = parameters or {"config": "settings.json"}
    return plan_data(parameters, project, where=where, local=local, contained=contained, store=STORE)


@pytest.mark.parametrize("parameters", [{"engine": "duckdb"}, {"config": ""}])
def test_without_a_settings_file_nothing_is_to_be_done(project: Path, parameters: dict[str, str]) -> None:
    found = plan_data(parameters, project, where="auto", local=False, contained=True, store=STORE)
    assert found == DataPlan()
    assert DataPlan().bytes == 0


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("contained", [True, False])
def test_synthetic_data_needs_settings_alone(project: Path, *, local: bool, contained: bool) -> None:
    write(project)
    found = plan(project, local=local, contained=contained)
    assert found == DataPlan(settings={"duration": "ONE_MONTH", "dataFile": ""})


@pytest.mark.parametrize("where", ["auto", "launcher", "target"])
def test_an_address_is_left_to_the_job(project: Path, where: Where) -> None:
    address = "abfss://container@account.dfs.core.windows.net/*/*.csv"
    write(project, dataFile=address)
    settings = {"duration": "ONE_MONTH", "dataFile": address}
    expected = DataPlan(settings=settings, service="https://account.dfs.core.windows.net")
    assert plan(project, where=where) == expected


@pytest.mark.parametrize("where", ["auto", "launcher"])
def test_data_beside_the_job_is_mounted_at_its_own_path(project: Path, data: Path, where: Where) -> None:
    write(project, dataFile=str(data / "*" / "*.csv"))
    found = plan(project, where=where, local=True)
    assert found.mounts == (Mount(source=str(data), target=str(data), read_only=True),)
    assert (found.files, found.target, found.on_target) == ((), "", "")
    assert found.settings == {"duration": "ONE_MONTH", "dataFile": str(data / "*" / "*.csv")}


def test_data_beside_a_job_without_a_container_is_simply_there(project: Path, data: Path) -> None:
    write(project, dataFile=str(data / "*.csv"))
    assert plan(project, local=True, contained=False) == DataPlan(
        settings={"duration": "ONE_MONTH", "dataFile": str(data / "*.csv")}
    )


@pytest.mark.parametrize("where", ["auto", "launcher"])
def test_files_travel_to_another_machine_and_are_mounted_at_their_path_of_here(
    project: Path, data: Path, where: Where
) -> None:
    write(project, dataFile=str(data / "*" / "*.csv"))
    found = plan(project, where=where)
    assert (found.root, found.files) == (data, ("one/a.csv", "one/b.csv", "two/a.csv"))
    assert found.bytes == 30
    assert found.target.startswith(f"{STORE}/")
    assert found.mounts == (Mount(source=found.target, target=str(data), read_only=True),)
    assert found.settings == {"duration": "ONE_MONTH", "dataFile": str(data / "*" / "*.csv")}
    assert found.on_target == ""


def test_without_a_container_the_settings_name_the_place_on_the_target(project: Path, data: Path) -> None:
    write(project, dataFile=str(data / "*" / "a.csv"))
    found = plan(project, contained=False)
    assert found.files == ("one/a.csv", "two/a.csv")
    assert found.mounts == ()
    assert found.settings == {"duration": "ONE_MONTH", "dataFile": f"{found.target}/*/a.csv"}


def test_one_place_for_one_folder_and_another_for_another(project: Path, data: Path) -> None:
    targets = []
    for pattern in ("*/a.csv", "*/*.csv", "one/*.csv"):
        write(project, dataFile=str(data / pattern))
        targets.append(plan(project).target)
    assert targets[0] == targets[1] != targets[2]


@pytest.mark.parametrize(("where", "root"), [("target", "some data"), ("auto", "elsewhere")])
@pytest.mark.parametrize("contained", [True, False])
def test_data_of_the_target_must_match_there(
    project: Path, data: Path, where: Where, root: str, *, contained: bool
) -> None:
    folder = data.parent / root
    write(project, dataFile=str(folder / "*.csv"))
    for local in (True, False):
        found = plan(project, where=where, contained=contained, local=local)
        assert found.on_target == str(folder / "*.csv")
        assert (found.files, found.target) == ((), "")
        assert found.mounts == ((Mount(source=str(folder), target=str(folder)),) if contained else ())


@pytest.mark.parametrize(("name", "where"), [("*/*.json", "auto"), ("*/*.json", "launcher"), ("no/*.csv", "launcher")])
def test_files_that_should_travel_but_are_not_there(project: Path, data: Path, name: str, where: Where) -> None:
    write(project, dataFile=str(data / name))
    with pytest.raises(SettingsError, match=r"no file matches dataFile .* here: correct it, or say data: target"):
        plan(project, where=where)


def test_a_relative_pattern_begins_at_the_settings_file_and_that_at_the_project(project: Path) -> None:
    (project / "data").mkdir()
    (project / "data" / "a.csv").write_text("x")
    write(project, "settings/mine.json", dataFile="../data/*.csv")
    found = plan(project, contained=False, config="settings/mine.json")
    assert found.files == ("a.csv",)
    assert found.root.samefile(project / "data")


def test_an_absolute_path_and_a_home_for_the_settings(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(tmp_path / "home", dataFile="s3://bucket/x.csv")
    for config in ("~/settings.json", str(tmp_path / "home" / "settings.json")):
        assert (plan(project, config=config).settings or {})["dataFile"] == "s3://bucket/x.csv"


def test_the_settings_of_the_target_are_valid_and_say_what_those_here_say(
    project: Path, data: Path, tmp_path: Path
) -> None:
    custom: dict[str, Any] = {
        "duration": "CUSTOM",
        "dataFile": str(data / "*" / "*.csv"),
        "trainingFrom": "2016-05-01 00:00:00",
        "testFrom": "2016-06-01 00:00:00",
        "to": "2016-06-10 00:00:00",
        "thresholds": {"low": 1.0, "high": 2.0},
        "debugServers": ["a", "ü"],
    }
    write(project, **custom)
    found = plan(project, contained=False, config="settings.json", duration="CUSTOM")
    there = tmp_path / "there.json"
    there.write_text(json.dumps(found.settings))
    read = load_settings("CUSTOM", there)
    assert read.data_file == f"{found.target}/*/*.csv"
    here = load_settings("CUSTOM", project / "settings.json")
    assert read.model_copy(update={"data_file": ""}) == here.model_copy(update={"data_file": ""})


def test_wrong_settings_are_said_before_anything_is_launched(project: Path) -> None:
    with pytest.raises(SettingsError, match=r"settings file .*the project/settings\.json does not exist"):
        plan(project)
    write(project, dataFile="x/*.csv")
    with pytest.raises(SettingsError, match="is for duration ONE_MONTH, but duration=FULL was asked for"):
        plan(project, config="settings.json", duration="FULL")


@pytest.mark.parametrize("pattern", ["/sessions.csv", "/*.csv", "/*/sessions.csv", "/[ab]/x.csv"])
@pytest.mark.parametrize("local", [True, False])
def test_data_at_the_root_of_the_file_system_is_refused(project: Path, pattern: str, *, local: bool) -> None:
    write(project, dataFile=pattern)
    with pytest.raises(SettingsError, match="begins at the root of the file system: put the data into a folder"):
        plan(project, local=local)


PARTS = st.text(st.sampled_from("ab .*?[]-ü"), min_size=1, max_size=4).filter(lambda part: part not in {".", ".."})


@given(st.lists(PARTS, min_size=2, max_size=6))
def test_the_root_is_all_that_stands_before_the_first_pattern(parts: list[str]) -> None:
    fixed = list(takewhile(lambda part: not any(sign in part for sign in "*?["), parts[:-1]))
    pattern = "/" + "/".join(parts)
    if fixed:
        assert _root(pattern) == Path("/", *fixed)
    else:
        with pytest.raises(SettingsError, match="root of the file system"):
            _root(pattern)


@pytest.mark.parametrize("pattern", ["one/a.csv", "*/a.csv", "**/*.csv", "?ne/[ab].csv", "*/*"])
def test_the_same_files_travel_as_a_local_run_reads(project: Path, data: Path, pattern: str) -> None:
    write(project, dataFile=str(data / pattern))
    found = plan(project)
    names = glob.glob(str(data / pattern), recursive=True)  # noqa: PTH207  as local storage does
    read = {Path(name) for name in names if Path(name).is_file()}
    assert {found.root / name for name in found.files} == read
    assert read


@pytest.mark.parametrize(
    ("address", "service"),
    [
        ("wasbs://c@account.blob.core.windows.net/x", "https://account.blob.core.windows.net"),
        ("abfss://c@account.dfs.core.windows.net/x", "https://account.dfs.core.windows.net"),
        ("https://account.blob.core.windows.net/c/x", "https://account.blob.core.windows.net"),
        ("http://127.0.0.1:10000/account/c/x", "http://127.0.0.1:10000"),
        ("az://c/x", "https://named.blob.core.windows.net"),
        ("s3://bucket/x", ""),
    ],
)
def test_the_service_behind_a_url_is_known(project: Path, address: str, service: str) -> None:
    write(project, dataFile=address, storageAccount="named")
    assert plan(project).service == service
