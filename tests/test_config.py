from __future__ import annotations

import json
import math
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from workload_forecast.check_limits import CheckLimits, Limit
from workload_forecast.config import (
    EVERY_SERVER,
    ClassCosts,
    ClassWeights,
    PromotionLimits,
    Selection,
    Settings,
    Thresholds,
    load_settings,
    parse_thresholds,
)
from workload_forecast.errors import SettingsError
from workload_forecast.monitoring_limits import Levels, MonitoringLimits

CUSTOM = {
    "duration": "CUSTOM",
    "dataFile": "sessions/*.csv",
    "trainingFrom": "2020-01-06 00:00:00",
    "testFrom": "2020-02-11 00:00:00",
    "to": "2020-02-19 23:59:59",
}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_settings(**fields: Any) -> Path:
        path = tmp_path / "settings.json"
        path.write_text(json.dumps(fields))
        return path

    return write_settings


@pytest.mark.parametrize(
    ("duration", "first", "test", "thresholds", "container"),
    [
        ("ONE_MONTH", datetime(2016, 6, 1), datetime(2016, 6, 29), (100, 500), "onemonthmodel"),
        ("FULL", datetime(2009, 1, 1), datetime(2016, 6, 1), (700, 3500), "fullmodel"),
    ],
)
def test_the_packaged_profiles_are_those_of_the_requirements(
    duration: str, first: datetime, test: datetime, thresholds: tuple[int, int], container: str
) -> None:
    settings = load_settings(duration)
    assert (settings.training_from, settings.test_from) == (first, test)
    assert settings.to == datetime(2016, 6, 30, 23, 59, 59)
    assert settings.thresholds == Thresholds(low=thresholds[0], high=thresholds[1])
    assert settings.storage_container == container
    assert settings.synthetic


def test_one_month_is_the_default() -> None:
    assert load_settings() == load_settings("ONE_MONTH") == load_settings("", "")


def test_a_custom_file_stands_alone(write: Any, tmp_path: Path) -> None:
    settings = load_settings(None, write(**{name: value for name, value in CUSTOM.items() if name != "duration"}))
    assert settings.duration == "CUSTOM"
    assert settings.thresholds == "auto"
    assert settings.missing_hours == "unknown"
    assert settings.data_file == str(tmp_path / "sessions" / "*.csv"), (
        "relative to the settings file, not to the caller"
    )


