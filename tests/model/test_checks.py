from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workload_forecast.check_limits import CheckLimits, Limit
from workload_forecast.model.checks import (
    MISSING_FIELDS,
    NOT_A_SESSION,
    OUT_OF_RANGE,
    DataCheck,
    DataReport,
    check_data,
    median_shifts,
)
from workload_forecast.model.load_summary import LoadSummary
from workload_forecast.sessions.cleaning import QUARANTINE_REASONS

COUNTS = {
    "rows_read": 1000,
    "rows_used": 1000,
    "rows_quarantined": 0,
    **{f"rows_quarantined_{reason}": 0 for reason in QUARANTINE_REASONS},
    "numbers_imputed": 0,
}


def server(name: str, **changed: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"server": name, "spread": 2.0, "longest_gap": 0}
    for period, hours in (("train", 300), ("test", 90)):
        row |= {f"{period}_hours": hours, f"{period}_known": hours, f"{period}_median": 10.0}
        row |= {f"{period}_{label}": hours // 3 for label in ("low", "medium", "high")}
    return row | changed


def summary(*servers: dict[str, Any], **changed: Any) -> LoadSummary:
    good: dict[str, Any] = {
        "servers": pd.DataFrame(servers or [server("a"), server("b"), server("c"), server("d")]),
        "levels": pd.DataFrame({"train": [100] * 9, "test": [30] * 9}),
        "duplicates": pd.DataFrame({"server": [], "same_as": []}, dtype=object),
        "hours": 438,
        "hours_with_data": 438,
    }
    return LoadSummary(**good | changed)


def check_of(report: DataReport, name: str) -> DataCheck:
    (found,) = [check for check in report.checks if check.name == name]
    return found


def test_good_data_passes_every_check() -> None:
    report = check_data(summary(), COUNTS)
    assert report.verdict == "ok"
    assert [check.name for check in report.checks if check.verdict != "ok"] == []
    names = {check.name for check in report.checks}
    assert names == set(CheckLimits.model_fields) - {"gap_hours", "shift_spreads"}
    table = report.table()
    assert len(table) == len(names)
    assert list(table.columns) == ["name", "verdict", "value", "warn_above", "refuse_above", "reason"]


@pytest.mark.parametrize(
    ("counts", "name", "value", "verdict", "reason"),
    [
        (
            {"start_missing": 5, "load_missing": 4, "server_missing": 2},
            "missing_fields",
            11 / 1011,
            "warn",
            "11 of 1,011",
        ),
        ({"load_missing": 10}, "missing_fields", 10 / 1010, "ok", "no start, no load"),
        (
            {"field_count": 600, "encoding": 600},
            "unparsable",
            1200 / 2200,
            "refuse",
            "cannot be parsed: look at the quar",
        ),
        ({"start_unparsable": 20}, "unparsable", 20 / 1020, "warn", "20 of 1,020 rows"),
        ({"header": 5000}, "unparsable", 0, "ok", "0 of 1,000"),  # one a file, and no session
        ({"load_negative": 30, "load_infinite": 20}, "out_of_range", 50 / 1050, "warn", "negative or infinite"),
        ({"a_reason_of_tomorrow": 100}, "unparsable", 100 / 1100, "warn", "100 of 1,100"),
    ],
)
def test_quarantined_rows_are_weighed(
    counts: dict[str, int], name: str, value: float, verdict: str, reason: str
) -> None:
    given = COUNTS | {f"rows_quarantined_{why}": number for why, number in counts.items()}
    given["rows_quarantined"] = sum(counts.values())
    report = check_data(summary(), given)
    found = check_of(report, name)
    assert found.value == pytest.approx(value)
    assert found.verdict == verdict
    assert reason in found.reason
    assert report.verdict == verdict


def test_broken_lines_are_those_of_all_servers_and_so_are_the_rows() -> None:
    of_a_tenth = COUNTS | {"rows_used": 100, "rows_filtered": 900, "rows_quarantined_load_missing": 10}
    found = check_of(check_data(summary(), of_a_tenth), "missing_fields")
    assert found.value == pytest.approx(10 / 1010)
    assert found.verdict == "ok"


def test_every_reason_for_quarantine_is_known() -> None:
    assert {*NOT_A_SESSION, *MISSING_FIELDS, *OUT_OF_RANGE} < set(QUARANTINE_REASONS)


def test_imputed_numbers_are_a_share_of_the_secondary_ones() -> None:
    found = check_of(check_data(summary(), COUNTS | {"numbers_imputed": 480}), "imputed_numbers")
    assert found.value == pytest.approx(480 / 8000)  # eight a session
    assert found.verdict == "warn"


def test_nothing_used_is_not_called_good() -> None:
    found = check_of(check_data(summary(), COUNTS | {"rows_used": 0}), "missing_fields")
    assert found.verdict == "warn"
    assert math.isnan(found.value)
    assert "could not be computed" in found.reason


@pytest.mark.parametrize(
    ("changed", "name", "value", "verdict", "reason"),
    [
        (
            {"train_known": 30},
            "unknown_hours_train",
            270 / 600,
            "warn",
            "270 of 600 hours .* train period .*missingHours",
        ),
        ({"test_known": 0}, "unknown_hours_test", 0.5, "warn", "90 of 180 hours"),
        ({"longest_gap": 73}, "servers_with_long_gaps", 0.5, "warn", "1 of 2 servers .* 72 hours, the longest 73: "),
        ({"longest_gap": 72}, "servers_with_long_gaps", 0, "ok", "the longest 72"),
        ({"train_high": 9000}, "largest_class_train", 9100 / 9500, "warn", "high 95.8%: choose thresholds"),
        ({"test_low": 0}, "class_drift", abs(1 / 3 - 30 / 150), "warn", "13.3% of the rows would"),
        ({"test_median": 13.0}, "shifted_servers", 0.5, "warn", "1 of 2 servers' .* more than 1 spreads"),
        ({"test_median": 12.0}, "shifted_servers", 0, "ok", "0 of 2"),
        ({"train_known": 0}, "unseen_servers", 0.5, "warn", "1 of 2 servers of the test period"),
    ],
)
def test_one_odd_server_of_two(changed: dict[str, Any], name: str, value: float, verdict: str, reason: str) -> None:
    import re

    found = check_of(check_data(summary(server("a"), server("b", **changed)), COUNTS), name)
    assert found.value == pytest.approx(value)
    assert found.verdict == verdict
    assert re.search(reason, found.reason), found.reason


def test_classes_that_are_absent() -> None:
    none = {f"{period}_{label}": 0 for period in ("train", "test") for label in ("low", "medium")}
    report = check_data(summary(server("a", **none)), COUNTS)
    assert (check_of(report, "absent_classes_train").value, check_of(report, "absent_classes_train").verdict) == (
        2,
        "refuse",
    )
    assert check_of(report, "absent_classes_test").verdict == "warn"
    assert check_of(report, "largest_class_train").verdict == "refuse"
    one = check_data(summary(server("a", train_low=0)), COUNTS)
    assert check_of(one, "absent_classes_train").verdict == "warn"


def test_drift_of_levels() -> None:
    moved = pd.DataFrame({"train": [100] * 9, "test": [0] * 6 + [90] * 3})
    found = check_of(check_data(summary(levels=moved), COUNTS), "level_drift")
    p, q = np.full(9, 100.5) / 904.5, np.array([0.5] * 6 + [90.5] * 3) / 274.5
    assert found.value == pytest.approx(sum((q - p) * np.log(q / p)))
    assert found.verdict == "warn"
    servers = [server(str(i), test_median=10.0 + 2.5 * i) for i in range(5)]
    report = check_data(summary(*servers), COUNTS)
    assert (check_of(report, "fleet_shift").value, check_of(report, "fleet_shift").verdict) == (2.5, "warn")
    assert check_of(report, "shifted_servers").value == 0.8


def test_shifts_of_loads_that_never_changed() -> None:
    table = pd.DataFrame(
        [
            server("same", spread=0.0),
            server("up", spread=0.0, test_median=11.0),
            server("down", spread=0.0, test_median=9.0),
            server("usual", test_median=9.0),
            server("new", train_known=0, train_median=math.nan, spread=math.nan),
            server("gone", test_known=0, test_median=math.nan),
        ]
    )
    assert median_shifts(table).tolist() == [0, math.inf, -math.inf, -0.5]
    report = check_data(summary(*table.iloc[1:3].to_dict("records")), COUNTS)  # type: ignore[arg-type]
    assert check_of(report, "fleet_shift").value == math.inf
    assert check_of(report, "shifted_servers").value == 1  # one up, one down


def test_files_that_are_missing() -> None:
    found = check_of(check_data(summary(hours_with_data=400), COUNTS), "hours_without_data")
    assert found.value == pytest.approx(38 / 438)
    assert found.verdict == "warn"
    assert "in 38 of 438 hours no server has a load: files are missing" in found.reason


def test_duplicates_are_named() -> None:
    copies = pd.DataFrame({"server": ["b", "c", "d"], "same_as": ["a"] * 3})
    found = check_of(check_data(summary(duplicates=copies), COUNTS), "duplicate_servers")
    assert found.value == 0.75
    assert found.verdict == "refuse"
    assert "3 of 4 servers have the loads of another one, like b = a, c = a, d = a: they count twice" in found.reason


def test_no_servers_at_all_are_refused() -> None:
    report = check_data(summary(servers=pd.DataFrame([server("a")]).iloc[:0], hours_with_data=0), COUNTS)
    assert check_of(report, "unknown_hours_train").verdict == "refuse"
    assert check_of(report, "hours_without_data").verdict == "warn"
    assert check_of(report, "class_drift").verdict == "warn"
    assert report.verdict == "refuse"
    assert any(reason.startswith("unknown_hours_train: ") for reason in report.reasons("refuse"))


def test_limits_can_be_set() -> None:
    strict = CheckLimits(class_drift=Limit(0.0, 0.01), gap_hours=5)
    report = check_data(summary(server("a", test_low=0, longest_gap=6)), COUNTS, strict)
    assert check_of(report, "class_drift").verdict == "refuse"
    assert check_of(report, "servers_with_long_gaps").value == 1
    assert (check_of(report, "class_drift").warn_above, check_of(report, "class_drift").refuse_above) == (0.0, 0.01)


@pytest.mark.parametrize(("warn", "refuse"), [(-0.1, 1), (0.5, 0.4), (math.nan, 1)])
def test_limits_out_of_order_are_refused(warn: float, refuse: float) -> None:
    with pytest.raises(ValueError, match="0 <= warn <= refuse"):
        Limit(warn, refuse)
