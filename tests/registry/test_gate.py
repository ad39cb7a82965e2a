"""The checks one by one, against scikit-learn and by hand, and what holds for all answers."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from workload_forecast.config import PromotionLimits, Thresholds
from workload_forecast.registry.gate import (
    Agreement,
    Positions,
    Rows,
    check_answers,
    server_accuracies,
    unreadable,
)
from workload_forecast.registry.profiles import Profile, check_version
from workload_forecast.registry.verdict import Check, Verdict
from workload_forecast.schemas import CLASSES, FEATURE_NAMES

AGREES = Agreement(2000, 0, 1e-16)
INPUTS = dict.fromkeys(FEATURE_NAMES, "double")
OUTPUTS = {"prediction": "string", "source": "string"}
ONES = Profile(
    "1", Thresholds(100, 500), datetime(2016, 6, 27), FEATURE_NAMES, CLASSES, 48, INPUTS, OUTPUTS, "configured"
)
TWOS = replace(ONES, version="2")
AGAINST_CHAMPION = {"macro-F1, champion", "recall of high, champion", "servers, champion"}


def versions(candidate: Profile, champion: Profile | None = ONES, **given: Any) -> dict[str, Check]:
    options: dict[str, Any] = {
        "asked": None,
        "trained_before": datetime(2016, 6, 27),
        "data": "configured",
        "limits": PromotionLimits(),
        **given,
    }
    return {check.name: check for check in check_version(candidate, champion, **options)}


def failed(checks: dict[str, Check]) -> list[str]:
    return [name for name, check in checks.items() if check.passed is False]


def answers(
    rows: Rows, candidate: Positions, champion: Positions | str, limits: PromotionLimits | None = None
) -> tuple[dict[str, Check], dict[str, float]]:
    checks, numbers = check_answers(
        rows,
        candidate,
        champion,
        champion_version="1",
        agreement=AGREES,
        limits=limits or PromotionLimits(minimum_rows=1),
    )
    return {check.name: check for check in checks}, numbers


def rows_of(labels: Any, naive: Any = None, servers: Any = None) -> Rows:
    labels = np.asarray(labels, dtype=np.int64)
    naive = np.zeros_like(labels) if naive is None else np.asarray(naive, dtype=np.int64)
    return Rows(labels, np.zeros_like(labels) if servers is None else np.asarray(servers), {"majority": naive})


def test_equal_versions_pass() -> None:
    checks = versions(TWOS)
    assert failed(checks) == []
    assert list(checks) == ["schema", "classes", "unseen hours", "data", "all servers"]
    assert failed(versions(TWOS, None)) == []


@pytest.mark.parametrize(
    ("candidate", "check", "said"),
    [
        (replace(TWOS, features=FEATURE_NAMES[1:]), "schema", f"makes other features ({FEATURE_NAMES[0]})"),
        (replace(TWOS, features=FEATURE_NAMES[::-1]), "schema", "their order"),
        (replace(TWOS, horizon_hours=24), "schema", "the horizon"),
        (replace(TWOS, classes=("low", "high")), "schema", "low, high, not low, medium, high"),
        (replace(TWOS, inputs={**INPUTS, "year": "string"}), "schema", "year is string, was double"),
        (replace(TWOS, outputs={"prediction": "string"}), "schema", "lacks columns of the champion's (source)"),
        (replace(TWOS, outputs={**OUTPUTS, "source": "long"}), "schema", "source is long, was string"),
        (replace(TWOS, thresholds=Thresholds(100, 501)), "classes", "cuts at 100,501, the champion at 100,500"),
        (replace(TWOS, training_to=datetime(2016, 6, 27, 1)), "unseen hours", "use later rows"),
        (replace(TWOS, subset="sample-0.1"), "all servers", "a part of the servers (sample-0.1)"),
    ],
)
def test_what_a_version_says_of_itself_can_refuse_it(candidate: Profile, check: str, said: str) -> None:
    checks = versions(candidate)
    assert failed(checks) == [check]
    assert said in checks[check].explanation


def test_columns_that_the_champions_callers_do_not_send() -> None:
    champion = replace(ONES, inputs={name: "double" for name in FEATURE_NAMES if name != "year"})
    checks = versions(TWOS, champion)
    assert failed(checks) == ["schema"]
    assert "do not send (year)" in checks["schema"].explanation
    assert failed(versions(TWOS, replace(ONES, inputs={}, outputs={}))) == [], "a champion without named columns"


def test_classes_are_those_of_the_settings() -> None:
    assert failed(versions(TWOS, asked=Thresholds(100, 500))) == []
    checks = versions(TWOS, None, asked=Thresholds(700, 3500))
    assert failed(checks) == ["classes"]
    assert "cuts at 100,500, the settings at 700,3500" in checks["classes"].explanation
    other = replace(TWOS, thresholds=Thresholds(1, 2))
    assert failed(versions(other, limits=PromotionLimits(allow_other_classes=True))) == []


def test_a_champion_of_real_data_is_not_replaced_for_synthetic_rows() -> None:
    assert failed(versions(TWOS, data="synthetic")) == ["data"]
    assert failed(versions(TWOS, replace(ONES, data="synthetic"), data="synthetic")) == []
    assert failed(versions(TWOS, None, data="synthetic")) == []


@pytest.mark.parametrize(
    ("agreement", "passed"),
    [
        (Agreement(10, 0, 1e-9), True),
        (Agreement(10, 0, 1.1e-9), False),
        (Agreement(10, 1, 0.0), False),
        (Agreement(0, 0, 0.0), False),
        (Agreement(10, 0, float("nan")), False),
    ],
)
def test_both_forms_must_agree(agreement: Agreement, passed: bool) -> None:
    rows = rows_of([0, 1, 2] * 40)
    checks, _ = check_answers(rows, rows.labels, "", champion_version="", agreement=agreement, limits=PromotionLimits())
    found = next(check for check in checks if check.name == "compiled form")
    assert found.passed is passed
    Verdict("1", "", tuple(checks)).to_json()


def test_too_few_rows_decide_nothing() -> None:
    rows = rows_of([0, 1, 2] * 3)
    checks, _ = answers(rows, rows.labels, "", PromotionLimits(minimum_rows=10))
    assert failed(checks) == ["rows"]
    checks, numbers = answers(rows_of([]), np.zeros(0, dtype=np.int64), "")
    assert (failed(checks), numbers) == (["rows"], {"rows": 0.0})


def test_a_case_by_hand() -> None:
    """Two servers of 24 rows: the candidate errs on 6 rows of the second, the champion on 3 of each."""
    labels = np.array([0, 1, 2] * 16)
    servers = np.repeat(["a", "b"], 24)
    candidate, champion, naive = labels.copy(), labels.copy(), labels.copy()
    candidate[24:42:3] = 1  # six low hours called medium
    champion[[2, 5, 8, 26, 29, 32]] = 0  # six high hours called low
    naive[:24] = 0
    limits = PromotionLimits(minimum_rows=48, server_percentile=0, macro_f1_tolerance=0, server_accuracy_tolerance=0.1)
    checks, numbers = answers(rows_of(labels, naive, servers), candidate, champion, limits)

    assert numbers["candidate_server_accuracy"] == 18 / 24
    assert numbers["champion_server_accuracy"] == 21 / 24
    assert (numbers["candidate_recall_high"], numbers["champion_recall_high"]) == (1.0, 10 / 16)
    assert failed(checks) == ["servers, champion"], "0.75 is more than 0.1 below 0.875"
    assert checks["servers, champion"].limit == pytest.approx(0.775)
    assert checks["macro-F1, naive"].compared_with == "best naive (majority)"
    for name, said in (("candidate", candidate), ("champion", champion)):
        assert numbers[f"{name}_macro_f1"] == pytest.approx(f1_score(labels, said, average="macro"))
    laxer = limits.model_copy(update={"server_accuracy_tolerance": 0.125})
    assert failed(answers(rows_of(labels, naive, servers), candidate, champion, laxer)[0]) == []
    stricter = laxer.model_copy(update={"server_accuracy_floor": 0.76})
    assert failed(answers(rows_of(labels, naive, servers), candidate, champion, stricter)[0]) == ["servers"]


def test_a_gain_must_be_more_than_the_least_one() -> None:
    labels = np.array([0, 1, 2] * 16)
    rows = rows_of(labels, labels)
    assert failed(answers(rows, labels, "")[0]) == ["macro-F1, naive"], "as good as naive is not better"
    some = labels.copy()
    some[:6] = 0
    gain = 1 - f1_score(labels, some, average="macro")
    for least, expected in ((gain - 1e-6, []), (gain + 1e-6, ["macro-F1, naive"])):
        assert (
            failed(answers(rows_of(labels, some), labels, "", PromotionLimits(minimum_rows=1, minimum_gain=least))[0])
            == expected
        )


def test_without_a_champion_its_checks_say_why_they_are_not_applicable() -> None:
    labels = np.array([0, 1, 2] * 16)
    checks, numbers = answers(rows_of(labels), labels, "there is no champion yet")
    assert {name for name, check in checks.items() if check.passed is None} == AGAINST_CHAMPION
    assert {checks[name].explanation for name in AGAINST_CHAMPION} == {"there is no champion yet"}
    assert not [name for name in numbers if name.startswith("champion")]


def test_what_is_unknown_is_not_applicable() -> None:
    labels = np.array([0, 1] * 6)  # nothing is high, and no server has a day of rows
    checks, numbers = answers(rows_of(labels), labels, labels)
    assert checks["recall of high, champion"].passed is None
    assert (checks["servers"].passed, checks["servers, champion"].passed) == (None, None)
    assert "candidate_recall_high" not in numbers
    assert failed(checks) == []


classes = st.integers(0, 2)
three = st.lists(st.tuples(classes, classes, classes, st.sampled_from("abc")), min_size=1, max_size=120)


def split(drawn: list[tuple[int, int, int, str]]) -> tuple[Rows, npt.NDArray[np.int64]]:
    labels, said, naive, servers = (np.array(column) for column in zip(*drawn, strict=True))
    return rows_of(labels, naive, servers), said


@settings(max_examples=60, deadline=None)
@given(three)
def test_a_version_that_answers_as_the_champion_passes_every_comparison_with_it(
    drawn: list[tuple[int, int, int, str]],
) -> None:
    rows, said = split(drawn)
    limits = PromotionLimits(minimum_rows=1, macro_f1_tolerance=0, high_recall_tolerance=0, server_accuracy_tolerance=0)
    checks, _ = answers(rows, said, said.copy(), limits)
    assert [name for name in AGAINST_CHAMPION if checks[name].passed is False] == []


@settings(max_examples=60, deadline=None)
@given(three, st.floats(0, 0.5))
def test_a_version_no_better_than_a_naive_forecast_never_passes(
    drawn: list[tuple[int, int, int, str]], gain: float
) -> None:
    rows, said = split(drawn)
    checks, _ = answers(rows, said, said, PromotionLimits(minimum_rows=1, minimum_gain=gain))
    present = [[i for i in range(3) if i in rows.labels or i in them] for them in (said, rows.baselines["majority"])]
    ours, naive = (
        f1_score(rows.labels, them, average="macro", labels=labels, zero_division=0)
        for them, labels in zip((said, rows.baselines["majority"]), present, strict=True)
    )
    if abs(ours - naive - gain) > 1e-9:
        assert checks["macro-F1, naive"].passed is bool(ours > naive + gain)
    if ours <= naive - 1e-9:
        assert not Verdict("2", "1", tuple(checks.values())).passed


@settings(max_examples=40, deadline=None)
@given(three)
def test_measured_numbers_are_those_of_an_oracle(drawn: list[tuple[int, int, int, str]]) -> None:
    rows, said = split(drawn)
    _, numbers = answers(rows, said, "")
    assert numbers["candidate_accuracy"] == pytest.approx(float(np.mean(rows.labels == said)))
    if 2 in rows.labels:
        expected = recall_score(rows.labels, said, labels=[2], average=None, zero_division=0)[0]
        assert numbers["candidate_recall_high"] == pytest.approx(expected)
    by_server = [[a == b for a, b, _, server in drawn if server == name] for name in sorted({row[3] for row in drawn})]
    assert server_accuracies(rows, said).tolist() == pytest.approx(
        [sum(hits) / len(hits) for hits in by_server if len(hits) >= 24]
    )


def test_a_verdict_as_text_and_json() -> None:
    checks = (
        Check("loads", True, "files | digests"),
        Check("macro-F1, naive", False, "not\nbetter", 0.5, 0.625, "best naive (majority)"),
        Check("servers", None, "no server has 24 labelled rows"),
    )
    verdict = Verdict("7", "3", checks, {"rows": 48.0})
    assert not verdict.passed
    assert verdict.why == "macro-F1, naive: not better"
    lines = verdict.table().splitlines()
    assert len(lines) == 4
    assert [line.index("FAILED") for line in lines if "FAILED" in line] == [lines[0].index("result")]
    assert "| loads | passed |  |  |  | files \\| digests |" in verdict.markdown()
    assert verdict.markdown().startswith("# Version 7 is refused\n")
    content = json.loads(verdict.to_json())
    assert [check["passed"] for check in content["checks"]] == [True, False, None]
    assert (content["passed"], content["numbers"]) == (False, {"rows": 48.0})
    assert Verdict("7", "", (checks[0], checks[2])).why == "all 1 checks passed, no champion before it"
    assert not Verdict("7", "", ()).passed, "nothing asked is nothing passed"
    assert not unreadable("7", "3", "its files are gone").passed
