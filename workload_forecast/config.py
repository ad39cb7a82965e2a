"""Settings: what to read, which dates, which classes. Frozen, checked on construction, the one source of defaults.

A settings file is JSON with the field names of the requirements (``storageAccount``, ``storageContainer``,
``dataFile``, ``duration``) and, for ``CUSTOM`` runs, dates, thresholds and layout of its own. Keys and passwords
never stand in it: credentials come from the environment or from the Azure identity of the machine.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from workload_forecast.check_limits import CheckLimits
from workload_forecast.errors import SettingsError
from workload_forecast.monitoring_limits import MonitoringLimits, OnAlarm
from workload_forecast.plan_limits import PlanLimits
from workload_forecast.source_limits import SourceLimits

Duration = Literal["ONE_MONTH", "FULL", "CUSTOM"]
DURATIONS: tuple[Duration, ...] = ("ONE_MONTH", "FULL", "CUSTOM")
ENGINES = ("auto", "duckdb", "spark")
DEBUG = ("FALSE", "FILTER_IP")
#: What ``download-model`` fetches.
RESULTS = ("model", "features", "hourly_load", "quarantine", "etl", "train")

#: Defaults of the entry points. The algorithm is what backtests on real servers say (docs/forecast-quality.md); the
#: requirements' random forest of 100 trees of depth 8 is what there is to tune.
DEFAULT_DURATION: Duration = "ONE_MONTH"
DEFAULT_ALGORITHM = "same_hour_mixture"
DEFAULT_TUNED_ALGORITHM = "random_forest"
DEFAULT_SEED = 42

#: Folds before the test period, for backtest and tuning: these fit the shortest profile, a month less two days and
#: the gap, and their nine judged days hold every weekday.
DEFAULT_FOLDS = 3
DEFAULT_FOLD_TEST_HOURS = 72
DEFAULT_FOLD_TRAINING_HOURS = 336

#: Which rows a backtest judges: those that are forecast 48 hours ahead, or of every lead up to that.
HORIZON_ONLY, EVERY_LEAD = "48", "all"
LEADS = (HORIZON_ONLY, EVERY_LEAD)

#: Name in the model registry.
DEFAULT_MODEL = "workload-forecast"

#: What an alarm of the monitoring may bring about.
ON_ALARM: tuple[OnAlarm, ...] = get_args(OnAlarm)

#: How ``tune`` chooses what to try next; ``random`` is the control.
STRATEGIES = ("tpe", "random")
DEFAULT_MAX_EVALS = 20
DEFAULT_PATIENCE = 10
DEFAULT_MINIMUM_GAIN = 0.001

ALGORITHMS = (
    "random_forest",
    "decision_tree",
    "same_hour_mixture",
    "boosted_correction",
    "boosted_trees",
    "logistic_regression",
    "xgboost",
)

_FIXED_BY_DURATION = ("training_from", "test_from", "to", "thresholds")
_REQUIRED_FOR_CUSTOM = ("data_file", "training_from", "test_from", "to")
#: What only a credential has in it: a shared access signature, an account's key, a password in a URL.
SECRET_IN_TEXT = re.compile(
    r"[?&;](?:sig|se|sv|sp|st|spr|sr|ss|srt|skoid)=|(?:accountkey|sharedaccesssignature)=", re.IGNORECASE
)
PASSWORD_IN_URL = re.compile(r"://[^/@]*:[^/@]*@")
_SECRET_WORDS = ("key", "secret", "password", "token", "sas", "connectionstring")


@dataclass(frozen=True)
class Thresholds:
    """Where the load classes meet: low ≤ ``low`` < medium ≤ ``high`` < high.

    The unit is that of the source's total load, summed over a five-minute slot (requirements: *durations*).

    Raises:
        SettingsError: not ``0 <= low < high``, or not finite.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and 0 <= self.low < self.high):
            raise SettingsError(
                f"thresholds low={self.low}, high={self.high} do not make three load classes: "
                "give two numbers with 0 <= low < high, or 'auto'."
            )


@dataclass(frozen=True)
class TrainingParameters:
    """What the training is asked for; the command line has checked the ranges. None: as the algorithm has it."""

    algorithm: str = DEFAULT_ALGORITHM
    num_trees: int | None = None
    max_depth: int | None = None
    seed: int = DEFAULT_SEED
    #: Parameters beside or in place of those above, as tuning found them.
    tuned: Mapping[str, int | float | str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, int | float | str]:
        """The algorithm's parameters by name."""
        asked = {"num_trees": self.num_trees, "max_depth": self.max_depth}
        given = {name: value for name, value in asked.items() if value is not None}
        return {**given, "seed": self.seed, **self.tuned}


