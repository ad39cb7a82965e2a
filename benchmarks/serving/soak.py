"""``python -m benchmarks.serving.soak``: steady requests while champion, history and keys change.

A service with its follower, a registry with two versions, several clients with a key each. Every answer must be, number
for number, that of the version which it names.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import click
import mlflow
import orjson

from benchmarks.command import run
from benchmarks.machine import machine
from benchmarks.serving import report, soak_report
from benchmarks.serving.processes import ROOT, Server, free_port, running
from benchmarks.serving.soak_report import LARGE, Seen
from benchmarks.serving.world import World, make_key, make_world
from workload_forecast.errors import EnvironmentProblem
from workload_forecast.registry.log_model import MODEL_NAME
from workload_forecast.service.answers import forecasts
from workload_forecast.serving.forecaster import Forecaster

ALIAS, HOURS = "champion", 48
CLIENTS = ("capacity", "dashboard", "nightly", "on-call")

#: Each client has so many connections; every so manieth request asks for 100 servers.
CONNECTIONS, LARGE_EVERY = 2, 20

#: Every so manieth change renews the history instead of moving the champion.
HISTORY_EVERY = 4

#: Seconds for which a rotated key still opens, and after which it must not.
GRACE_S, CLOSED_AFTER_S = 20.0, 25.0

SAMPLE_EVERY_S = 5.0


class Soak:
    """One run."""

    def __init__(self, world: World, minutes: float, rate: float, every_s: float) -> None:
        self.world, self.rate, self.every_s = world, rate, every_s
        self.seconds = 60 * minutes
        self.seen = Seen()
        self.folder = world.fresh("soak")
        self.keys = self.folder / "keys.json"
        self.tokens = {name: make_key(self.keys, name) for name in CLIENTS}
        self.servers, self.expected = _expected(world)
        self.registry = mlflow.MlflowClient(world.store)
        self._waiting: tuple[str, float] | None = None  #: version that the alias was moved to, and when

    def run(self) -> None:
        """Run to the end."""
        self.registry.set_registered_model_alias(MODEL_NAME, ALIAS, "1")
        port = free_port()
        arguments = (
            "workload_forecast", "serve", "--port", str(port), "--keys", str(self.keys), "--exchange",
            str(self.folder / "exchange"), "--model", MODEL_NAME, "--alias", ALIAS, "--history", str(self.world.fleet),
            "--interval", "1",
        )  # fmt: skip
        with running(arguments, port, "/health", self.world.environment, self.folder / "service.log") as server:
            asyncio.run(self._all(server))

    async def _all(self, server: Server) -> None:
        self.begun = time.monotonic()
        limit = aiohttp.TCPConnector(limit=len(CLIENTS) * CONNECTIONS + 1)
        async with aiohttp.ClientSession(connector=limit, timeout=aiohttp.ClientTimeout(total=60)) as session:
            clients = [self._client(session, server, name, n) for name in CLIENTS for n in range(CONNECTIONS)]
            others = [self._promote(), self._rotate(session, server), self._sample(server)]
            await asyncio.gather(*clients, *others)

    @property
    def _left(self) -> float:
        return self.begun + self.seconds - time.monotonic()

    async def _client(self, session: aiohttp.ClientSession, server: Server, name: str, number: int) -> None:
        """Send requests at a steady pace, whether or not the answers come in time for the next one."""
        pause = len(CLIENTS) * CONNECTIONS / self.rate
        choice = random.Random(f"{name} {number}")  # noqa: S311  # which servers are asked for is no secret
        due = time.monotonic() + choice.random() * pause
        while self._left > 0:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += pause
            size = LARGE if choice.randrange(LARGE_EVERY) == 0 else 1
            await self._ask(session, server, name, choice.sample(self.servers, size))

    async def _ask(self, session: aiohttp.ClientSession, server: Server, name: str, servers: list[str]) -> None:
        headers = {"Authorization": f"Bearer {self.tokens[name]}", "Content-Type": "application/json"}
        sent = time.perf_counter()
        try:
            body = orjson.dumps({"servers": servers})
            async with session.post(f"{server.url}/forecast", data=body, headers=headers) as response:
                content = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as problem:
            self.seen.failures[f"{type(problem).__name__}: {problem}"] += 1
            return
        self.seen.latencies_ms[len(servers)].append(1000 * (time.perf_counter() - sent))
        if status == 200:
            self._check(orjson.loads(content), servers)
        else:
            self.seen.failures[f"{status}: {content[:200].decode(errors='replace')}"] += 1

    def _check(self, answer: Mapping[str, Any], servers: list[str]) -> None:
        version = answer["model"]["version"]
        self.seen.versions[version] += 1
        wanted = self.expected.get(version, {})
        if answer["forecasts"] != [wanted.get(name) for name in servers]:
            self.seen.inconsistent += 1
        if self._waiting and version == self._waiting[0]:
            self.seen.followed_s.append(time.monotonic() - self._waiting[1])
            self._waiting = None

    async def _promote(self) -> None:
        """Move the alias to the other version, or renew the history; a change is given time to be followed."""
        version, number = 1, 0
        while self._left > self.every_s + 1:
            await asyncio.sleep(self.every_s)
            number += 1
            if number % HISTORY_EVERY == 0:
                os.utime(self.world.fleet / "hourly_load.parquet")  # the follower takes it for another one
                self.seen.histories += 1
                continue
            version = 3 - version
            await asyncio.to_thread(self.registry.set_registered_model_alias, MODEL_NAME, ALIAS, str(version))
            self._waiting = (str(version), time.monotonic())
            self.seen.promotions += 1

    async def _rotate(self, session: aiohttp.ClientSession, server: Server) -> None:
        """Rotate the clients' keys in turn by command, and see that the old ones are refused after their grace."""
        checks = []
        number = 0
        while self._left > self.every_s + CLOSED_AFTER_S + 1:
            await asyncio.sleep(self.every_s)
            name = CLIENTS[number % len(CLIENTS)]
            number += 1
            old, self.tokens[name] = self.tokens[name], await self._new_token(name)
            self.seen.rotations += 1
            checks.append(asyncio.create_task(self._closed(session, server, old)))
        await asyncio.gather(*checks)

    async def _new_token(self, name: str) -> str:
        command = ("-m", "workload_forecast", "keys", "rotate", name, "--keys", str(self.keys))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, "--grace-hours", f"{GRACE_S / 3600:.6f}", cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        out, _ = await process.communicate()
        if process.returncode:
            raise EnvironmentProblem(f"`keys rotate {name}` failed ({process.returncode}).")
        return out.decode().strip()

    async def _closed(self, session: aiohttp.ClientSession, server: Server, token: str) -> None:
        await asyncio.sleep(CLOSED_AFTER_S)
        headers = {"Authorization": f"Bearer {token}"}
        async with session.post(f"{server.url}/forecast", json={"server": "a"}, headers=headers) as response:
            if response.status == 401:
                self.seen.closed += 1
            else:
                self.seen.still_open += 1

    async def _sample(self, server: Server) -> None:
        while self._left > 0:
            follower = sum(Server(child, 0, 0.0).memory_mb for child in server.children)
            self.seen.samples.append((self.seconds - self._left, server.memory_mb, follower))
            await asyncio.sleep(SAMPLE_EVERY_S)


