"""What load a server is to be expected to have: a mixture of simple forecasts, weighted by how right each has been.

Servers differ in which naive forecast suits them: one repeats yesterday, one the usual day, one the same weekday. So
seven of them are made for every hour and combined, for each server and hour anew, with weights that fall with the
sixth power of their errors over the last two weeks. Nothing is fitted, so nothing can be learnt by heart; the seven,
the windows and the power were chosen by backtests (``docs/forecast-quality.md``).

Errors are averaged as their square roots: a batch that nobody could foresee is then not all that two weeks of an idle
server say about the forecasts. Where errors are Laplace's, as the models take them to be
(:mod:`~workload_forecast.formulas`), the mean absolute error is 4 / π times the square of their mean root.

Each exists twice: made of loads at least 24 hours old and at least 48 hours old, because a forecast for the hours
25 to 48 ahead cannot use yesterday's load at that hour. Both are weighed by the errors of the older ones. What is newer
enters as *surprise*: how far the last hours were off, in units of the error, which fades as the lead grows.

====================  ==============================================================================================
forecast              load at an hour, of what is known a day (two days) before it
====================  ==============================================================================================
``last``              of the same hour, the newest known day
``mean``              mean of the same hour over 14 days
``ninther``           median of three medians of three days (Tukey 1978): spikes do not move it
``weeks``             mean of the same hour of the last two same weekdays
``smooth``            the same hour and half of its neighbours, 14 days, each day counting 0.85 of the next
``shifted``           ``mean``, moved by half of what the newest day's level differs from that of the 14 days
``now``               mean of the newest three hours
====================  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import pi

import narwhals as nw

from workload_forecast.features.lags import (
    DAY,
    Back,
    back_name,
    count_observed,
    hours_back,
    mean,
    observed,
    total,
    with_back,
)
from workload_forecast.features.trailing import DAY_SEEN, DAY_SUM
from workload_forecast.schemas import HORIZON_HOURS, MEASURES, PRIMARY_MEASURE, Frame

#: How many days back the newest load at the same hour lies, for leads of up to so many days.
DAYS_BACK = (1, 2)

FORECASTS = ("last", "mean", "ninther", "weeks", "smooth", "shifted", "now")

#: Days that the forecasts look back on, and days over which their errors are counted.
DAYS, ERROR_DAYS = 14, 14
#: Known errors below which a server's weights are all equal, and its error is unknown.
LEAST_ERRORS = 24
#: A forecast without any error does not silence the others: mean roots are raised by this share of their mean.
FLOOR = 1e-3
DECAY = 0.85
#: Share of a week's mean load that is added to the mixture's error: no server is forecast better than that.
LEVEL_SHARE = 0.005
#: Mean absolute error by square of the mean root, for Laplace's distribution.
LAPLACE = 4.0 / pi
#: Keeps the errors of idle servers from dividing by 0.
TINY = 1e-9

#: The surprise: weights of the newest hour and of the mean of the newest six, each hour cut to so many errors.
NEWEST, NEWEST_SIX, CUT = 0.3, 0.2, 4.0

#: Oldest hour, before the one that is forecast, whose forecasts matter: a surprise five hours before the origin is
#: measured by errors of two weeks.
ERRORS_REACH_HOURS = HORIZON_HOURS + 5 + (DAY + DAY * ERROR_DAYS - 1)
#: Oldest hour whose load matters: those forecasts are made of the two weeks before.
REACH_HOURS = ERRORS_REACH_HOURS + (DAY * (DAYS + 1) + DAY - 1)

_SIX_HOURS, _FOUR_HOURS = tuple(range(6)), tuple(range(4))
_BLOCKS, _DAYS = tuple(range(0, DAY, 4)), tuple(range(0, DAY * ERROR_DAYS, DAY))
_SMOOTH = "_smoothed"
_RAISED, _LEAST, _ERROR = "_raised", "_least", "_error"
_OFF, SURPRISE = "_off", "_surprise"
_GRID = ("server", "hour", *MEASURES)


def same_hour_name(days_back: int) -> str:
    """Return the column of the load at the same hour so many days earlier; null where it was not observed."""
    return f"_same_hour_{days_back}d"


def expected_name(days_back: int) -> str:
    """Return the column of the mixture made of loads at least so many days old."""
    return f"_expected_{days_back}d"


def error_name(days_back: int) -> str:
    """Return the column of the mixture's error: its forecasts' mean absolute errors on this server, weighed alike."""
    return f"_error_{days_back}d"


def expected_made() -> dict[str, nw.Expr]:
    """Return what :func:`expected_back` looks back on, made of the loads of the hour and the two before, by name."""
    return {_SMOOTH: _smoothed(_load(1), before=_load(2), after=_load(0))}


def expected_back() -> dict[str, Back]:
    """Return the loads, and days of loads, that :func:`with_expected` needs of earlier hours, by name.

    Needs :func:`expected_made` and the columns of the day that ends at the hour.
    """
    steps = [DAY * day for day in range(1, DAYS + max(DAYS_BACK))]
    newest = [DAY * k + hour for k in DAYS_BACK for hour in (1, 2)] + [DAY * (k + 1) - 1 for k in DAYS_BACK]
    smooth = hours_back([_SMOOTH], [step - 1 for step in steps])
    return hours_back([DAY_SUM, DAY_SEEN], steps) | smooth | hours_back([PRIMARY_MEASURE], sorted({*steps, *newest}))


def with_expected(frame: Frame, kept: Sequence[str]) -> Frame:
    """Return the complete grid with the columns ``kept``, the mixtures, their errors and the surprise.

    Columns :func:`same_hour_name`, :func:`expected_name`, :func:`error_name` for each of :data:`DAYS_BACK`, null where
    unknown, and :data:`SURPRISE` of the hour itself (so it may be used from that hour on), 0 where unknown.

    Args:
        frame: the complete grid with :func:`expected_back`.
        kept: its other columns that the result has too.
    """
    every = (*_GRID, *kept)
    return _with_surprise(_with_mixtures(_with_weights(_with_forecasts(frame, every), every), every), every)


def _with_forecasts(frame: Frame, every: Sequence[str]) -> Frame:
    sums: dict[str, nw.Expr] = {}
    for k in DAYS_BACK:
        same = [_load(DAY * (k + j)) for j in range(DAYS)]
        # the hour after the newest day's is not known yet: that of the day before stands in for it
        newest = _smoothed(same[0], before=_load(DAY * k + 1), after=_load(DAY * (k + 1) - 1))
        smooth = [newest, *(nw.col(back_name(_SMOOTH, DAY * (k + j) - 1)) for j in range(1, DAYS))]
        week, days = range(k, k + 7), range(k, k + DAYS)
        sums |= {
            same_hour_name(k): same[0],
            _name("ninther", k): _median(*(_median(*same[at : at + 3]) for at in (0, 3, 6))),
            _name("weeks", k): _mean([_load(168), _load(336)]),
            _name("now", k): _mean([_load(DAY * k + hour) for hour in range(3)]),
            _name("day", k): mean(_day(DAY_SUM, k), _day(DAY_SEEN, k)),
            **_part("mean", k, _added(same), count_observed(same)),
            **_part("smooth", k, *_decayed(smooth)),
            **_part("level", k, total(_day(DAY_SUM, j) for j in week), total(_day(DAY_SEEN, j) for j in week)),
            **_part("days", k, total(_day(DAY_SUM, j) for j in days), total(_day(DAY_SEEN, j) for j in days)),
        }
    made: dict[str, nw.Expr] = {}
    for k in DAYS_BACK:
        usual, level = (mean(_of(f"{name}_sum", k), _of(f"{name}_seen", k)) for name in ("mean", "level"))
        own = {name: _of(name, k) for name in ("ninther", "weeks", "now")} | {
            "last": nw.col(same_hour_name(k)),
            "mean": usual,
            "smooth": mean(_of("smooth_sum", k), _of("smooth_seen", k)),
            "shifted": usual + (_of("day", k) - mean(_of("days_sum", k), _of("days_seen", k))) * 0.5,
        }
        # one without its data says what the others say, so that all are known wherever anything is
        made |= {_name(name, k): nw.coalesce(own[name], usual, level) for name in FORECASTS} | {
            _name("level", k): level,
            same_hour_name(k): nw.col(same_hour_name(k)),
        }
    return frame.select(*every, **sums).select(*every, **made)


def _with_weights(frame: Frame, every: Sequence[str]) -> Frame:
    """The weights of the forecasts, and the mixture's error, as they are known at each hour."""
    far, kept = DAYS_BACK[-1], (*every, *_MADE)
    load = nw.col(PRIMARY_MEASURE)
    off = {_error(name): (load - _of(name, far)).abs().fill_null(0.0).sqrt() for name in FORECASTS}
    seen = {_error("seen"): count_observed([load - _of("last", far)])}
    days = frame.with_columns(**off, **seen)
    for offsets in (_FOUR_HOURS, _BLOCKS, _DAYS):
        days = _merged(days, kept, (*off, *seen), offsets)
    errors = {name: nw.col(_error(name)) for name in FORECASTS}
    raised = total(errors.values()) * (FLOOR / len(errors)) + TINY
    compared = days.with_columns(raised.alias(_RAISED), nw.min_horizontal(*errors.values()).alias(_LEAST))
    shares = {name: (nw.col(_LEAST) + nw.col(_RAISED)) / (error + nw.col(_RAISED)) for name, error in errors.items()}
    cubes = {_weight(name): share * share * share for name, share in shares.items()}
    squares = {_weight(name): nw.col(_weight(name)) * nw.col(_weight(name)) for name in FORECASTS}
    weighed = compared.with_columns(**cubes).with_columns(**squares)
    # the twelfth power of the root's share: the sixth of the error's
    weights = {name: nw.col(_weight(name)) * nw.col(_weight(name)) for name in FORECASTS}
    root = total(weights[name] * errors[name] for name in FORECASTS) / total(weights.values()) / nw.col(_error("seen"))
    enough = nw.col(_error("seen")) >= LEAST_ERRORS
    return weighed.select(
        *kept,
        nw.when(enough).then(root * root * LAPLACE).alias(_ERROR),
        **{_weight(name): nw.when(enough).then(weight).otherwise(1.0) for name, weight in weights.items()},
    )


