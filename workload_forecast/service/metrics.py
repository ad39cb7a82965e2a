"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one app, in a registry of its own, so that several apps live in one process (tests)."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        name = "workload_forecast_{}".format
        self.requests = Counter(
            name("requests"), "Requests answered, by path and status.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            name("request_seconds"), "Time from a request's head to its answer.", ["route"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.in_flight = Gauge(name("requests_in_flight"), "Requests that are being worked on.", registry=registry)
        self.rows = Counter(
            name("rows"), "Hours or rows answered, by who answered.", ["route", "source"], registry=registry
        )
        self.by_key = Counter(
            name("key_requests"), "Requests let in, by key; the prefix is no secret.", ["name", "prefix"],
            registry=registry,
        )  # fmt: skip
        self.refused_keys = Counter(name("refused_keys"), "Requests without a key that opens.", registry=registry)
        self.model = Gauge(
            name("model_info"), "1 for the model that is served.", ["name", "version", "run_id"], registry=registry
        )
        self.history_newest = Gauge(
            name("history_newest_timestamp_seconds"), "Newest hour of the history that is served.", registry=registry
        )
        self.follower_checked = Gauge(
            name("follower_checked_timestamp_seconds"), "When the follower looked last.", registry=registry
        )
        self.follower_failing = Gauge(
            name("follower_failing"), "1 if the follower's last look failed.", registry=registry
        )
        self.loads = Counter(name("loads"), "Models and histories that were loaded.", ["what"], registry=registry)
        self.load_failures = Counter(
            name("load_failures"), "Models and histories that could not be loaded; the old ones stay.", ["what"],
            registry=registry,
        )  # fmt: skip
        for what in ("model", "history"):
            self.loads.labels(what)
            self.load_failures.labels(what)

    def count_rows(self, route: str, sources: Iterable[tuple[str, int]]) -> None:
        """Add answered rows."""
        for source, number in sources:
            if number:
                self.rows.labels(route, source).inc(number)

    def text(self) -> bytes:
        """Return all of it in Prometheus' format."""
        return generate_latest(self.registry)
