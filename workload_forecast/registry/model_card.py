"""The model card of a training: what the model is for, what it is made of, how good it is, and what it cannot do.

Every figure is the run's own metric, and what is unfavourable is said first. It is Markdown for MLflow's UI.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from workload_forecast.features.grid import MissingHours
from workload_forecast.load_quantiles import BELOW
from workload_forecast.markdown import plain, table
from workload_forecast.model.baselines import BASELINES
from workload_forecast.model.pipeline import ALGORITHMS
from workload_forecast.model.source_choice import describe_sources
from workload_forecast.model.split import TEST, TRAIN
from workload_forecast.model.training import TrainingResult
from workload_forecast.model.weights import EQUAL
from workload_forecast.registry.log_model import RegisteredVersion, against_naive
from workload_forecast.schemas import CLASSES, FEATURE_NAMES, HORIZON_HOURS, LOAD_QUANTILES
from workload_forecast.sources import MODEL, NONE

#: Name among the run's artifacts.
CARD_FILE = "model_card.md"

#: Days of a test period below which its figures are called weak: two weeks hold every weekday twice.
FEW_DAYS = 14

_METRICS = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    **{f"recall_{name}": f"recall of {name}" for name in CLASSES},
    "high_called_low": "high called low",
}

_HIGH_CALLED_LOW = "`high called low` is the error that takes a busy server's machine away."
_CALIBRATION = "how far the said probabilities are from the observed shares on average; 0 is perfect."

_PURPOSE = f"""\
It names the load class ({", ".join(CLASSES)}) that a server will have in each of the next {HORIZON_HOURS} hours, so
that under-used servers can be consolidated and over-used ones get help. It names no cause, and no hour beyond these."""

_LOADING = """\
```python
import mlflow

model = mlflow.pyfunc.load_model("{uri}")
answers = model.predict(model.input_example)
```