def test_a_file_for_one_month_may_only_add_what_the_duration_leaves_open(write: Any) -> None:
    settings = load_settings("ONE_MONTH", write(duration="ONE_MONTH", dataFile="/data/*.csv", storageAccount="mine"))
    assert (settings.data_file, settings.storage_account) == ("/data/*.csv", "mine")
    assert settings.thresholds == load_settings("ONE_MONTH").thresholds


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**CUSTOM, "dataFiel": "x"}, r"dataFiel: is not a known field\. Fields: duration, .*dataFile"),
        ({**CUSTOM, "thresholds": {"low": 5, "high": 5}}, "thresholds low=5.0, high=5.0 .*0 <= low < high"),
        ({**CUSTOM, "thresholds": {"low": 5}}, "thresholds.high: Field required"),
        ({**CUSTOM, "thresholds": "terciles"}, "thresholds"),
        ({**CUSTOM, "testFrom": "2020-01-01 00:00:00"}, "trainingFrom < testFrom <= to"),
        ({**CUSTOM, "testFrom": "2020-02-11 00:30:00"}, "testFrom: .*full hour"),
        ({**CUSTOM, "to": "2020-02-19T00:00:00+01:00"}, "to: .*without a zone"),
        ({**CUSTOM, "to": "yesterday"}, "to: .*valid datetime"),
        ({**CUSTOM, "layout": "sessions18"}, "layout: .*'auto', 'sessions16' or 'sessions17'"),
        ({"duration": "CUSTOM", "dataFile": "x"}, "CUSTOM also needs trainingFrom, testFrom, to"),
        ({"duration": "ONE_MONTH", "to": "2017-01-01 00:00:00"}, "to is fixed by duration ONE_MONTH"),
        ({"duration": "FULL", "thresholds": "auto"}, "thresholds is fixed by duration FULL"),
        ({"duration": "WEEK"}, "duration 'WEEK' is not one of ONE_MONTH, FULL, CUSTOM"),
        ({**CUSTOM, "promotion": {"minGain": 0.1}}, r"promotion\.minGain: is not a known field"),
        ({**CUSTOM, "promotion": {"macroF1Tolerance": 1}}, r"promotion\.macroF1Tolerance: .*less than 1"),
        (
            {**CUSTOM, "promotion": {"serverPercentile": 101}},
            r"promotion\.serverPercentile: .*less than or equal to 100",
        ),
        (
            {**CUSTOM, "monitoring": {"classDrift": {"warn": 0.2, "alarm": 0.1}}},
            r"monitoring\.classDrift: .*warn=0\.2 must not be above alarm=0\.1",
        ),
        ({**CUSTOM, "monitoring": {"onAlarm": "mail"}}, r"monitoring\.onAlarm: .*'none', 'retrain' or 'rollback'"),
        ({**CUSTOM, "promotion": {"minimumRows": 0}}, r"promotion\.minimumRows: "),
        ({**CUSTOM, "promotion": {"minimumGain": float("nan")}}, r"promotion\.minimumGain: "),
        ({**CUSTOM, "checks": {"levels": 1}}, r"checks\.levels: is not a known field"),
        ({**CUSTOM, "checks": {"levelDrift": {"warm": 1}}}, r"checks\.levelDrift\.warm: "),
        ({**CUSTOM, "checks": {"levelDrift": {"warn": 2, "refuse": 1}}}, r"checks\.levelDrift: .*0 <= warn <= refuse"),
        ({**CUSTOM, "checks": {"missingFields": {"warn": 0.6}}}, r"checks\.missingFields: .*warn=0.6, refuse=0.5"),
        ({**CUSTOM, "checks": {"gapHours": 0}}, r"checks\.gapHours: "),
        ({**CUSTOM, "checks": {"shiftSpreads": 0}}, r"checks\.shiftSpreads: "),
        ({**CUSTOM, "storageKey": "c2VjcmV0"}, "take 'storageKey' out"),
        ({**CUSTOM, "sasToken": "c2VjcmV0"}, "take 'sasToken' out"),
    ],
)
def test_a_wrong_field_is_named(write: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(None, write(**fields))
    assert "c2VjcmV0" not in str(caught.value), "a secret is not repeated"
    assert "\n" not in str(caught.value), "one line"


def test_limits_of_promotion_may_go_with_any_duration(write: Any) -> None:
    settings = load_settings("ONE_MONTH", write(duration="ONE_MONTH", promotion={"macroF1Tolerance": 0.03}))
    assert settings.promotion == PromotionLimits(macro_f1_tolerance=0.03)
    assert load_settings().promotion == PromotionLimits()


def test_weights_of_classes_may_go_with_any_duration(write: Any) -> None:
    given = {"balance": True, "costs": {"high": 4}}
    settings = load_settings("ONE_MONTH", write(duration="ONE_MONTH", classWeights=given))
    assert settings.class_weights == ClassWeights(balance=True, costs=ClassCosts(low=1, medium=1, high=4))
    assert load_settings().class_weights == ClassWeights()
    with pytest.raises(SettingsError, match=r"classWeights\.costs\.high: .*greater than 0"):
        load_settings("ONE_MONTH", write(duration="ONE_MONTH", classWeights={"costs": {"high": 0}}))


def test_limits_of_data_checks_change_what_they_name(write: Any) -> None:
    given = {"missingFields": {"refuse": None}, "levelDrift": {"warn": 0.3, "refuse": 2}, "gapHours": 24}

    checks = load_settings("FULL", write(duration="FULL", checks=given)).checks

    assert checks == CheckLimits(missing_fields=Limit(0.01, math.inf), level_drift=Limit(0.3, 2), gap_hours=24)
    assert load_settings().checks == CheckLimits()
    assert checks.model_dump(mode="json", by_alias=True, exclude_defaults=True).keys() == given.keys()


def test_limits_of_data_checks_are_documented_with_their_defaults() -> None:
    text = (Path(__file__).parents[1] / "docs" / "forecast-quality.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+ \| \S+) \|", text, re.MULTILINE))

    def shown(value: Any) -> str:
        if not isinstance(value, Limit):
            return f"{value:g} | –"
        return f"{value.warn:g} | {'never' if math.isinf(value.refuse) else f'{value.refuse:g}'}"

    fields = {field.alias: field.default for field in CheckLimits.model_fields.values()}
    assert rows == {name: shown(default) for name, default in fields.items()}


