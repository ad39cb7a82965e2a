"""Log lines as JSON, one object a line; request ids. No payload and no key is ever logged."""

from __future__ import annotations

import json
import logging
import re
import secrets
from datetime import datetime, timezone

#: Everything of the service is logged below this name.
LOGGER = logging.getLogger("workload_forecast.service")

#: Ids from outside that are taken over: nothing that could break a log line or a header.
_SAFE_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


class JsonLines(logging.Formatter):
    """``time``, ``level``, ``logger``, ``message``, and the mapping ``fields`` of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr() -> None:
    """Send the lines of the service, and of the server beneath it, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in (LOGGER.name, "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False


def id_of(given: bytes | None) -> str:
    """Return the id that the caller gave if it is safe, else a new one."""
    if given and _SAFE_ID.fullmatch(given):
        return given.decode("ascii")
    return secrets.token_hex(8)