def _with_mixtures(frame: Frame, every: Sequence[str]) -> Frame:
    then = with_back(frame, hours_back([*map(_weight, FORECASTS), _ERROR], [DAY * k for k in DAYS_BACK]))
    mixtures: dict[str, nw.Expr] = {}
    for k in DAYS_BACK:
        # before a server's first hour all count the same
        weights = {name: nw.col(back_name(_weight(name), DAY * k)).fill_null(1.0) for name in FORECASTS}
        mixed = total(weight * _of(name, k) for name, weight in weights.items()) / total(weights.values())
        # an hour that always has the same load (nights at 0) keeps it to the last digit, whatever its neighbours and
        # the day's level do: where 0 is a border of the classes, 0.02 is another class
        same = _of("last", k)
        load = nw.when((same == _of("ninther", k)) & (same == _of("weeks", k))).then(same).otherwise(mixed)
        error = nw.col(back_name(_ERROR, DAY * k)) + _of("level", k).abs() * LEVEL_SHARE
        mixtures |= {expected_name(k): load, error_name(k): error}
    return then.select(*every, *map(same_hour_name, DAYS_BACK), **mixtures)


def _with_surprise(frame: Frame, every: Sequence[str]) -> Frame:
    k = DAYS_BACK[0]
    off = ((nw.col(PRIMARY_MEASURE) - nw.col(expected_name(k))) / (nw.col(error_name(k)) + TINY)).clip(-CUT, CUT)
    six = _mean([nw.col(back_name(_OFF, hour)) for hour in _SIX_HOURS])
    surprise = nw.col(_OFF).fill_null(0.0) * NEWEST + six.fill_null(0.0) * NEWEST_SIX
    mixtures = [name(k) for k in DAYS_BACK for name in (same_hour_name, expected_name, error_name)]
    hours = with_back(frame.with_columns(off.alias(_OFF)), hours_back([_OFF], _SIX_HOURS))
    return hours.select(*every, *mixtures, surprise.alias(SURPRISE))


