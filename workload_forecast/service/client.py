"""A client of the service, patient with one that is busy or restarting.

The key comes from the environment or the key ring, never from a command line, which other users of a machine can see.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from workload_forecast.errors import EnvironmentProblem, SettingsError, WorkloadForecastError
from workload_forecast.schemas import HORIZON_HOURS
from workload_forecast.service.client_access import KEY, URL, Bearer, checked_key, find_key, is_loopback, service_url
from workload_forecast.service.client_answers import Answer, Forecast, read_answer, read_forecasts, utc_text

#: What one request asks for at most; the service's own limits are not below this unless somebody has set them so.
SERVERS, ROWS = 1_000, 2_000

#: A service that is busy or restarting, or a proxy that does not reach it. A request changes nothing, so that it may
#: be repeated.
_TRANSIENT = {408, 429, 502, 503, 504}
_AWAY = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 10.0
_LONGEST_ANSWER = 1 << 28


class Client:
    """Asks one service. It may be shared by threads only as ``requests`` sessions may: rather make one each.

    Args:
        url: of the service; by default ``WORKLOAD_FORECAST_SERVICE_URL``, else this machine's.
        key: by default ``WORKLOAD_FORECAST_API_KEY``, else the key ring's for this URL.
        timeout: seconds for which a connection, and then each part of an answer, is waited for.
        retries: how often a request is repeated while the service is away or busy.
        deadline: seconds for one request with all its repetitions.

    Raises:
        SettingsError: the URL is none, the key would go over the network unencrypted, or what should be a key is not.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 10.0,
        retries: int = 5,
        deadline: float = 60.0,
    ) -> None:
        self.url = service_url(url)
        self._timeout, self._deadline, self._retries = timeout, deadline, retries
        self._bearer = Bearer(checked_key(key) if key is not None else find_key(self.url))
        self._session = requests.Session()
        # a proxy has no business between two programs of one machine, and would see the key
        self._session.trust_env = not self.url.startswith("http://") or not is_loopback(self.url)

    def __repr__(self) -> str:
        """Name the service, and nothing of the key."""
        return f"Client({self.url!r})"

    def forecast(
        self,
        servers: str | Iterable[str],
        start: datetime | None = None,
        hours: int = HORIZON_HOURS,
        *,
        load: bool = False,
    ) -> list[Forecast]:
        """Return the forecast of each server, in their order; long lists are asked for in parts.

        Args:
            servers: one or more names; one that stands there twice is answered once.
            start: first hour; UTC unless it carries a zone. By default the first one after the newest known hour.
            hours: 1 to 48.
            load: whether each hour's load in numbers is asked for, too.

        Raises:
            SettingsError: the service refuses the request or the key.
            EnvironmentProblem: it does not answer, or not sensibly.
        """
        names = [servers] if isinstance(servers, str) else list(dict.fromkeys(servers))
        forecasts: list[Forecast] = []
        first = utc_text(start) if start else None
        for part in _parts(names, SERVERS):
            body: dict[str, Any] = {"servers": part, "hours": hours}
            body |= ({"start": first} if first else {}) | ({"load": True} if load else {})
            content = self._post("/forecast", body)
            with _Sensible(self.url):
                first = str(content["start"])  # of the following parts, too, though the history may move on
                found = read_forecasts(content, load)
                if [forecast.server for forecast in found] != part:
                    raise ValueError
            forecasts += found
        return forecasts

    def score(self, rows: Iterable[Mapping[str, float | None]]) -> list[Answer]:
        """Return the answer for each row of features; errors as :meth:`forecast`."""
        answers: list[Answer] = []
        for part in _parts([_numbers(row, at) for at, row in enumerate(rows)], ROWS):
            content = self._post("/score", {"rows": part})
            with _Sensible(self.url):
                found = [read_answer(entry) for entry in content["predictions"]]
                if len(found) != len(part):
                    raise ValueError
            answers += found
        return answers

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Ask until there is an answer, or no more patience."""
        until = time.monotonic() + self._deadline
        for attempt in range(self._retries + 1):
            wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt) * random.uniform(0.75, 1.25)  # noqa: S311 — spreads
            try:
                response, content = self._once(path, body, until)
            except requests.RequestException as problem:
                failure: WorkloadForecastError = self._unanswered(problem)
                again = isinstance(problem, _AWAY) and not isinstance(problem, requests.exceptions.SSLError)
            else:
                if response.status_code == 200:
                    with _Sensible(self.url):
                        return json.loads(content)
                failure, again = self._refused(response, content), response.status_code in _TRANSIENT
                wait = max(wait, _retry_after(response))
            # not within the except: the error of requests, which holds the key, must not hang on ours
            if not again or attempt == self._retries or time.monotonic() + wait >= until:
                raise failure
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, path: str, body: Mapping[str, Any], until: float) -> tuple[requests.Response, bytes]:
        """Ask once, and read the answer for no longer than is left."""
        timeout = max(0.05, min(self._timeout, until - time.monotonic()))
        with self._session.post(
            f"{self.url}{path}",
            json=body,
            auth=self._bearer,
            timeout=timeout,
            allow_redirects=False,
            stream=True,
            headers={"Accept": "application/json, application/problem+json"},
        ) as response:
            parts, size = [], 0
            for part in response.iter_content(1 << 16):
                parts.append(part)
                size += len(part)
                if size > _LONGEST_ANSWER or time.monotonic() > until:
                    raise requests.ReadTimeout("the answer does not end")
            return response, b"".join(parts)

    def _unanswered(self, problem: Exception) -> EnvironmentProblem:
        advice = "Start it with `workload-forecast serve`, or name another one with --url or " + URL
        if isinstance(problem, requests.exceptions.SSLError):
            return EnvironmentProblem(f"{self.url} shows a certificate that is not trusted: set REQUESTS_CA_BUNDLE.")
        if isinstance(problem, requests.Timeout):
            return EnvironmentProblem(f"{self.url} did not answer in time: it is busy or hangs; see {self.url}/health.")
        why = "connection refused" if "refused" in str(problem) else type(problem).__name__
        return EnvironmentProblem(f"no service answers at {self.url} ({why}). {advice}.")

    def _refused(self, response: requests.Response, content: bytes) -> WorkloadForecastError:
        """Make the error of an answer that is no success."""
        status, detail = response.status_code, _detail(response, content)
        request = response.headers.get("X-Request-Id", "")
        name = f" (request {request[:64]})" if re.fullmatch(r"[\w-]+", request) else ""
        if status == 401:
            return SettingsError(
                f"{self.url} does not take the key{name}: make one where the service runs with `workload-forecast keys "
                f"create NAME`, and put it into {KEY}."
            )
        if 300 <= status < 400:
            return SettingsError(f"{self.url} sends us elsewhere: give the service's own address with --url or {URL}.")
        if 400 <= status < 500 and status not in _TRANSIENT:
            return SettingsError(f"{self.url} refuses the request: {detail}{name}.")
        return EnvironmentProblem(f"{self.url} cannot answer: {detail}{name}. See {self.url}/health, or try later.")


class _Sensible:
    """Turns what comes of an answer that is not the service's into an error that says so."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, (ValueError, KeyError, TypeError, AttributeError, RecursionError)):
            raise EnvironmentProblem(
                f"what answers at {self.url} is not this service, or of another version: check --url or {URL}."
            ) from None


