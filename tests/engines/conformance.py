"""What every engine must do: one suite, inherited by each engine's test module."""

from __future__ import annotations

import gzip
import hashlib
import re
import tempfile
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from tests import oracle
from workload_forecast.engines.contract import LONGEST_LINE_BYTES, Engine, SessionFile
from workload_forecast.errors import DataError, SchemaError
from workload_forecast.load.peaks import hourly_peaks
from workload_forecast.schemas import FEATURES, FIVE_MINUTE_LOAD, HOURLY_LOAD, MEASURES, REDUCED, Frame
from workload_forecast.sessions.cleaning import QUARANTINE_REASONS, SERVER_DIGEST
from workload_forecast.sessions.layouts import LAYOUTS, Layout
from workload_forecast.sessions.reduction import account, five_minute_load, hours_of, quarantine, reduce_sessions

FIRST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 30, 23, 59, 59)
SIXTEEN, SEVENTEEN = LAYOUTS["sessions16"], LAYOUTS["sessions17"]

GOOD = {
    "traffic_type": "3",
    "session_start": "2016-06-01 10:07:59",
    "session_end": "2016-06-01 10:30:00",
    "concurrent_connections": "7",
    "megabytes_transferred": "1.5",
    "service_grade": "1",
    "http1": "1",
    "server_type": "2",
    **{f"sub_service_{number}_load": f"0.{number}" for number in range(1, 6)},
    "secure_bytes_load": "0.25",
    "total_load": "10.5",
    "client_ip": "192.0.2.9",
    "server_ip": "10.0.0.1",
}

#: A change to a good row, and what must become of the row: None is used, else the reason.
DIRT: list[tuple[dict[str, str], str | None]] = [
    ({}, None),
    ({"session_start": ""}, "start_missing"),
    ({"session_start": "  "}, "start_missing"),
    ({"session_start": "2016-06-01"}, "start_unparsable"),
    ({"session_start": "2016-06-31 10:00:00"}, "start_unparsable"),
    ({"session_start": "2016-02-30 10:00:00"}, "start_unparsable"),
    ({"session_start": "2016-06-01 25:00:00"}, "start_unparsable"),
    ({"session_start": "2016-06-01 24:00:00"}, "start_unparsable"),
    ({"session_start": "2016-06-01 10:00:60"}, "start_unparsable"),
    ({"session_start": "2016/06/01 10:00:00"}, "start_unparsable"),
    ({"session_start": "2016-06-01T10:00:00"}, "start_unparsable"),
    ({"session_start": "2016-06-01 10:00:00Z"}, "start_unparsable"),
    ({"session_start": "2016-06-01 1a:00:00"}, "start_unparsable"),
    ({"session_start": "soon"}, "start_unparsable"),
    ({"session_start": "SessionStart", "total_load": "TotalLoad", "server_ip": "ServerIP"}, "header"),
    ({"session_start": " 2016-06-01 10:07:59 "}, None),
    ({"session_end": "never"}, None),
    ({"total_load": ""}, "load_missing"),
    ({"total_load": " "}, "load_missing"),
    ({"total_load": "abc"}, "load_not_numeric"),
    ({"total_load": "nan"}, "load_not_numeric"),
    ({"total_load": "1_000"}, "load_not_numeric"),
    ({"total_load": "1d"}, "load_not_numeric"),
    ({"total_load": "2.5f"}, "load_not_numeric"),
    ({"total_load": "0x1p3"}, "load_not_numeric"),
    ({"total_load": "0x10"}, "load_not_numeric"),
    ({"total_load": "1e"}, "load_not_numeric"),
    ({"total_load": "1.2.3"}, "load_not_numeric"),
    ({"total_load": "12 13"}, "load_not_numeric"),
    ({"total_load": "-1"}, "load_negative"),
    ({"total_load": "-inf"}, "load_negative"),
    ({"total_load": "inf"}, "load_infinite"),
    ({"total_load": "Infinity"}, "load_infinite"),
    ({"total_load": "1e999"}, "load_infinite"),
    ({"total_load": "1e15"}, "load_infinite"),
    ({"total_load": "999999999999999"}, None),
    ({"total_load": "1e3"}, None),
    ({"total_load": "1E+3"}, None),
    ({"total_load": " 10.5 "}, None),
    ({"total_load": "+5"}, None),
    ({"total_load": ".5"}, None),
    ({"total_load": "5."}, None),
    ({"total_load": "0"}, None),
    ({"total_load": "-0.0"}, None),
    ({"server_ip": ""}, "server_missing"),
    ({"server_ip": "   "}, "server_missing"),
    ({"server_ip": " 10.0.0.1 "}, None),
    ({"server_ip": "serveur-é"}, None),
    ({"server_ip": "web_1"}, None),
    ({"server_ip": " web_1"}, None),
    ({"server_ip": "web_1 "}, None),
    ({"server_ip": "web_1", "total_load": "1_000"}, "load_not_numeric"),
    ({"session_start": "2016-05-31 23:59:59"}, "outside_window"),
    ({"session_start": "2016-07-01 00:00:00"}, "outside_window"),
    ({"session_start": "2016-06-30 23:59:59"}, None),
    ({"session_start": "2016-06-01 00:00:00"}, None),
    ({"session_start": "", "total_load": "", "server_ip": ""}, "start_missing"),
    ({"total_load": "abc", "session_start": "1999-01-01 00:00:00"}, "load_not_numeric"),
]