def _expected(world: World) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the fleet, and what each version says of each of its servers, computed here."""
    history = world.history()
    prepared, servers = world.prepared(history), list(history.servers)
    expected = {}
    for version in (1, 2):
        forecaster = Forecaster.load(world.model(version))
        found = forecaster.decide_prepared(prepared, servers, history.start, HOURS)
        told = forecasts(found, forecaster.scorer.classes, servers, history.start, HOURS)
        expected[str(version)] = {one["server"]: one for one in orjson.loads(orjson.dumps(told))}
    if expected["1"] == expected["2"]:
        raise EnvironmentProblem("both versions say the same: an answer cannot show which one gave it.")
    return servers, expected


@click.command()
@click.option("--workspace", default="outputs/benchmark-serving", show_default=True, help="Folder that is kept.")
@click.option("--output", default="", help="File for the figures as JSON.")
@click.option(
    "--servers", default=120, show_default=True, type=click.IntRange(LARGE, 10_000), help="Size of the fleet."
)
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(0.1), help="How long.")
@click.option("--rate", default=50.0, show_default=True, type=click.FloatRange(0.1), help="Requests a second.")
@click.option("--every", default=15.0, show_default=True, type=click.FloatRange(1), help="Seconds between changes.")
def main(workspace: str, output: str, servers: int, minutes: float, rate: float, every: float) -> None:
    """Ask the service steadily while models, history and keys change; ends with 1 if anything went wrong."""
    facts = machine(report.PACKAGES)
    soak = Soak(make_world(Path(workspace), servers), minutes, rate, every)
    soak.run()
    settings = {"fleet": servers, "minutes": minutes, "rate": rate, "change_every_s": every}
    found = soak_report.content(soak.seen, settings, facts)
    if output:
        Path(output).write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    click.echo(soak_report.table(found))
    if not found["good"]:
        raise SystemExit(1)


if __name__ == "__main__":
    run(main)