def _smoothed(load: nw.Expr, *, before: nw.Expr, after: nw.Expr) -> nw.Expr:
    """The load, and a quarter of each neighbour's as far as they are known."""
    return load * 0.5 + nw.coalesce(before, load) * 0.25 + nw.coalesce(after, load) * 0.25


def _decayed(values: Sequence[nw.Expr]) -> tuple[nw.Expr, nw.Expr]:
    """The sum of the known values, each counting :data:`DECAY` of the one before, and the sum of their weights."""
    decayed = [(value, DECAY**j) for j, value in enumerate(values)]
    known = total(observed(value) * weight for value, weight in decayed)
    return total(value.fill_null(0.0) * weight for value, weight in decayed), known


def _median(a: nw.Expr, b: nw.Expr, c: nw.Expr) -> nw.Expr:
    """The middle one of three; of fewer that are known, the first."""
    third = nw.coalesce(c, a)
    return nw.max_horizontal(nw.min_horizontal(a, b), nw.min_horizontal(nw.max_horizontal(a, b), third))


def _merged(frame: Frame, kept: Sequence[str], columns: Sequence[str], offsets: Sequence[int]) -> Frame:
    """Return ``kept`` and the sum of each column at ``offsets``; what lies before the server's first hour adds 0."""
    sums = {name: _added(nw.col(back_name(name, hours)) for hours in offsets) for name in columns}
    return with_back(frame, hours_back(columns, offsets)).select(*kept, **sums)


def _added(values: Iterable[nw.Expr]) -> nw.Expr:
    return total(value.fill_null(0.0) for value in values)


def _mean(values: Sequence[nw.Expr]) -> nw.Expr:
    return mean(_added(values), count_observed(values))


def _load(hours: int) -> nw.Expr:
    return nw.col(back_name(PRIMARY_MEASURE, hours))


def _day(column: str, days: int) -> nw.Expr:
    return nw.col(back_name(column, DAY * days)).fill_null(0.0)


def _name(forecast: str, k: int) -> str:
    return f"_{forecast}_{k}d"


def _of(forecast: str, k: int) -> nw.Expr:
    return nw.col(_name(forecast, k))


def _part(forecast: str, k: int, values: nw.Expr, seen: nw.Expr) -> dict[str, nw.Expr]:
    return {_name(f"{forecast}_sum", k): values, _name(f"{forecast}_seen", k): seen}


def _error(forecast: str) -> str:
    return f"_off_{forecast}"


def _weight(forecast: str) -> str:
    return f"_weight_{forecast}"


#: The forecasts, the level that stands in for them, and the plain load at the same hour, for each age.
_MADE = (
    *(_name(forecast, k) for k in DAYS_BACK for forecast in (*FORECASTS, "level")),
    *map(same_hour_name, DAYS_BACK),
)