def line(layout: Layout, **changes: str) -> str:
    return ",".join({**GOOD, **changes}[column] for column in layout.columns)


def non_blank_lines(data: bytes) -> int:
    """The independent count of input rows: lines end with LF, CR or both, blank ones are not rows, a BOM is no text."""
    return sum(1 for part in re.split(rb"[\r\n]", data.removeprefix(b"\xef\xbb\xbf")) if part)


def reduce(
    engine: Engine, files: list[SessionFile], servers: tuple[str, ...] = (), sample: float = 1.0
) -> tuple[Frame, dict[str, int]]:
    window = partial(reduce_sessions, first=FIRST, last=LAST, servers=servers, sample=sample)

    def reduction(raw: Frame) -> Frame:
        return window(engine.with_digest(raw, "server", SERVER_DIGEST) if sample < 1 else raw)

    path = Path(tempfile.mkdtemp()) / "reduced"
    rows_read = engine.reduce_sessions(files, reduction, path)
    frame = engine.read_table(REDUCED, path)
    return frame, account(frame, rows_read)


def records(frame: Frame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame.collect("pyarrow").to_native().to_pylist()
    return sorted(rows, key=lambda row: [str(value) for value in row.values()])


#: Bytes that look like parts of session files more often than random ones do.
_PIECES = st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\r\n",
        b",",
        b"\x00",
        b"\xff",
        b"\xc3",
        b"\xc3\xa9",
        b'"',
        b"\\",
        b"'",
        b" ",
        b"\t",
        b"\xef\xbb\xbf",
        b"\x01",
        b"2016-06-01 00:00:00",
        "\U0010ffff".encode(),
        "\U0010fffe".encode(),
        line(SIXTEEN).encode(),
        line(SIXTEEN, total_load="-1").encode(),
        b"\n" + line(SIXTEEN).encode() + b"\n",
    ]
)
DIRTY_BYTES = st.lists(_PIECES | st.binary(max_size=12), max_size=25).map(b"".join)


def check_that_no_row_is_lost(engine: Engine, path: Path, data: bytes) -> None:
    """The property that holds for arbitrary bytes; every engine's module draws as many examples as it can afford."""
    path.write_bytes(data)
    frame, counts = reduce(engine, [SessionFile(str(path), SIXTEEN)])
    assert counts["rows_read"] == non_blank_lines(data)
    assert sum(row["rows"] for row in records(quarantine(frame))) == counts["rows_quarantined"]
    assert sum(row["sessions"] for row in records(five_minute_load(frame))) == counts["rows_used"]