@dataclass(frozen=True)
class Selection:
    """Which servers a run takes, each with its whole series: all, a few (``debug``), or a share (``sample``) of them.

    Raises:
        SettingsError: not ``0 < sample <= 1``, or a share of a few is asked for.
    """

    debug: str = "FALSE"
    sample: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            raise SettingsError(f"sample={self.sample} is no share of the servers: give a number with 0 < sample <= 1.")
        if self.debug != "FALSE" and self.sample < 1:
            raise SettingsError(
                f"debug={self.debug} takes a few servers already: leave it out, or sample={self.share}."
            )

    @property
    def share(self) -> str:
        """The sample as it is written in parameters and names: ``1`` for all servers."""
        return str(self.sample).removesuffix(".0")

    @property
    def subset(self) -> str:
        """What results of a part of the servers are called, and kept apart by; empty for those of all servers."""
        if self.debug != "FALSE":
            return "debug"
        return f"sample-{self.share}" if self.sample < 1 else ""


EVERY_SERVER = Selection()


class PromotionLimits(BaseModel):
    """What a version must reach to be promoted. A tolerance is what may be lost against the champion, of 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    minimum_rows: int = Field(default=100, ge=1, description="Labelled test rows, below which nothing is decided.")
    minimum_gain: float = Field(default=0.0, ge=0, lt=1, description="Macro-F1 above the best naive forecast: more.")
    macro_f1_tolerance: float = Field(default=0.01, ge=0, lt=1, description="Macro-F1 below the champion's: no more.")
    high_recall_tolerance: float = Field(default=0.02, ge=0, lt=1, description="The same for the recall of high.")
    server_percentile: float = Field(default=10.0, ge=0, le=100, description="Which of the servers' accuracies counts.")
    server_accuracy_floor: float = Field(default=0.34, ge=0, le=1, description="Least accuracy of it: above guessing.")
    server_accuracy_tolerance: float = Field(default=0.05, ge=0, lt=1, description="The same below the champion's.")
    allow_other_classes: bool = Field(
        default=False, description="Whether the classes may mean other loads than the champion's: not compared then."
    )


class ClassCosts(BaseModel):
    """What it costs to miss an hour of each class, relative to the others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    medium: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    high: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class ClassWeights(BaseModel):
    """How much the classes count in training, and in the choice of a class from its probabilities."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    balance: bool = Field(default=False, description="Whether rare classes count as much as frequent ones.")
    costs: ClassCosts = ClassCosts()
    macro_f1: bool = Field(
        default=True, description="Whether classes are named for the greatest expected macro-F1, or the most probable."
    )


class Settings(BaseModel):
    """One profile: data, window, split and classes. Build it with :func:`load_settings`."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    duration: Duration
    storage_account: str = Field(default="", description="Azure storage account of az:// forms and of the results.")
    storage_container: str = Field(default="", description="Its private container, where results are published.")
    data_file: str = Field(default="", description="Glob of the session files: path relative to this file, or URL.")
    layout: Literal["auto", "sessions16", "sessions17"] = "auto"
    training_from: datetime
    test_from: datetime
    to: datetime
    thresholds: Thresholds | Literal["auto"] = "auto"
    missing_hours: Literal["unknown", "zero"] = "unknown"
    debug_servers: tuple[str, ...] = ()
    promotion: PromotionLimits = PromotionLimits()
    class_weights: ClassWeights = ClassWeights()
    checks: CheckLimits = CheckLimits()
    sources: SourceLimits = SourceLimits()
    planning: PlanLimits = PlanLimits()
    monitoring: MonitoringLimits = MonitoringLimits()

    @field_validator("training_from", "test_from", "to")
    @classmethod
    def _utc_without_zone(cls, value: datetime) -> datetime:
        if value.tzinfo is not None:
            raise ValueError("give a UTC time without a zone, like 2016-06-01 00:00:00")
        return value

    @field_validator("training_from", "test_from")
    @classmethod
    def _whole_hour(cls, value: datetime) -> datetime:
        if (value.minute, value.second, value.microsecond) != (0, 0, 0):
            raise ValueError("must be a full hour, because the tables are hourly")
        return value

    @model_validator(mode="after")
    def _dates_ascending(self) -> Settings:
        if not self.training_from < self.test_from <= self.to:
            raise ValueError("dates must satisfy trainingFrom < testFrom <= to")
        return self

    @property
    def synthetic(self) -> bool:
        """Whether no data is configured, so that the synthetic sample stands in for it."""
        return not self.data_file


