"""The load: some connections, each of which sends its next request when the last one is answered (a closed loop)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from benchmarks.serving.figures import Measured
from workload_forecast.errors import EnvironmentProblem

#: A round that has not seen enough requests goes on for up to so many times its length.
STRETCH = 6


@dataclass(frozen=True)
class Case:
    """Requests of one kind; the bodies are sent in turn."""

    url: str
    bodies: Sequence[bytes] = field(repr=False)
    token: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Of every request."""
        key = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {"Content-Type": "application/json", **key}


async def measure(case: Case, concurrency: int, seconds: float, least: int = 1) -> Measured:
    """Send requests over ``concurrency`` connections for ``seconds``, and ``least`` requests at any rate.

    The latency of a request ends when its answer was read in full; it is not parsed.

    Raises:
        EnvironmentProblem: an answer that is not 200.
    """
    latencies: list[float] = []
    bodies = itertools.cycle(case.bodies)
    begun = time.perf_counter()

    def goes_on() -> bool:
        passed = time.perf_counter() - begun
        return passed < seconds or (len(latencies) < least and passed < STRETCH * seconds)

    async def client(session: aiohttp.ClientSession) -> None:
        while goes_on():
            body = next(bodies)
            sent = time.perf_counter()
            await _send(session, case, body)
            latencies.append(1000 * (time.perf_counter() - sent))

    async with session_of(case, concurrency) as session:
        await asyncio.gather(*(client(session) for _ in range(concurrency)))
    return Measured(latencies, time.perf_counter() - begun)


async def answers(case: Case) -> list[bytes]:
    """Send each body once, one after the other, and return the answers; errors as :func:`measure`."""
    async with session_of(case, 1) as session:
        return [await _send(session, case, body) for body in case.bodies]


def session_of(case: Case, connections: int) -> aiohttp.ClientSession:
    """Return a session that sends the case's headers and gives up after two minutes."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        headers=case.headers,
        timeout=aiohttp.ClientTimeout(total=120),
    )


async def _send(session: aiohttp.ClientSession, case: Case, body: bytes) -> bytes:
    async with session.post(case.url, data=body) as response:
        content = await response.read()
        if response.status != 200:
            raise EnvironmentProblem(f"{case.url} answered {response.status}: {content[:500]!r}")
        return content