def check_against_the_oracle(engine: Engine, path: Path, sessions: list[oracle.Row]) -> None:
    """Sessions to five-minute and hourly load, each compared as a whole table."""
    path.write_text("\n".join(session_line(session) for session in sessions))
    frame, counts = reduce(engine, [SessionFile(str(path), SIXTEEN)])
    assert counts["rows_used"] == len(sessions)
    expected = oracle.five_minute_load(sessions)
    assert_equal_tables(records(five_minute_load(frame)), expected)
    assert_equal_tables(records(hourly_peaks(five_minute_load(frame))), oracle.hourly_load(expected))


def session_line(session: oracle.Row) -> str:
    measures = {name: "" if session[name] is None else repr(session[name]) for name in MEASURES}
    return line(SIXTEEN, **measures, session_start=str(session["start"]), server_ip=session["server"])


def assert_equal_tables(found: list[oracle.Row], expected: list[oracle.Row]) -> None:
    """Compare whole tables whatever the order of rows and columns, numbers to 1e-9."""
    ordered = sorted(expected, key=lambda row: (row["server"], row["hour"], row.get("slot", 0)))
    found = sorted(found, key=lambda row: (row["server"], row["hour"], row.get("slot", 0)))
    assert [(row["server"], row["hour"]) for row in found] == [(row["server"], row["hour"]) for row in ordered]
    for row, wanted in zip(found, ordered, strict=True):
        assert row == {
            name: pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
            for name, value in wanted.items()
        }


