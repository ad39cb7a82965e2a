"""What the routes do: find the snapshot, make sure that it can answer, answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any, TypeVar

import orjson

from workload_forecast.errors import WorkloadForecastError
from workload_forecast.features.build import LOOK_BACK_HOURS
from workload_forecast.service import answers
from workload_forecast.service.bodies import read_forecast
from workload_forecast.service.fleet import AHEAD_HOURS, History, OtherStarts
from workload_forecast.service.invocations import answer, read_invocation
from workload_forecast.service.metrics import Metrics
from workload_forecast.service.options import ServiceOptions
from workload_forecast.service.problems import Refused, invalid
from workload_forecast.service.rows import read_score
from workload_forecast.service.state import Holder, Snapshot
from workload_forecast.serving.forecaster import Answers, Forecaster
from workload_forecast.serving.history import HOUR, YEARS, Prepared

#: Answers of up to so many hours, and bodies of up to so many bytes, are worked on in the event loop. Measured on two
#: busy cores: one server takes 1.9 ms so and 5.7 ms by way of a thread, ten take 4.4 and 7.0; but a hundred, in the
#: event loop, make a small request beside them wait 8 ms instead of 3 (median; 260 instead of 80 at the 99th percent).
HOURS_IN_LOOP = 10 * 48
BYTES_IN_LOOP = 32 * 2**10

Result = TypeVar("Result")


class Service:
    """Answers bodies with bodies."""

    def __init__(self, options: ServiceOptions, metrics: Metrics) -> None:
        self.options, self.metrics = options, metrics
        self.holder = Holder(options.exchange, metrics)
        self._others = OtherStarts()
        self._pool = ThreadPoolExecutor(2, "score")

    def start(self) -> None:
        """Begin to load and to follow."""
        self.holder.start()

    def stop(self) -> None:
        """End the threads."""
        self.holder.stop()
        self._others.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def forecast(self, body: bytes) -> bytes:
        """Answer ``/forecast``.

        Raises:
            Refused: 400, 422 or 503.
        """
        wanted = read_forecast(body, self.options.max_servers)
        servers, hours = wanted.servers, wanted.hours
        now = self.holder.current
        model, forecaster, history = _loaded(now)
        if history is None or now.prepared is None:
            raise _not_ready("No history is loaded yet.", self.holder.problems)
        first = wanted.start or history.start
        prepared = await self._rows(forecaster, history, now.prepared, servers, first, hours)

        def work() -> tuple[bytes, Answers]:
            scored = now.scored if prepared is now.prepared else None
            found = forecaster.decide_prepared(prepared, servers, first, hours, scored)
            loads = forecaster.loads(prepared, servers, first, hours) if wanted.load else None
            content = {
                "model": model,
                "history": {"newest": answers.told(history.newest)},
                "start": answers.told(first),
                "hours": hours,
                "forecasts": answers.forecasts(found, forecaster.scorer.classes, servers, first, hours, loads),
            }
            return orjson.dumps(content), found

        text, found = await self._worked(work, large=len(servers) * hours > HOURS_IN_LOOP)
        self.metrics.count_rows("/forecast", answers.counts(found))
        return text

    async def score(self, body: bytes) -> bytes:
        """Answer ``/score``; errors as :meth:`forecast`."""
        model, forecaster, _ = _loaded(self.holder.current)

        def work() -> tuple[bytes, Answers]:
            rows = read_score(body, self.options.max_rows)
            try:
                found = forecaster.decide(rows)
            except WorkloadForecastError as problem:
                raise invalid(str(problem), "rows") from None
            predictions = answers.predictions(found, forecaster.scorer.classes)
            return orjson.dumps({"model": model, "predictions": predictions}), found

        text, found = await self._worked(work, large=len(body) > BYTES_IN_LOOP)
        self.metrics.count_rows("/score", answers.counts(found))
        return text

    async def invoke(self, body: bytes, content_type: str) -> bytes:
        """Answer ``/invocations``; errors as :meth:`forecast`, and 415."""
        _, forecaster, _ = _loaded(self.holder.current)

        def work() -> tuple[bytes, Answers]:
            asked = read_invocation(body, content_type, self.options.max_rows)
            found, records = answer(asked, forecaster, self.options.max_servers)
            return orjson.dumps({"predictions": records}), found

        # an invocation may bring a history of its own, whose features take a tenth of a second
        text, found = await self._worked(work, large=len(body) > BYTES_IN_LOOP or b'"start"' in body)
        self.metrics.count_rows("/invocations", answers.counts(found))
        return text

    def health(self) -> tuple[str, dict[str, Any]]:
        """Return what keeps the service from being ready, empty if nothing does, and the facts."""
        now, problems = self.holder.current, sorted(self.holder.problems)
        moment = datetime.now(timezone.utc).replace(tzinfo=None)
        age = (moment - now.history.newest) / HOUR if now.history else None
        most = self.options.max_history_age_hours
        wrong = ""
        if now.forecaster is None:
            wrong = "No model is loaded yet."
        elif now.history is None:
            wrong = "No history is loaded yet."
        elif most and age is not None and age > most:
            wrong = f"The newest hour of the history is {age:.1f} hours old, more than {most:g}."
        follower = self.holder.follower
        return wrong, {
            "model": _model(now),
            "history": now.history and {"newest": answers.told(now.history.newest), "age_hours": round(age or 0.0, 2),
                                        "servers": len(now.history.servers)},
            # which parts, and no more: this path asks for no key, and reasons name addresses; they are in the log
            "follower": follower and {"checked": follower.checked, "failing": bool(follower.problem)},
            "problems": problems,
        }  # fmt: skip

    async def _rows(
        self, forecaster: Forecaster, history: History, prepared: Prepared, servers: Sequence[str], start: datetime,
        hours: int,
    ) -> Prepared:  # fmt: skip
        """Return prepared rows that hold these hours, made now if they were not prepared ahead."""
        if start >= prepared.start and (start - prepared.start) // HOUR + hours <= AHEAD_HOURS:
            return prepared
        latest = min(history.start + LOOK_BACK_HOURS * HOUR, datetime(YEARS.stop - 1, 12, 1))
        if not history.earliest <= start <= latest:
            raise invalid(
                f"start={answers.told(start)} cannot be answered: the history reaches from "
                f"{answers.told(history.oldest)} to {answers.told(history.newest)}, and a forecast needs "
                f"{LOOK_BACK_HOURS} hours of it; give {answers.told(history.earliest)} to {answers.told(latest)}, "
                "or leave 'start' out.",
                "start",
            )
        making = self._others.get(forecaster, history, start, servers)
        # the rows may be wanted by others, so that who waits for them gives up alone
        return await asyncio.shield(asyncio.wrap_future(making))

    async def _worked(self, work: Callable[[], Result], *, large: bool) -> Result:
        if not large:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _loaded(now: Snapshot) -> tuple[dict[str, str], Forecaster, History | None]:
    model = _model(now)
    if model is None or now.forecaster is None:
        raise _not_ready("No model is loaded yet.", {})
    return model, now.forecaster, now.history


def _model(now: Snapshot) -> dict[str, str] | None:
    return {"name": now.model.name, "version": now.model.version} if now.model else None


def _not_ready(detail: str, problems: dict[str, str]) -> Refused:
    told = f"{detail} GET /health says what is loaded."
    return Refused(503, "not-ready", told, {"Retry-After": "2"}, problems=dict(problems))
