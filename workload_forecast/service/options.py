"""What the service is started with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from workload_forecast.errors import SettingsError


@dataclass(frozen=True)
class ServiceOptions:
    """Where the service finds what it serves, where it listens, and what it takes on.

    Attributes:
        exchange: folder of :class:`~workload_forecast.service.exchange.Exchange`.
        keys: file of :class:`~workload_forecast.service.keys.Keys`.
        host: address to listen on.
        port: 0: any free one; it stands in the log.
        max_history_age_hours: when the newest hour is older, ``/health`` answers 503; 0: not checked.
        max_body_bytes: of a request; more: 413.
        max_rows: of ``/score`` and ``/invocations``; more: 422.
        max_servers: of ``/forecast``; more: 422.
        max_concurrent: requests that are being worked on; more: 503 with ``Retry-After``.
        request_timeout_s: for the head, for the body (408), and for the answer (503).

    Raises:
        SettingsError: a number is out of range.
    """

    exchange: Path
    keys: Path
    host: str = "127.0.0.1"
    port: int = 8080
    max_history_age_hours: float = 0.0
    max_body_bytes: int = 8 * 2**20
    max_rows: int = 10_000
    max_servers: int = 1_000
    max_concurrent: int = 64
    request_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise SettingsError(f"port {self.port}: give 1 to 65535, or 0 for any free one.")
        for name in ("max_body_bytes", "max_rows", "max_servers", "max_concurrent"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}={getattr(self, name)}: give 1 or more.")
        if not 0 < self.request_timeout_s <= 3_600:
            raise SettingsError(f"request_timeout_s={self.request_timeout_s}: give a number above 0, up to 3600.")
        if not (math.isfinite(self.max_history_age_hours) and self.max_history_age_hours >= 0):
            raise SettingsError(f"max_history_age_hours={self.max_history_age_hours}: give 0 (not checked) or more.")