class EngineConformance:
    """Subclass it as ``Test…`` with a fixture ``engine``."""

    @pytest.fixture
    def one_file(self, tmp_path: Path) -> Path:
        return tmp_path / "request.csv"

    @pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
    def test_every_rule(self, engine: Engine, layout: Layout, one_file: Path) -> None:
        lines = [line(layout, **changes) for changes, _ in DIRT]
        lines += ["", ",".join(["1"] * 15), line(layout) + ",more", "one field"]
        one_file.write_text("\n".join(lines), encoding="utf-8")
        expected = dict.fromkeys((*QUARANTINE_REASONS, "used", "outside_window"), 0)
        for _, outcome in DIRT:
            expected[outcome or "used"] += 1
        expected["field_count"] += 3

        frame, counts = reduce(engine, [SessionFile(str(one_file), layout)])

        assert {reason: counts[f"rows_quarantined_{reason}"] for reason in QUARANTINE_REASONS} == {
            reason: expected[reason] for reason in QUARANTINE_REASONS
        }
        assert counts["rows_used"] == expected["used"]
        assert counts["rows_outside_window"] == expected["outside_window"]
        assert counts["rows_read"] == len(lines) - 1
        stored = {(row["reason"], row["line"]) for row in records(quarantine(frame))}
        assert stored == {
            (outcome, line(layout, **changes)) for changes, outcome in DIRT if outcome in QUARANTINE_REASONS
        } | {("field_count", text) for text in lines[-3:]}

    def test_a_broken_secondary_number_counts_as_zero(self, engine: Engine, one_file: Path) -> None:
        cases = {
            f"{column}={value}": (column, value)
            for column in MEASURES
            if column != "total_load"
            for value in ("", "x", "nan", "-2", "inf", "1e15", "1_0", "1f")
        }
        one_file.write_text(
            "\n".join(line(SIXTEEN, server_ip=name, **{column: value}) for name, (column, value) in cases.items())
        )

        frame, counts = reduce(engine, [SessionFile(str(one_file), SIXTEEN)])

        rows = {row["server"]: row for row in records(five_minute_load(frame))}
        assert (counts["rows_used"], counts["numbers_imputed"]) == (len(cases), len(cases))
        for name, (broken, _) in cases.items():
            expected = {column: 0.0 if column == broken else float(GOOD[column]) for column in MEASURES}
            assert {column: rows[name][column] for column in MEASURES} == expected, name

    def test_sums_belong_to_the_slot_of_the_start(self, engine: Engine, one_file: Path) -> None:
        starts = ["10:00:00", "10:04:59", "10:05:00", "10:59:59", "11:00:00"]
        one_file.write_text("\n".join(line(SIXTEEN, session_start=f"2016-06-02 {start}") for start in starts))

        frame, _ = reduce(engine, [SessionFile(str(one_file), SIXTEEN)])

        assert [
            (row["hour"].hour, row["slot"], row["sessions"], row["total_load"])
            for row in records(five_minute_load(frame))
        ] == [
            (10, 0, 2, 21.0),
            (10, 1, 1, 10.5),
            (10, 11, 1, 10.5),
            (11, 0, 1, 10.5),
        ]
        assert dict(five_minute_load(frame).collect_schema()) == FIVE_MINUTE_LOAD.columns

    def test_mixed_layouts_gz_and_odd_names(self, engine: Engine, tmp_path: Path) -> None:
        odd = tmp_path / "a b+c%20'd é [x]{y}" / "request.csv"
        odd.parent.mkdir()
        odd.write_text(line(SIXTEEN) + "\nbroken")
        packed = tmp_path / "request.csv.gz"
        packed.write_bytes(gzip.compress((line(SEVENTEEN) + "\r\nbroken\r\n").encode()))

        frame, counts = reduce(engine, [SessionFile(str(odd), SIXTEEN), SessionFile(str(packed), SEVENTEEN)])

        assert (counts["rows_read"], counts["rows_used"]) == (4, 2)
        (row,) = records(five_minute_load(frame))
        assert (row["server"], row["sessions"], row["total_load"]) == ("10.0.0.1", 2, 21.0)
        assert {row["file"] for row in records(quarantine(frame))} == {str(odd), str(packed)}

    def test_parts_together_give_what_one_reading_gives(self, engine: Engine, tmp_path: Path) -> None:
        day = ["2016-06-01 10:07:59", "2016-06-01 10:08:00", "2016-06-02 10:00:00", "soon", "2016-07-01 00:00:00"]
        contents = [
            "\n".join([line(SIXTEEN, session_start=start, total_load=str(load)) for start in day] + ["bad", "bad"])
            for load in (1, 20, 300, 4000)
        ] + [line(SEVENTEEN), ""]
        files = []
        for number, text in enumerate(contents):
            path = tmp_path / f"{number}.csv"
            path.write_text(text)
            files.append(SessionFile(str(path), SEVENTEEN if number == 4 else SIXTEEN))
        frame, counts = reduce(engine, files)
        expected = records(five_minute_load(frame)), records(quarantine(frame))

        window = partial(reduce_sessions, first=FIRST, last=LAST)
        folders, read = [], 0
        for number, some in enumerate((files[:2], files[2:3], files[3:5], files[5:])):
            folders.append(tmp_path / f"part-{number}")
            read += engine.reduce_sessions(some, window, folders[-1])
            for file in some:  # nobody comes back for them
                Path(file.path).rename(f"{file.path}.gone")
        together = engine.read_table(REDUCED, *folders)

        assert account(together, read) == counts
        assert_equal_tables(records(five_minute_load(together, whole=False)), expected[0])
        assert records(quarantine(together)) == expected[1]
        assert counts["rows_used"] == 13
        assert sorted(row["total_load"] for row in expected[0]) == [4321.0, 2 * 4321 + 10.5]

    def test_hours_are_those_of_all_rows_with_a_start(self, engine: Engine, tmp_path: Path) -> None:
        starts = ["2016-05-31 23:59:59", "2016-06-01 10:07:59", "2016-07-01 00:00:00"]
        lines = [line(SIXTEEN, session_start=start) for start in starts]
        bad = [line(SIXTEEN, session_start="2016-01-01 10:00:00", total_load=""), "bad"]
        (tmp_path / "some.csv").write_text("\n".join(lines + bad))
        (tmp_path / "none.csv").write_text("\n".join(bad))
        found = []
        for name, servers in (("some", ()), ("some", ("other",)), ("none", ())):
            frame, _ = reduce(engine, [SessionFile(str(tmp_path / f"{name}.csv"), SIXTEEN)], servers)
            found.append(hours_of(frame))
        span = (datetime(2016, 5, 31, 23), datetime(2016, 7, 1))
        assert found == [span, span, None]

    def test_nothing_is_in_place_where_nobody_can_list_it(self, engine: Engine) -> None:
        url = "abfss://data@nobody.dfs.core.windows.net/2016"
        assert engine.reads_in_place([url, url.replace("abfss", "wasbs")]) == ""
        assert engine.reads_in_place([]) == ""

    def test_equal_bad_lines_are_stored_once_with_their_number(self, engine: Engine, one_file: Path) -> None:
        one_file.write_text("bad\n" * 3 + line(SIXTEEN))
        frame, counts = reduce(engine, [SessionFile(str(one_file), SIXTEEN)])
        assert counts["rows_quarantined"] == 3
        assert records(quarantine(frame)) == [
            {"file": str(one_file), "reason": "field_count", "line": "bad", "rows": 3}
        ]

    def test_other_servers_are_filtered_but_still_checked(self, engine: Engine, one_file: Path) -> None:
        rows = [line(SIXTEEN), line(SIXTEEN, server_ip="10.0.0.2"), line(SIXTEEN, server_ip="10.0.0.2", total_load="x")]
        one_file.write_text("\n".join(rows))
        _, counts = reduce(engine, [SessionFile(str(one_file), SIXTEEN)], servers=("10.0.0.1",))
        assert (counts["rows_used"], counts["rows_filtered"], counts["rows_quarantined"]) == (1, 1, 1)

    def test_a_digest_is_that_of_the_text_in_utf8(self, engine: Engine) -> None:
        texts = ["10.0.0.1", "", "serveur-é", "a 'b' \\", "☂", None]
        frame = engine.with_digest(engine.from_arrow(pa.table({"server": texts})), "server", "digest")
        expected = {text: None if text is None else hashlib.md5(text.encode()).hexdigest() for text in texts}
        assert {row["server"]: row["digest"] for row in records(frame)} == expected

    def test_samples_are_of_whole_servers_and_lie_in_each_other(self, engine: Engine, one_file: Path) -> None:
        servers = [f"10.0.{number}.{number % 7}" for number in range(100)] + ["serveur-é"]
        place = {server: int(hashlib.md5(server.encode()).hexdigest(), 16) / 2**128 for server in servers}
        hours = ("2016-06-01 10:00:00", "2016-06-30 23:00:00")
        lines = [line(SIXTEEN, server_ip=name, session_start=hour) for hour in hours for name in servers]
        broken = [line(SIXTEEN, server_ip=name, total_load="x") for name in servers] + ["broken"]
        one_file.write_text("\n".join(lines + broken))
        for share in (0.1, 0.6):
            frame, counts = reduce(engine, [SessionFile(str(one_file), SIXTEEN)], sample=share)

            wanted = sorted(server for server in servers if place[server] < share)
            assert 0 < len(wanted) < len(servers)
            found = [(row["server"], row["sessions"]) for row in records(five_minute_load(frame))]
            assert sorted(found) == sorted((server, 1) for server in wanted for _ in hours)
            assert counts["rows_filtered"] == 2 * (len(servers) - len(wanted))
            assert counts["rows_quarantined"] == len(broken)

    def test_text_that_is_not_utf8_is_found_in_every_field(self, engine: Engine, one_file: Path) -> None:
        """Cut and overlong sequences, half of a pair, a lone byte; U+FFFD itself is text like any other."""
        broken = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"]
        lines = [
            line(SIXTEEN, **{column: "@"}).encode().replace(b"@", broken[number % len(broken)])
            for number, column in enumerate(SIXTEEN.columns)
        ]
        lines += [line(SIXTEEN, server_ip="@").encode().replace(b"@", b"web" + some) for some in broken]
        odd = "\N{REPLACEMENT CHARACTER}"
        one_file.write_bytes(b"\n".join([*lines, line(SIXTEEN, server_ip=odd, client_ip=odd).encode()]))

        frame, counts = reduce(engine, [SessionFile(str(one_file), SIXTEEN)])

        assert (counts["rows_used"], counts["rows_quarantined_encoding"]) == (1, len(lines))
        assert [row["server"] for row in records(five_minute_load(frame))] == [odd]

    def test_a_line_too_long_is_quarantined(self, engine: Engine, one_file: Path) -> None:
        one_file.write_bytes(b"a" * (3 * LONGEST_LINE_BYTES) + b"\n" + line(SIXTEEN).encode())
        _, counts = reduce(engine, [SessionFile(str(one_file), SIXTEEN)])
        assert (counts["rows_used"], counts["rows_quarantined_line_too_long"]) == (1, 1)

    def test_a_byte_order_mark_is_not_part_of_the_first_line(self, engine: Engine, one_file: Path) -> None:
        one_file.write_text(line(SIXTEEN), encoding="utf-8-sig")
        _, counts = reduce(engine, [SessionFile(str(one_file), SIXTEEN)])
        assert (counts["rows_read"], counts["rows_used"]) == (1, 1)

    @pytest.mark.parametrize("data", [b"", b"\n\r\n\n", b"\xef\xbb\xbf"])
    def test_an_empty_file_has_no_rows(self, engine: Engine, one_file: Path, data: bytes) -> None:
        one_file.write_bytes(data)
        _, counts = reduce(engine, [SessionFile(str(one_file), SIXTEEN)])
        assert set(counts.values()) == {0}

    def test_a_missing_file_is_named(self, engine: Engine, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"gone\.csv"):
            reduce(engine, [SessionFile(str(tmp_path / "gone.csv"), SIXTEEN)])

    def test_tables_come_back_as_they_were_written(self, engine: Engine, tmp_path: Path) -> None:
        hours = [FIRST + timedelta(hours=number) for number in (5, 3, 4)]
        rows: dict[str, list[Any]] = {
            "server": ["b", "a", "b"],
            "hour": hours,
            "peak_slot": [1, 2, 3],
            "sessions": [4, 5, 6],
        }
        rows |= {name: [1.5, None, 2.0**-40] for name in MEASURES}
        table = pa.table(rows).cast(
            pa.schema(
                [
                    ("server", pa.string()),
                    ("hour", pa.timestamp("us")),
                    ("peak_slot", pa.int64()),
                    ("sessions", pa.int64()),
                ]
                + [(name, pa.float64()) for name in MEASURES]
            )
        )
        written = engine.write_table(engine.from_arrow(table), HOURLY_LOAD, tmp_path / "out %20put [a]")
        back = engine.read_table(HOURLY_LOAD, tmp_path / "out %20put [a]")
        assert written == 3
        assert dict(back.collect_schema()) == HOURLY_LOAD.columns
        assert records(back) == sorted(table.to_pylist(), key=lambda row: [str(value) for value in row.values()])

    def test_partitioned_tables_keep_their_types(self, engine: Engine, tmp_path: Path) -> None:
        kinds = {nw.String(): pa.string(), nw.Int64(): pa.int64(), nw.Float64(): pa.float64()}
        schema = pa.schema([(name, kinds.get(dtype, pa.timestamp("us"))) for name, dtype in FEATURES.columns.items()])
        row = {name: 1 for name in FEATURES.columns} | {"server": "a", "hour": FIRST, "year": 2016, "month": 6}
        table = pa.Table.from_pylist([row, {**row, "month": 7, "total_load": None}], schema=schema)
        assert engine.write_table(engine.from_arrow(table), FEATURES, tmp_path / "features") == 2
        back = engine.read_table(FEATURES, tmp_path / "features")
        assert dict(back.collect_schema()) == FEATURES.columns
        assert records(back) == sorted(table.to_pylist(), key=lambda row: [str(value) for value in row.values()])

    def test_reading_what_is_not_there_says_so(self, engine: Engine, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no table 'hourly_load' in .*run the step"):
            engine.read_table(HOURLY_LOAD, tmp_path / "nothing")

    def test_a_missing_column_is_named(self, engine: Engine) -> None:
        frame = engine.from_arrow(pa.table({"server": ["a"]}))
        with pytest.raises(SchemaError, match=r"'hourly_load' lacks the column.* hour, .*found: server"):
            HOURLY_LOAD.select(frame)

    def test_versions_are_named(self, engine: Engine) -> None:
        assert engine.versions()[engine.name][0].isdigit()
