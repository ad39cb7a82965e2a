"""The generated files: bytes, folders, lines, dirt and manifest, and what happens when writing goes wrong."""

from __future__ import annotations

import gzip
import json
import math
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pytest

from workload_forecast.errors import DataError, EnvironmentProblem, SettingsError
from workload_forecast.schemas import SECONDARY_MEASURES
from workload_forecast.sessions.generator import KINDS, GeneratorSettings, generate, read_manifest, run
from workload_forecast.sessions.layouts import LAYOUTS, Layout

SETTINGS = GeneratorSettings(
    date(2016, 6, 14), date(2016, 6, 17), servers=6, sessions_per_server_hour=3, copies=2, dirt_rate=0.2
)
CLEAN = replace(SETTINGS, dirt_rate=0)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def lines(root: Path) -> Iterator[tuple[str, str]]:
    for name, data in contents(root).items():
        if "request.csv" in name:
            text = gzip.decompress(data) if name.endswith(".gz") else data
            assert text.endswith(b"\n")
            yield from ((name, line) for line in text.decode("ascii")[:-1].split("\n"))


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def reason(line: str, layout: Layout) -> str | None:
    """Return why a line cannot be used, by the rules of the requirements, in plain Python."""
    values = line.split(",")
    if len(values) != len(layout.columns):
        return "field_count"
    row = dict(zip(layout.columns, values, strict=True))
    start, load = row["session_start"], number(row["total_load"])
    faults = {
        "header": start == "session_start",
        "start_missing": start == "",
        "start_unparsable": not is_time(start),
        "load_missing": row["total_load"] == "",
        "load_not_numeric": load is None or math.isnan(load),
        "load_negative": load is not None and load < 0,
        "load_infinite": load is not None and math.isinf(load),
        "server_missing": row["server_ip"] == "",
    }
    return next((name for name, found in faults.items() if found), None)