def _retry_after(response: requests.Response) -> float:
    """Seconds that the service asks us to wait; 0 where it does not say."""
    text = response.headers.get("Retry-After", "0").strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, moment.timestamp() - time.time())


def _detail(response: requests.Response, content: bytes) -> str:
    """What an answer says is wrong, if it is a problem document; else its status."""
    try:
        problem = json.loads(content) if "json" in response.headers.get("Content-Type", "") else {}
        text = str(problem.get("detail") or problem.get("title") or "")
    except (ValueError, AttributeError, RecursionError):
        text = ""
    return " ".join(text.split())[:500].rstrip(".") or f"HTTP {response.status_code} {response.reason or ''}".strip()


def _numbers(row: Mapping[str, Any], at: int) -> dict[str, float | None]:
    """A row as JSON has it: plain numbers, and null for what is unknown."""
    try:
        doubles = {name: None if value is None else float(value) for name, value in row.items()}
    except (TypeError, ValueError) as problem:
        raise SettingsError(f"row {at} holds something that is no number: {problem}.") from None
    if any(value is not None and math.isinf(value) for value in doubles.values()):
        raise SettingsError(f"row {at} holds an infinite number: leave it unknown (None) instead.")
    return {name: None if value is None or math.isnan(value) else value for name, value in doubles.items()}


def _parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    return (list(items[at : at + size]) for at in range(0, len(items), size))
