from __future__ import annotations

import csv
import hashlib
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests import oracle
from tests.engines.conformance import assert_equal_tables
from tests.steps.conftest import Project
from workload_forecast.engines.duckdb import DuckDBEngine
from workload_forecast.schemas import SECONDARY_MEASURES
from workload_forecast.sessions.generator import KINDS, PRESETS, GeneratorSettings, read_manifest
from workload_forecast.steps import generate as generate_step
from workload_forecast.steps import runs as runs_module

FIRST, TEST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 10), datetime(2016, 6, 12, 23, 59, 59)
SETTINGS = {
    "dataFile": "sessions/*/*/*/*/request.csv*",
    "trainingFrom": str(FIRST),
    "testFrom": str(TEST),
    "to": str(LAST),
    "missingHours": "zero",
}


@pytest.fixture
def prepared(project: Project) -> Project:
    project.sessions(FIRST, LAST, dirt_rate=0.02)
    project.settings(**SETTINGS)
    return project


def etl(project: Project, *arguments: str) -> int:
    return project.run("etl", "--config", "settings.json", *arguments)


def table(project: Project, name: str) -> list[oracle.Row]:
    (found,) = project.folder.glob(f"outputs/etl/*/{name}")
    rows: list[oracle.Row] = pq.read_table(found).to_pylist()
    return rows


def test_tables_are_those_of_the_oracle_and_the_accounts_those_of_the_generator(prepared: Project) -> None:
    assert etl(prepared) == 0

    clean = [session for path in sorted(prepared.folder.glob("sessions/**/request.csv")) for session in _clean(path)]
    hourly = oracle.hourly_load(oracle.five_minute_load(clean))
    assert_equal_tables(table(prepared, "hourly_load"), hourly)
    features = table(prepared, "features")
    assert_equal_tables(
        [{**row, "year": int(row["year"]), "month": int(row["month"])} for row in features],
        oracle.features(hourly, "zero"),
    )
    manifest = read_manifest(prepared.folder / "sessions")
    assert manifest is not None
    (run,) = prepared.runs(step="etl")
    metrics = run.data.metrics
    assert metrics["rows_read"] == manifest.rows
    assert metrics["rows_used"] == len(clean) == manifest.rows - manifest.quarantined_rows
    assert metrics["numbers_imputed"] == manifest.dirt["imputed"]
    for reason in KINDS:
        if reason != "imputed":
            assert metrics[f"rows_quarantined_{reason}"] == manifest.dirt[reason], reason
    stored = Counter[str]()
    for row in table(prepared, "quarantine"):
        stored[row["reason"]] += row["rows"]
    assert dict(stored) == {kind: n for kind, n in manifest.dirt.items() if n and kind != "imputed"}
    assert run.inputs is not None
    assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["sessions", "features"]
    assert run.info.status == "FINISHED"


def _clean(path: Path) -> list[oracle.Row]:
    """Parse a file by the letter of the cleaning rules, with Python's own parsers."""
    sessions = []
    for fields in csv.reader(path.open(), quoting=csv.QUOTE_NONE):
        try:
            start, load, server = datetime.strptime(fields[0], "%Y-%m-%d %H:%M:%S"), float(fields[13]), fields[15]
        except (ValueError, IndexError):
            continue
        if len(fields) == 16 and 0 <= load < 1e15 and server:
            secondary = dict(zip(SECONDARY_MEASURES, (3, 2, 12, 7, 8, 9, 10, 11), strict=True))
            numbers = {name: _number(fields[position]) for name, position in secondary.items()}
            sessions.append({"server": server, "start": start, "total_load": load, **numbers})
    return sessions


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e15 else None


def test_the_same_work_is_done_once(prepared: Project) -> None:
    assert [etl(prepared), etl(prepared)] == [0, 0]
    first, second = prepared.runs(step="etl")
    assert second.data.tags["workload_forecast.reused_run"] == first.info.run_id
    assert "workload_forecast.reused_run" not in first.data.tags
    assert second.data.metrics == first.data.metrics
    assert f"reused run {first.info.run_id}" in prepared.say()


