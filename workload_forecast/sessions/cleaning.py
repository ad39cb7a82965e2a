"""What happens to a line of the input: used, quarantined with a reason, outside the window, or filtered out.

The rules are Narwhals expressions over :data:`~workload_forecast.schemas.RAW_SESSIONS`, the same for every engine.
Every line gets exactly one disposition, so that the rows of all dispositions add up to the rows that were read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

import narwhals as nw

from workload_forecast.schemas import PRIMARY_MEASURE, SECONDARY_MEASURES, Frame

#: Reasons for quarantine, in the order in which they are tried.
QUARANTINE_REASONS = (
    "field_count",
    "encoding",
    "line_too_long",
    "unreadable",  # refused by an engine's reader for a reason of its own
    "header",
    "start_missing",
    "start_unparsable",
    "load_missing",
    "load_not_numeric",
    "load_negative",
    "load_infinite",
    "server_missing",
)
OUTSIDE_WINDOW = "outside_window"
FILTERED = "filtered"

#: Loads from here on count as infinite: a sum of them could no longer hold the six decimals that are kept.
LARGEST_NUMBER = 1e15

#: Column with the MD5 of the server's name (UTF-8, 32 lower-case hexadecimal digits), where a sample is taken.
SERVER_DIGEST = "server_digest"

_HEADER_WORDS = ("sessionstart", "session_start")


def with_disposition(
    raw: Frame, first: datetime, last: datetime, servers: Sequence[str] = (), sample: float = 1.0
) -> Frame:
    """Add the column ``disposition``: null for a row to be used, else one of the constants above.

    Args:
        raw: frame of ``RAW_SESSIONS``; for a sample with the column :data:`SERVER_DIGEST`.
        first, last: the window, both inclusive; a session belongs to it by its start.
        servers: if given, rows of other servers are :data:`FILTERED`.
        sample: share of the servers to be used, above 0; rows of the others are :data:`FILTERED`.
    """
    start, load, load_text = nw.col("start"), nw.col(PRIMARY_MEASURE), nw.col("total_load_text")
    rules: list[tuple[nw.Expr, str | nw.Expr]] = [
        (~nw.col("defect").is_null(), nw.col("defect")),
        (start.is_null() & nw.col("start_text").str.to_lowercase().is_in(_HEADER_WORDS), "header"),
        (nw.col("start_text") == "", "start_missing"),
        (start.is_null(), "start_unparsable"),
        (load_text == "", "load_missing"),
        (load.is_null() | load.is_nan(), "load_not_numeric"),
        (load >= LARGEST_NUMBER, "load_infinite"),
        (load < 0, "load_negative"),
        (nw.col("server") == "", "server_missing"),
        ((start < _seconds(first)) | (start > _seconds(last)), OUTSIDE_WINDOW),
    ]
    if servers:
        rules.append((~nw.col("server").is_in(list(servers)), FILTERED))
    if sample < 1:
        rules.append((nw.col(SERVER_DIGEST) >= _end_of_sample(sample), FILTERED))
    disposition: nw.Expr = nw.lit(None, dtype=nw.String())
    for condition, outcome in reversed(rules):
        value = nw.lit(outcome) if isinstance(outcome, str) else outcome
        disposition = nw.when(condition).then(value).otherwise(disposition)
    return raw.with_columns(disposition=disposition)


def _seconds(time: datetime) -> int:
    """Return the seconds from 1970 to a time in UTC."""
    return int(time.replace(tzinfo=timezone.utc).timestamp())


def _end_of_sample(sample: float) -> str:
    """Return the least digest that is not in a sample; digits of equal number and case have the order of their texts.

    The name alone decides, so a server is in the sample with all its rows, wherever and by whatever engine they are
    read, and a smaller sample is part of every larger one.
    """
    return f"{int(sample * 16**8):08x}"


def impute_secondary(raw: Frame) -> Frame:
    """Replace every broken secondary number by 0 and count them in the column ``imputed``.

    Broken is: missing, not a number, negative, infinite or beyond :data:`LARGEST_NUMBER`.
    """
    # one look at each number, in which null and NaN fail, too: engines take NaN for the greatest of all numbers
    sound = {name: (nw.col(name) >= 0) & (nw.col(name) < LARGEST_NUMBER) for name in SECONDARY_MEASURES}
    counts = [nw.when(condition).then(nw.lit(0)).otherwise(nw.lit(1)) for condition in sound.values()]
    return raw.with_columns(
        **{name: nw.when(condition).then(nw.col(name)).otherwise(nw.lit(0.0)) for name, condition in sound.items()},
        imputed=nw.sum_horizontal(*counts),
    )