def test_limits_are_documented_with_their_defaults() -> None:
    text = (Path(__file__).parents[1] / "docs" / "promotion.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", text, re.MULTILINE))
    defaults = PromotionLimits().model_dump(by_alias=True)
    assert rows == {name: json.dumps(value) for name, value in defaults.items()}


def test_limits_of_monitoring_are_documented_with_their_defaults() -> None:
    text = (Path(__file__).parents[1] / "docs" / "monitoring.md").read_text()
    limits = text.partition("| field of `monitoring`")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", limits, re.MULTILINE))

    def shown(value: Any) -> str:
        levels = [value.warn, value.alarm] if isinstance(value, Levels) else [value]
        return "; ".join(f"{one:g}" if isinstance(one, float) else json.dumps(one) for one in levels)

    fields = {field.alias: field.default for field in MonitoringLimits.model_fields.values()}
    assert rows == {name: shown(default) for name, default in fields.items()}


def test_a_duration_that_contradicts_the_file_is_an_error(write: Any) -> None:
    with pytest.raises(SettingsError, match="is for duration CUSTOM, but duration=FULL was asked for"):
        load_settings("FULL", write(**CUSTOM))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "line 1: not valid JSON"), ("[]", "must be a JSON object"), ("\udcff", "cannot be read")],
)
def test_a_file_that_is_no_settings_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=message):
        load_settings(None, path)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"does not exist \(looked from"):
        load_settings(None, tmp_path / "none.json")


def test_custom_needs_a_file() -> None:
    with pytest.raises(SettingsError, match="CUSTOM needs a settings file"):
        load_settings("CUSTOM")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().duration = "FULL"


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "5,1", "a,b", "-1,2", "nan,1", "1,inf", "Auto"])
def test_wrong_thresholds(text: str) -> None:
    with pytest.raises(SettingsError, match="must be auto or two numbers LOW,HIGH"):
        parse_thresholds(text)


def test_right_thresholds() -> None:
    assert parse_thresholds("auto") == "auto"
    assert parse_thresholds("100, 500.5") == Thresholds(low=100, high=500.5)


def test_every_field_has_a_camel_case_name() -> None:
    assert {"storageAccount", "storageContainer", "dataFile", "duration"} <= {
        field.alias for field in Settings.model_fields.values()
    } | {"duration"}


def test_which_servers_a_run_takes_has_a_name_for_its_results() -> None:
    taken = (EVERY_SERVER, Selection("FILTER_IP"), Selection(sample=0.1), Selection(sample=0.25), Selection("FALSE", 1))
    assert [(one.subset, one.share) for one in taken] == [
        ("", "1"),
        ("debug", "1"),
        ("sample-0.1", "0.1"),
        ("sample-0.25", "0.25"),
        ("", "1"),
    ]


@pytest.mark.parametrize("sample", [0, -0.1, 1.01, math.nan, math.inf])
def test_a_sample_is_a_share(sample: float) -> None:
    with pytest.raises(SettingsError, match="give a number with 0 < sample <= 1"):
        Selection(sample=sample)
    with pytest.raises(SettingsError, match="debug=FILTER_IP takes a few servers already"):
        Selection("FILTER_IP", 0.5)