@pytest.mark.parametrize("change", ["touch", "edit", "new_file", "removed_file", "parameter", "code", "reuse", "lost"])
def test_any_change_does_the_work_again(prepared: Project, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert etl(prepared) == 0
    arguments: list[str] = []
    one = next(iter(sorted(prepared.folder.glob("sessions/**/request.csv"))))
    if change == "touch":
        one.touch()
    elif change == "edit":
        one.write_bytes(one.read_bytes().replace(b"2016-06-01", b"2016-06-02", 1))
    elif change == "new_file":
        (one.parent / "request.csv.gz").write_bytes(b"")
        (one.parent / "request.csv.gz").unlink()
        (one.parents[1] / "6").mkdir()
        (one.parents[1] / "6" / "request.csv").write_bytes(one.read_bytes()[:0])
    elif change == "removed_file":
        (one.parents[1] / "6").mkdir()
        (one.parents[1] / "6" / "request.csv").write_text("x")
        assert etl(prepared) == 0
        (one.parents[1] / "6" / "request.csv").unlink()
        one.touch()
    elif change == "parameter":
        prepared.settings(**{**SETTINGS, "missingHours": "unknown"})
    elif change == "code":
        monkeypatch.setattr(runs_module, "code_digest", lambda: "other code")
    elif change == "reuse":
        arguments = ["--reuse", "false"]
    elif change == "lost":
        (info,) = prepared.folder.glob("outputs/etl/*/info.json")
        info.unlink()
    assert etl(prepared, *arguments) == 0
    assert all("workload_forecast.reused_run" not in run.data.tags for run in prepared.runs(step="etl"))


def test_thresholds_and_test_period_do_not_matter_to_the_etl(prepared: Project) -> None:
    assert etl(prepared) == 0
    prepared.settings(**{**SETTINGS, "thresholds": {"low": 1, "high": 2}, "testFrom": str(TEST + timedelta(days=1))})
    assert etl(prepared) == 0
    assert "workload_forecast.reused_run" in prepared.runs(step="etl")[1].data.tags


def test_doing_it_twice_gives_the_same_tables(prepared: Project) -> None:
    names = ("hourly_load", "features", "quarantine")
    tables = []
    for _ in range(2):
        assert etl(prepared, "--reuse", "false") == 0
        tables.append([table(prepared, name) for name in names])
    for name, one, two in zip(names, *tables, strict=True):
        assert sorted(map(str, one)) == sorted(map(str, two)), name


def test_filter_ip_keeps_the_two_busiest_servers(prepared: Project) -> None:
    assert etl(prepared, "--debug", "FILTER_IP") == 0
    lines = next(iter(sorted(prepared.folder.glob("sessions/**/request.csv")))).read_text().splitlines()[:20_000]
    counts = Counter(line.split(",")[15] for line in lines if line.count(",") == 15 and line.split(",")[15])
    kept = {row["server"] for row in table(prepared, "hourly_load")}
    assert kept == set(sorted(counts, key=lambda server: (-counts[server], server))[:2])
    assert prepared.runs(step="etl")[0].data.metrics["rows_filtered"] > 0


def test_filter_ip_keeps_the_configured_servers(prepared: Project) -> None:
    server = table_servers(prepared)[0]
    prepared.settings(**SETTINGS, debugServers=[server])
    assert etl(prepared, "--debug", "FILTER_IP", "--reuse", "false") == 0
    kept = [
        {row["server"] for row in pq.read_table(path).to_pylist()}
        for path in prepared.folder.glob("outputs/etl/*/hourly_load")
    ]
    assert {server} in kept


def test_a_sample_is_of_whole_servers_and_a_result_of_its_own(prepared: Project) -> None:
    place = {server: int(hashlib.md5(server.encode()).hexdigest(), 16) / 2**128 for server in table_servers(prepared)}
    first, second, _ = sorted(place, key=lambda server: place[server])
    share = round((place[first] + place[second]) / 2, 4)
    whole = {name: table(prepared, name) for name in ("hourly_load", "features", "quarantine")}

    assert etl(prepared, "--sample", str(share)) == 0

    all_servers, sampled = prepared.runs(step="etl")
    folder = Path(sampled.data.tags["workload_forecast.result"])
    assert str(folder) != all_servers.data.tags["workload_forecast.result"]
    for name, rows in whole.items():
        expected = [row for row in rows if row.get("server", first) == first]
        assert sorted(map(str, pq.read_table(folder / name).to_pylist())) == sorted(map(str, expected)), name
    assert (all_servers.data.params["sample"], sampled.data.params["sample"]) == ("1", str(share))
    assert sampled.data.tags["workload_forecast.subset"] == f"sample-{share}"
    assert "workload_forecast.subset" not in all_servers.data.tags
    before, after = all_servers.data.metrics, sampled.data.metrics
    for name in ("rows_read", "rows_quarantined"):
        assert after[name] == before[name]
    assert after["rows_used"] + after["rows_filtered"] == before["rows_used"]
    assert after["rows_filtered"] > after["rows_used"] > 0


def test_a_sample_without_a_server_says_so(prepared: Project) -> None:
    assert etl(prepared, "--sample", "1e-12") == 3
    assert "no usable row" in (said := prepared.say())
    assert "or take more servers (sample, debugServers)" in said


def table_servers(project: Project) -> list[str]:
    assert etl(project) == 0
    return sorted({row["server"] for row in table(project, "hourly_load")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataFile": "nowhere/*.csv"}, "no file matches dataFile"),
        (
            {"trainingFrom": "2019-01-01 00:00:00", "testFrom": "2019-02-01 00:00:00", "to": "2019-03-01 00:00:00"},
            "no usable row",
        ),
    ],
)
def test_unusable_input_is_one_clear_line_and_a_failed_run(
    prepared: Project, change: dict[str, str], message: str
) -> None:
    prepared.settings(**{**SETTINGS, **change})
    assert etl(prepared) == 3
    (line,) = [line for line in prepared.say().splitlines() if line.startswith("error: ")]
    assert message in line
    (run,) = prepared.runs()
    assert run.info.status == "FAILED"
    assert message in run.data.tags["workload_forecast.error"]
    assert not list(prepared.folder.glob("outputs/etl/*"))


def test_files_that_change_while_they_are_read_are_an_error(prepared: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def reduce_and_touch(self: DuckDBEngine, *arguments: Any) -> int:
        reduced = reduce_sessions(self, *arguments)
        next(prepared.folder.glob("sessions/**/request.csv")).touch()
        return reduced

    reduce_sessions = DuckDBEngine.reduce_sessions
    monkeypatch.setattr(DuckDBEngine, "reduce_sessions", reduce_and_touch)
    assert etl(prepared) == 3
    assert "changed while they were read" in prepared.say()
    assert not list(prepared.folder.glob("outputs/etl/*"))
    assert not list(prepared.folder.glob("outputs/parts/*/*")), "what was read of them is not kept"


def test_without_data_the_synthetic_sample_stands_in_loudly(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:

    small = {**PRESETS, "small": GeneratorSettings(FIRST.date(), LAST.date(), servers=2, sessions_per_server_hour=2)}
    monkeypatch.setattr(generate_step, "PRESETS", small)
    assert project.run("etl") == 0
    assert "NO DATA IS CONFIGURED for ONE_MONTH: using SYNTHETIC sessions" in project.say()
    (generated,) = project.runs(step="generate")
    (run,) = project.runs(step="etl")
    assert run.data.tags["data"] == generated.data.tags["data"] == "synthetic"
    assert generated.data.tags["mlflow.parentRunId"] == run.info.run_id