def load_settings(duration: str | None = None, config: str | Path | None = None) -> Settings:
    """Return the settings of a file, or the packaged profile of ``duration`` when no file is given.

    Args:
        duration: ONE_MONTH, FULL or CUSTOM; must agree with the file if both say it.
        config: path of a settings file.

    Raises:
        SettingsError: naming the field, what was found and what is allowed.
    """
    if duration and duration not in DURATIONS:
        raise SettingsError(f"duration '{duration}' is not one of {', '.join(DURATIONS)}.")
    if config:
        path = Path(config)
        given = read_json(path, "settings file", "dataFile and duration")
        stated = given.setdefault("duration", duration or "CUSTOM")
        if duration and stated != duration:
            raise SettingsError(
                f"{path} is for duration {stated}, but duration={duration} was asked for: leave one of them out."
            )
    elif duration == "CUSTOM":
        raise SettingsError("duration CUSTOM needs a settings file with its dates and dataFile: add -P config=FILE.")
    else:
        path, given = Path(f"the packaged profile {duration or DEFAULT_DURATION}"), {}
        given["duration"] = duration or DEFAULT_DURATION
    return _validate(_complete(given, path), path)


def parse_thresholds(text: str) -> Thresholds | Literal["auto"]:
    """Return the thresholds that the parameter ``thresholds`` names: ``auto``, or ``LOW,HIGH``.

    Raises:
        SettingsError: the text is neither.
    """
    if text == "auto":
        return "auto"
    try:
        low, high = (float(part) for part in text.split(","))
        return Thresholds(low, high)
    except (ValueError, SettingsError):
        raise SettingsError(
            f"thresholds '{text}' must be auto or two numbers LOW,HIGH with 0 <= LOW < HIGH, like 100,500."
        ) from None


def _complete(given: dict[str, Any], path: Path) -> dict[str, Any]:
    """Fill in what the duration fixes, and refuse a file that says otherwise."""
    _refuse_secrets(given, path)
    if given["duration"] not in DURATIONS:
        raise SettingsError(f"{path}: duration '{given['duration']}' is not one of {', '.join(DURATIONS)}.")
    if given["duration"] == "CUSTOM":
        missing = [to_camel(name) for name in _REQUIRED_FOR_CUSTOM if not given.get(to_camel(name))]
        if missing:
            raise SettingsError(f"{path}: duration CUSTOM also needs {', '.join(missing)}.")
    else:
        profile = _packaged_profile(given["duration"])
        for name in map(to_camel, _FIXED_BY_DURATION):
            if name in given and given[name] != profile[name]:
                raise SettingsError(
                    f"{path}: {name} is fixed by duration {given['duration']} ({profile[name]}); "
                    "use duration CUSTOM to choose your own."
                )
        given = {**profile, **given}
    if given.get("dataFile") and "://" not in given["dataFile"]:
        given["dataFile"] = str(path.absolute().parent / Path(given["dataFile"]).expanduser())
    return given


def _validate(given: dict[str, Any], path: Path) -> Settings:
    try:
        return Settings.model_validate(given)
    except SettingsError as problem:
        raise SettingsError(f"{path}: {problem}") from None
    except ValidationError as problem:
        lines = []
        for error in problem.errors(include_url=False, include_input=False):
            # the members of a union show up as "Thresholds" and "literal[…]": plumbing, not part of the file
            where = ".".join(str(part) for part in error["loc"] if not re.match(r"Thresholds|literal\[", str(part)))
            message = "is not a known field" if error["type"] == "extra_forbidden" else error["msg"]
            lines.append(f"{where}: {message}" if where else message)
        allowed = ", ".join(to_camel(name) for name in Settings.model_fields)
        raise SettingsError(f"{path}: {'; '.join(lines)}. Fields: {allowed}.") from None


def read_json(path: Path, what: str, fields: str) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: of the file.
        what: how messages call such a file, like ``settings file``.
        fields: some that it may hold, for a message.

    Raises:
        SettingsError: it is missing, cannot be read, is not JSON or no object; names the line where it can.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{what} {path} does not exist (looked from {Path.cwd()}).") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{what} {path} cannot be read: {problem}.") from None
    except json.JSONDecodeError as problem:
        raise SettingsError(f"{path}, line {problem.lineno}: not valid JSON: {problem.msg}.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: must be a JSON object with fields like {fields}.")
    return content


def _refuse_secrets(given: dict[str, Any], path: Path) -> None:
    for name, value in given.items():
        text = value if isinstance(value, str) else ""
        hidden = SECRET_IN_TEXT.search(text) or PASSWORD_IN_URL.search(text)
        if hidden or any(word in name.lower() for word in _SECRET_WORDS):
            what = f"the credential in '{name}'" if hidden else f"'{name}'"
            raise SettingsError(
                f"{path}: take {what} out and revoke it if it is real: credentials never stand in a file. "
                "Set them in the environment or use the machine's Azure identity."
            )


def _packaged_profile(duration: str) -> dict[str, Any]:
    source = resources.files("workload_forecast") / "profiles" / f"{duration.lower()}.json"
    profile: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return profile