def is_time(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return False
    return True


def broken_numbers(line: str, layout: Layout) -> int:
    row = dict(zip(layout.columns, line.split(","), strict=True))
    values = [number(row[name]) for name in SECONDARY_MEASURES]
    return sum(value is None or not math.isfinite(value) or value < 0 for value in values)


@pytest.mark.parametrize("layout", ["sessions16", "sessions17"])
@pytest.mark.parametrize("compress", [False, True])
def test_manifest_counts_are_those_of_the_files(tmp_path: Path, layout: str, compress: bool) -> None:
    manifest = generate(replace(SETTINGS, layout=layout, compress=compress), tmp_path)
    rows, dirt = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for name, line in lines(tmp_path):
        rows[name] += 1
        assert line.strip()
        why = reason(line, LAYOUTS[layout])
        if why:
            dirt[name][why] += 1
        elif broken := broken_numbers(line, LAYOUTS[layout]):
            dirt[name]["imputed"] += broken
    assert {file.path: file.rows for file in manifest.files} == rows
    assert {file.path: Counter(file.dirt) for file in manifest.files} == dirt
    assert set(manifest.dirt) == set(KINDS)
    assert min(manifest.dirt.values()) > 0
    assert manifest.rows == sum(rows.values())
    assert manifest.quarantined_rows == sum(sum(c.values()) - c["imputed"] for c in dirt.values())
    assert all((tmp_path / file.path).stat().st_size == file.bytes for file in manifest.files)


def test_about_the_asked_share_of_lines_is_spoilt(tmp_path: Path) -> None:
    manifest = generate(SETTINGS, tmp_path)
    assert manifest.quarantined_rows / manifest.rows == pytest.approx(0.2 * 9 / 10, rel=0.15)
    assert sum(generate(CLEAN, tmp_path).dirt.values()) == 0


def test_bytes_depend_on_the_settings_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(SETTINGS, tmp_path / "one", workers=1)
    monkeypatch.setattr(run, "ROWS_WORTH_A_POOL", 0)
    generate(SETTINGS, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    generate(replace(SETTINGS, compress=True), tmp_path / "gz", workers=1)
    packed = {k: gzip.decompress(v) for k, v in contents(tmp_path / "gz").items() if k.endswith(".gz")}
    plain = {f"{k}.gz": v for k, v in contents(tmp_path / "one").items() if k.endswith(".csv")}
    assert packed == plain


def test_another_seed_gives_other_sessions(tmp_path: Path) -> None:
    first, second = (contents_of_seed(tmp_path / str(seed), seed) for seed in (1, 2))
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def contents_of_seed(root: Path, seed: int) -> dict[str, bytes]:
    generate(replace(SETTINGS, seed=seed), root)
    return contents(root)


def test_a_longer_window_keeps_the_files_of_the_finished_half_months(tmp_path: Path) -> None:
    generate(replace(SETTINGS, end=date(2016, 6, 15)), tmp_path / "short")
    generate(SETTINGS, tmp_path / "long")
    name = "2016/06/a/1/request.csv"
    assert (tmp_path / "short" / name).read_bytes() == (tmp_path / "long" / name).read_bytes()


def test_small_blocks_still_make_sorted_files_within_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BLOCK_ROWS", 60)  # a few hours at a time
    generate(CLEAN, tmp_path)
    starts: dict[str, list[str]] = defaultdict(list)
    for name, line in lines(tmp_path):
        start, end = line.split(",")[:2]
        assert start < end
        starts[name].append(start)
    assert sorted(starts) == [f"2016/06/{half}/{copy}/request.csv" for half in "ab" for copy in range(2)]
    for name, values in starts.items():
        assert values == sorted(values)
        first, last = ("2016-06-14", "2016-06-15") if "/a/" in name else ("2016-06-16", "2016-06-17")
        assert {value[:10] for value in values} == {first, last}
        assert len({value[11:13] for value in values}) == 24


@pytest.mark.parametrize("layout", list(LAYOUTS.values()), ids=lambda layout: layout.name)
def test_every_clean_line_has_the_layouts_fields(tmp_path: Path, layout: Layout) -> None:
    generate(replace(CLEAN, layout=layout.name), tmp_path)
    fractions = {name for name in layout.columns if name.endswith("_load")} | {"megabytes_transferred"}
    whole = {"traffic_type", "concurrent_connections", "service_grade", "http1", "server_type"}
    for _, line in lines(tmp_path):
        row = dict(zip(layout.columns, line.split(","), strict=True))
        assert all(re.fullmatch(r"\d+\.\d+", row[name]) for name in fractions)
        assert all(row[name].isdigit() for name in whole & row.keys())
        assert re.fullmatch(r"10\.16\.0\.[0-5]", row["server_ip"])
        assert re.fullmatch(r"100(\.\d{1,3}){3}", row["client_ip"])
        assert float(row["total_load"]) > 0


def test_sessions_overlap(tmp_path: Path) -> None:
    generate(replace(CLEAN, copies=1), tmp_path)
    rows = [line.split(",") for _, line in lines(tmp_path)]
    ends: dict[str, str] = {}
    overlapping = 0
    for row in sorted(rows):
        overlapping += row[0] < ends.get(row[15], "")
        ends[row[15]] = max(ends.get(row[15], ""), row[1])
    assert overlapping > len(rows) / 10


def five_minute_sums(root: Path) -> dict[tuple[str, str], float]:
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for _, line in lines(root):
        row = line.split(",")
        sums[row[15], f"{row[0][:14]}{int(row[0][14:16]) // 5}"] += float(row[13])
    return sums


def test_seven_copies_carry_seven_times_the_load_of_one(tmp_path: Path) -> None:
    hour_peaks = []
    for copies in (1, 7):
        root = tmp_path / str(copies)
        generate(replace(CLEAN, copies=copies), root)
        peaks: dict[tuple[str, str], float] = defaultdict(float)
        for (server, slot), total in five_minute_sums(root).items():
            peaks[server, slot[:13]] = max(peaks[server, slot[:13]], total)
        hour_peaks.append(peaks)
    one, seven = hour_peaks
    assert one.keys() == seven.keys()
    ratios = [seven[key] / one[key] for key in one]
    assert sum(ratios) / len(ratios) == pytest.approx(7, rel=0.02)
    assert all(6 < ratio < 8 for ratio in ratios)


def test_progress_counts_up_to_all_files(tmp_path: Path) -> None:
    calls: list[tuple[int, int, int]] = []
    manifest = generate(SETTINGS, tmp_path, progress=lambda *call: calls.append(call))
    assert [call[0] for call in calls] == [0, 1, 2, 3, 4]
    assert {call[1] for call in calls} == {4}
    rows = [call[2] for call in calls]
    assert rows == sorted(rows)
    assert rows[-1] == manifest.rows


def test_the_manifest_can_be_read_back(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    manifest = generate(SETTINGS, tmp_path)
    assert read_manifest(tmp_path) == manifest
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert (content["rows"], content["dirt"]) == (manifest.rows, manifest.dirt)
    assert (content["settings"]["seed"], content["settings"]["start"]) == (42, "2016-06-14")


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"settings": {}}')
    with pytest.raises(DataError, match=r"manifest\.json is not a manifest of generated sessions"):
        read_manifest(tmp_path)


class InterruptedOnPurposeError(Exception):
    pass


def test_an_interrupted_run_leaves_whole_files_but_no_manifest_and_can_be_repeated(tmp_path: Path) -> None:
    def interrupt(done: int, _total: int, _rows: int) -> None:
        if done == 2:
            raise InterruptedOnPurposeError

    generate(replace(SETTINGS, copies=3), tmp_path / "used")
    generate(SETTINGS, tmp_path / "reference")
    with pytest.raises(InterruptedOnPurposeError):
        generate(SETTINGS, tmp_path / "used", progress=interrupt)
    assert read_manifest(tmp_path / "used") is None
    reference = contents(tmp_path / "reference")
    for name, data in contents(tmp_path / "used").items():
        assert name == ".generating.json" or reference[name] == data
    generate(SETTINGS, tmp_path / "used")
    assert contents(tmp_path / "used") == reference


def test_a_file_that_breaks_off_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "spoilt_bytes", break_off)
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        generate(SETTINGS, tmp_path)
    assert set(contents(tmp_path)) == {".generating.json"}


def test_sessions_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "2016/06/a/0/request.csv"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    with pytest.raises(DataError, match=r"2016/06/a/0/request\.csv; 1 in all"):
        generate(SETTINGS, tmp_path)
    assert contents(tmp_path) == {"2016/06/a/0/request.csv": b"precious"}


def test_too_small_a_disk_is_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage(tmp_path))(10**9, 10**9 - 10**8, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    huge = replace(SETTINGS, servers=1000)
    with pytest.raises(EnvironmentProblem, match=r"about 0\.1 GB .* only 0\.1 GB can be used"):
        generate(huge, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot write below"):
        generate(SETTINGS, tmp_path / "taken")


def test_workers_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="workers is 0"):
        generate(SETTINGS, tmp_path, workers=0)
