"""Contestant (a): one query, as somebody who knows DuckDB would write it. It trusts the data."""

from __future__ import annotations

import duckdb

from benchmarks.etl.task import Task
from workload_forecast.schemas import MEASURES

_TYPES = {"session_start": "TIMESTAMP", "server_ip": "VARCHAR", **dict.fromkeys(MEASURES, "DOUBLE")}

_QUERY = """
WITH slots AS (
    SELECT server_ip AS server, date_trunc('hour', session_start) AS hour, minute(session_start) // 5 AS peak_slot,
           count(*) AS sessions, {sums}
    FROM read_csv($files, columns = {columns}, auto_detect = false, header = false, quote = '', escape = '',
                  ignore_errors = true)
    GROUP BY ALL
)
FROM slots QUALIFY row_number() OVER (PARTITION BY server, hour ORDER BY total_load DESC, peak_slot) = 1
"""


def run(task: Task) -> None:
    """Reduce the sessions to hourly load."""
    task.result.mkdir(parents=True)
    columns = {name: _TYPES.get(name, "VARCHAR") for name in task.columns}
    sums = ", ".join(f"round(sum({name}), 6) AS {name}" for name in MEASURES)
    query = _QUERY.format(sums=sums, columns=columns)
    duckdb.sql(query, params={"files": list(task.files)}).write_parquet(str(task.result / "hourly.parquet"))