It needs neither Spark nor Java, and takes rows of the table `features`, or of `hourly_load` with a start."""


@dataclass(frozen=True)
class CardFacts:
    """What a card tells besides the training itself."""

    version: RegisteredVersion
    data: str  #: ``configured`` or ``synthetic``
    duration: str
    subset: str  #: of the servers; empty: all
    servers: int  #: in the hourly load
    sessions: int  #: that the hourly load is made of
    digest: str  #: of the feature table
    missing_hours: MissingHours
    data_checks: str  #: the verdict
    libraries: Mapping[str, str]  #: names and versions


def model_card(result: TrainingResult, facts: CardFacts) -> str:
    """Write the card."""
    title = f"# {facts.version.name} version {facts.version.version}"
    parts = (
        *(title, against_naive(result)),
        *("## What it is for", _PURPOSE),
        *("## Data", table(("", ""), _data(result, facts).items())),
        *("## Model", table(("", ""), _model(result).items())),
        *("## How good it is", *_scores(result)),
        *("## Who answers", _sources(result)),
        *("## Known limits", "\n".join(f"- {line}" for line in _limits(result, facts))),
        *("## How to load it", _LOADING.format(uri=facts.version.uri)),
        *("## Made with", ", ".join(f"{library} {number}" for library, number in facts.libraries.items()) + "."),
    )
    return "\n\n".join(parts) + "\n"


def _data(result: TrainingResult, facts: CardFacts) -> dict[str, str]:
    split, rows, metrics = result.split, result.rows, result.metrics
    synthetic, hours = facts.data == "synthetic", f"{rows[TRAIN].unlabelled:,} and {rows[TEST].unlabelled:,} hours"
    kind = "**synthetic**: made by `generate`, of no real server" if synthetic else "of the settings' `dataFile`"
    tested = f"{rows[TEST].labelled:,} hours of {metrics['test_servers']:,.0f} servers"
    return {
        "sessions": f"{kind}; {facts.sessions:,} used ({facts.duration})",
        "servers": f"{facts.servers:,}" + (f", a part of them: {plain(facts.subset)}" if facts.subset else ""),
        "trained on (UTC)": f"{rows[TRAIN].labelled:,} hours, {split.training_from} to before {split.training_to}",
        "tested on (UTC)": f"{tested}, {split.test_from} to {split.to}",
        "left out": f"{hours} of these periods, of which no load is known",
        "hours without a session": "idle: load 0" if facts.missing_hours == "zero" else "unknown",
        "digest of the features": f"`{facts.digest}`",
        "data checks": f"{facts.data_checks}; see `data_quality.md`",
    }


def _model(result: TrainingResult) -> dict[str, str]:
    cuts = result.thresholds
    origin = "terciles of the training loads" if result.thresholds_auto else "from the settings"
    parameters = ", ".join(f"`{name}` = {plain(value)}" for name, value in result.parameters.items())
    weights = ", ".join(f"{name} {weight:.4g}" for name, weight in zip(CLASSES, result.weights, strict=True))
    return {
        "algorithm": f"`{result.algorithm}`: {ALGORITHMS[result.algorithm].title}, {len(FEATURE_NAMES)} features",
        "parameters": parameters or "none",
        "classes": f"low: load ≤ {cuts.low:g}; high: > {cuts.high:g}; medium: between ({origin})",
        "weights of the classes": "equal" if result.weights == EQUAL else weights,
    }


def _scores(result: TrainingResult) -> list[str]:
    metrics, best = result.metrics, result.best_baseline
    predictors = {"model": "test", "as answered in operation": "forecast_test", f"`{best}`": f"baseline_{best}_test"}

    def figure(name: str) -> str:
        return f"{metrics[name]:.4f}" if name in metrics else "unknown: no such hours"

    naive = {name: f"baseline_{name}_test_macro_f1" for name in BASELINES}
    ranked = sorted(naive, key=lambda name: -metrics[naive[name]])
    rows = ((title, *(figure(f"{of}_{name}") for of in predictors.values())) for name, title in _METRICS.items())
    return [
        f"On the test hours, none of which the training has seen. {_HIGH_CALLED_LOW}",
        table(("", *predictors), rows),
        f"Macro-F1 of every naive forecast: {', '.join(f'`{name}` {figure(naive[name])}' for name in ranked)}.",
        f"Calibration error {figure('test_calibration_error')}: {_CALIBRATION}",
        f"Nine of ten servers are named rightly in at least {figure('test_server_accuracy_p10')} of their test hours.",
        *_loads(metrics),
    ]


def _loads(metrics: Mapping[str, float]) -> list[str]:
    below = {name: f"{TEST}_{share}" for name, share in zip(LOAD_QUANTILES, BELOW, strict=True)}
    shares = ", ".join(f"`{name}` {metrics[share]:.4f}" for name, share in below.items() if share in metrics)
    return [f"Loads in numbers: share of the test hours whose load is not above {shares}."] if shares else []


def _sources(result: TrainingResult) -> str:
    if "sources" not in result.tables:
        return "The model, for every server: nothing was compared before the test period."
    fleet = "the model" if result.sources.fleet == MODEL else f"`{result.sources.fleet}`"
    return (
        f"By what was right on the last days of the training: {describe_sources(result.tables['sources'])}. "
        f"Servers that are new get their answers from {fleet}."
    )


def _limits(result: TrainingResult, facts: CardFacts) -> Iterable[str]:
    split, metrics = result.split, result.metrics
    days = (split.to - split.test_from) / timedelta(days=1)
    if metrics["test_macro_f1_gain"] <= 0:
        yield f"It adds nothing to `{result.best_baseline}`, which needs no model. Promotion refuses it."
    if facts.data == "synthetic":
        yield "It has seen no real server: its figures say that everything works, and nothing about yours."
    if facts.subset:
        yield f"It was trained on a part of the servers ({plain(facts.subset)}), and cannot be promoted."
    weak = ", which may be all weekend or holiday" if days < FEW_DAYS else ""
    yield (
        f"Its figures are of one test period of {days:.1f} days{weak}. They have no interval: `backtest` gives one, "
        "from folds before that period."
    )
    silent = sum(source == NONE for source in result.sources.servers.values())
    if silent:
        yield f"{silent:,} servers get no answer, because nothing names enough of their hours rightly."
    yield (
        "A server without a known load in its last week is answered by its last known class at that hour, one without "
        "any history not at all; `source` says so in each answer."
    )
    yield f"The figures are of hours {HORIZON_HOURS} ahead; of the nearer ones `backtest` with `leads=all` tells."
    yield "It knows loads and the calendar, and nothing of releases, moves or failures to come."
