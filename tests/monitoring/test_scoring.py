"""Scores of past forecasts beside the same numbers in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workload_forecast.config import Thresholds
from workload_forecast.monitoring.scoring import FACETS, FAR, merge, of_facet, score, scores, scores_by, tally
from workload_forecast.schemas import CLASSES, LOAD_LEVELS, LOAD_QUANTILES

CUTS = Thresholds(10.0, 20.0)
START = datetime(2016, 7, 1)
SPREAD = (0.5, 0.25, 0.25)
TYPES = {
    "prediction": pl.String,
    "total_load_last_same_hour": pl.Float64,
    "expected_load": pl.Float64,
    "expected_error": pl.Float64,
    **dict.fromkeys(LOAD_QUANTILES, pl.Float64),
    **{f"probability_{name}": pl.Float64 for name in CLASSES},
}
Row = dict[str, Any]


def row(server: str, lead: int, came: float | None, said: str | None, naive: float | None = None) -> Row:
    """A forecast of one hour with what came; the probability of what is said is a half, of the others a quarter."""
    first = CLASSES.index(said) if said else 0
    shares = [SPREAD[(at - first) % 3] if said else None for at in range(3)]
    return {
        "server": server,
        "hour": START + timedelta(hours=lead),
        "lead_hours": lead,
        "prediction": said,
        **{f"probability_{name}": share for name, share in zip(CLASSES, shares, strict=True)},
        "source": "model" if said else "none",
        "total_load_last_same_hour": naive,
        "expected_load": naive,
        "expected_error": None if naive is None else 3.0,
        **{name: None if naive is None else naive + 4 * at for at, name in enumerate(LOAD_QUANTILES)},
        "origin": "2016-07-01T00",
        "came": came,
    }


def scored(rows: Sequence[Row]) -> pl.DataFrame:
    forecast = pl.DataFrame([{k: v for k, v in one.items() if k != "came"} for one in rows], schema_overrides=TYPES)
    actual = pl.DataFrame(
        [(one["server"], one["hour"], one["came"]) for one in rows],
        {"server": pl.String, "hour": pl.Datetime("us"), "total_load": pl.Float64},
        orient="row",
    )
    return score(forecast, actual, CUTS)


def class_of(load: float) -> str:
    return "low" if load <= 10 else "medium" if load <= 20 else "high"


def macro_f1(pairs: Sequence[tuple[str, str]]) -> float:
    found = []
    for name in CLASSES:
        came, said = [sum(pair[side] == name for pair in pairs) for side in (0, 1)]
        if came + said:
            found.append(2 * sum(pair == (name, name) for pair in pairs) / (came + said))
    return sum(found) / len(found) if found else math.nan


def expected(rows: Sequence[Row]) -> dict[str, float]:
    known = [(class_of(r["came"]), r) for r in rows if r["came"] is not None]
    said = [(came, r["prediction"]) for came, r in known if r["prediction"]]
    with_naive = [(came, r) for came, r in known if r["prediction"] and r["total_load_last_same_hour"] is not None]
    naive = [(came, class_of(r["total_load_last_same_hour"])) for came, r in with_naive]
    of_high = [pair for pair in said if pair[0] == "high"]
    squares = [
        sum((r[f"probability_{name}"] - (name == came)) ** 2 for name in CLASSES)
        for came, r in known
        if r["prediction"]
    ]
    errors = [abs(r["came"] - r["expected_load"]) for _, r in known if r["expected_load"] is not None]

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values) if values else math.nan

    return {
        "rows": len(known),
        "answered": len(said),
        "macro_f1": macro_f1(said),
        "accuracy": mean([came == name for came, name in said]),
        "recall_high": mean([name == "high" for _, name in of_high]),
        "high_called_low": mean([name == "low" for _, name in of_high]),
        "naive_macro_f1": macro_f1(naive),
        "gain": macro_f1([(came, r["prediction"]) for came, r in with_naive]) - macro_f1(naive),
        "brier": mean(squares),
        "expected_load_error": mean(errors),
        "expected_load_within": mean([error <= 3.0 for error in errors]),
        **{
            f"load_below_p{level}": mean(
                [r["came"] <= r[f"load_p{level}"] for _, r in known if r["expected_load"] is not None]
            )
            for level in LOAD_LEVELS
        },
    }


LOADS = st.none() | st.sampled_from([0.0, 10.0, 10.5, 20.0, 20.5, 99.0])
ROWS = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.integers(1, 48)),
    st.tuples(LOADS, st.none() | st.sampled_from(CLASSES), LOADS),
    min_size=1,
    max_size=40,
).map(lambda found: [row(server, lead, *value) for (server, lead), value in found.items()])


@given(ROWS)
def test_scores_are_those_of_plain_python(rows: list[Row]) -> None:
    found = scored(rows)
    assert len(found) == expected(rows)["rows"]
    if not len(found):
        return
    counts = tally(found)
    for facet in FACETS:
        whole = scores(of_facet(counts, facet))
        assert {name: whole[name] for name in expected(rows)} == pytest.approx(expected(rows), nan_ok=True)
    for one in scores_by(counts, "server").rows(named=True):
        wanted = expected([r for r in rows if r["server"] == one["server"]])
        assert {name: math.nan if one[name] is None else one[name] for name in wanted} == pytest.approx(
            wanted, nan_ok=True
        )
    far = scores(of_facet(counts, "leads", FAR))
    wanted = expected([r for r in rows if r["lead_hours"] > 24])
    assert {name: far[name] for name in wanted} == pytest.approx(wanted, nan_ok=True)


@given(ROWS, ROWS)
def test_forecasts_are_added_up_one_after_the_other(some: list[Row], others: list[Row]) -> None:
    one, other = scored(some), scored(others)
    if len(one) and len(other):
        merged, whole = merge([tally(one), tally(other)]), tally(pl.concat([one, other]))
        assert merged.select(pl.exclude("squared_error", "absolute_error")).equals(
            whole.select(pl.exclude("squared_error", "absolute_error"))
        )
        assert scores(of_facet(merged, "origin")) == pytest.approx(scores(of_facet(whole, "origin")), nan_ok=True)


def test_leads_are_blocks_of_twelve() -> None:
    counts = tally(scored([row("a", lead, 1.0, "low") for lead in range(1, 49)]))
    blocks = scores_by(counts, "leads")
    assert dict(blocks.select("leads", "rows").rows()) == {"1-12": 12, "13-24": 12, "25-36": 12, "37-48": 12}


def test_an_hour_without_a_load_is_not_scored_and_silence_is_counted() -> None:
    """Neither is ever *low* by default."""
    found = scores(
        of_facet(
            tally(scored([row("a", 1, None, "low"), row("a", 2, math.nan, "low"), row("a", 3, 5.0, None)])), "origin"
        )
    )
    assert (found["rows"], found["answered"]) == (1, 0)
    assert math.isnan(found["macro_f1"])
