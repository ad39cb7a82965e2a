"""How long and how often a request is repeated: the service's own retry policy, with an end to it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from azure.core.exceptions import AzureError
from azure.storage.blob import ExponentialRetry

#: When the operation that the running request belongs to gives up; else each request has a deadline of its own.
_UNTIL: ContextVar[float | None] = ContextVar("until", default=None)

#: A name that does not resolve is rarely a passing trouble and mostly a misspelt account.
_NAME_ATTEMPTS = 2
_NO_LIMIT = 1_000_000


@contextmanager
def deadline(seconds: float) -> Iterator[float]:
    """Give all requests of the block one deadline together; yield it, in the time of :func:`time.monotonic`."""
    until = time.monotonic() + seconds
    token = _UNTIL.set(until)
    try:
        yield until
    finally:
        _UNTIL.reset(token)


def backoff(count: int, first: float, longest: float) -> float:
    """Return the seconds to wait before the attempt that follows ``count`` others; half of it is drawn by lot."""
    wait = min(first * 2.0 ** min(count, 30), longest)
    return wait * (0.5 + random.random() / 2)  # noqa: S311 — no secret, only to keep clients from marching in step


class RetryUntil(ExponentialRetry):
    """The SDK's policy, which knows what may be repeated, but bounded by time rather than by number.

    Args:
        seconds: for one request with its repetitions, unless :func:`deadline` says otherwise.
        first: seconds before the first repetition; they double from one to the next.
        longest: seconds between two attempts at most, unless the service asks for more.
    """

    def __init__(self, seconds: float, first: float = 0.5, longest: float = 20.0) -> None:
        super().__init__(retry_total=_NO_LIMIT, retry_connect=_NO_LIMIT, retry_read=_NO_LIMIT, retry_status=_NO_LIMIT)
        self._seconds, self._first, self._longest = seconds, first, longest

    def configure_retries(self, request: Any) -> dict[str, Any]:
        """Note when the request has to be over."""
        settings = super().configure_retries(request)
        settings["until"] = _UNTIL.get() or time.monotonic() + self._seconds
        settings["wait"] = 0.0
        return settings

    def increment(
        self, settings: dict[str, Any], request: Any, response: Any = None, error: AzureError | None = None
    ) -> bool:
        """Return whether there is time, and a point, in another attempt."""
        settings["wait"] = max(backoff(settings["count"], self._first, self._longest), _asked_for(response))
        if time.monotonic() + settings["wait"] > settings["until"]:
            return False
        if error is not None and is_name_problem(error) and settings["count"] >= _NAME_ATTEMPTS:
            return False
        return super().increment(settings, request, response, error)

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Return what :meth:`increment` has decided."""
        return float(settings["wait"])


def is_name_problem(error: BaseException) -> bool:
    """Whether a request failed because its host's name is unknown."""
    text = str(error)
    return "NameResolutionError" in text or "Failed to resolve" in text or "getaddrinfo" in text


def _asked_for(response: Any) -> float:
    """Return the seconds that the service wants to be left alone."""
    text = response.headers.get("Retry-After", "") if response is not None else ""
    return float(text) if text.isdigit() else 0.0
