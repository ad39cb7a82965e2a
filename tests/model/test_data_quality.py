"""The page about the data, read back: its numbers are those that went in, summed up here once more."""

from __future__ import annotations

import re
from datetime import datetime

import pandas as pd
import pytest

from tests.model.test_checks import COUNTS, server, summary
from workload_forecast.check_limits import CheckLimits, Limit
from workload_forecast.config import Thresholds
from workload_forecast.model.checks import check_data
from workload_forecast.model.data_quality import data_quality
from workload_forecast.model.load_summary import LoadSummary
from workload_forecast.model.split import TimeSplit

SPLIT = TimeSplit(datetime(2016, 6, 1), datetime(2016, 6, 18), datetime(2016, 6, 20, 23, 59, 59))


def page_of(
    given: LoadSummary | None = None, counts: dict[str, int] | None = None, limits: CheckLimits | None = None
) -> str:
    loads, numbers = given or summary(), COUNTS | (counts or {})
    return data_quality(check_data(loads, numbers, limits), loads, numbers, SPLIT, Thresholds(100, 500))


def rows_of(page: str, heading: str) -> dict[str, list[str]]:
    """The cells of the first table below a heading, by the first cell of each row."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {first: rest for first, *rest in cells}


def number(text: str) -> int:
    return int(text.split(maxsplit=1)[0].replace(",", ""))


def test_the_rows_that_were_read_are_all_there() -> None:
    bad = {"rows_quarantined_load_missing": 7, "rows_quarantined_header": 12}
    given = {**bad, "rows_read": 12_000, "rows_used": 11_950, "rows_outside_window": 30, "rows_filtered": 1}
    page = page_of(counts={**given, "rows_quarantined": 19, "numbers_imputed": 4321})
    rows = rows_of(page, "Rows of the sessions")
    counted = {name: number(cells[0]) for name, cells in rows.items()}
    assert counted.pop("**read**") == sum(counted.values()) == 12_000
    assert counted["quarantined: load_missing"] == 7
    assert [name for name in counted if name.startswith("quarantined")] == [
        "quarantined: header",
        "quarantined: load_missing",
    ], "the most frequent first, and only what was found"
    assert rows["used"][1] == f"{11_950 / 12_000:.2%}"
    assert "server_missing" in re.findall(r"Looked for and not found: (.*)\.", page)[0].split(", ")
    assert "4,321" in page


def test_both_periods_are_told_with_their_classes() -> None:
    loads = summary(
        server("a", test_known=60, test_low=30, test_medium=30, test_high=0, test_median=30.0),
        server("b", test_known=0, test_low=0, test_medium=0, test_high=0, test_median=float("nan")),
        server("c", train_known=0, train_low=0, train_medium=0, train_high=0, train_median=float("nan")),
    )
    page = page_of(loads)
    rows = rows_of(page, "Training and test period")
    assert rows["from (UTC)"] == ["2016-06-01 00:00:00", "2016-06-18 00:00:00"]
    assert rows["to (UTC)"] == ["before 2016-06-16 00:00:00", "2016-06-20 23:59:59"]
    assert rows["servers with a load"] == ["2", "2"]
    assert rows["hours of the servers"] == ["900", "270"]
    assert rows["of these with a load"] == ["600 (66.67%)", "150 (55.56%)"]
    assert [rows[f"class {name}"][1] for name in ("low", "medium", "high")] == [
        "60 (40.00%)",
        "60 (40.00%)",
        "30 (20.00%)",
    ]
    assert rows["level: the servers' middle median load"] == ["10", "20"]
    assert "1 servers are new in the test period, 1 are not seen in it any more" in page
    assert "low: load ≤ 100; high: > 500" in page


def test_gaps_and_copies_are_named_and_no_name_breaks_the_page() -> None:
    odd = "a|<b>"
    loads = summary(
        server(odd, longest_gap=1500),
        server("c", longest_gap=3),
        server("d"),
        duplicates=pd.DataFrame({"server": ["d"], "same_as": [odd]}),
        hours_with_data=430,
    )
    page = page_of(loads)
    assert "8 of 438 hours have no load of any server" in page
    assert (
        "2 of 3 servers have hours without a load between two with one; the longest gaps: a\\|&lt;b> (1,500 h), c (3 h)"
        in page
    )
    assert "1 servers have the loads of another one: d = a\\|&lt;b>." in page
    assert "<b>" not in page
    assert {len(cells) for cells in rows_of(page, "Every check").values()} == {5}


@pytest.mark.parametrize(
    ("refuse", "said"),
    [
        (0.1, "# Data quality: refuse\n\n**Refused**"),
        (1.0, "# Data quality: warn\n\n**Fit to train on, with warnings**"),
    ],
)
def test_the_verdict_and_its_reasons_come_first(refuse: float, said: str) -> None:
    loads = summary(duplicates=pd.DataFrame({"server": ["b"], "same_as": ["a"]}))
    limits = CheckLimits(duplicate_servers=Limit(0, refuse))
    page, report = page_of(loads, limits=limits), check_data(loads, COUNTS, limits)
    assert page.startswith(said)
    assert "\n- duplicate_servers: 1 of 4 servers have the loads of another one, like b = a" in page.split("## ")[0]
    rows = rows_of(page, "Every check")
    assert len(rows) == len(report.checks)
    for check in report.checks:
        verdict, value, warn, refused, _ = rows[f"`{check.name}`"]
        assert verdict.strip("*") == check.verdict
        assert float(value) == pytest.approx(check.value, rel=1e-3)
        assert float(warn) == check.warn_above
        assert refused == "never" if check.refuse_above == float("inf") else float(refused) == check.refuse_above


def test_good_data_is_said_to_be_good() -> None:
    page = page_of()
    assert page.startswith("# Data quality: ok\n\n**Fit to train on**: every check is passed.\n\n## Rows")
    assert "; the longest gaps" not in page
