"""Two servers and a bare one under the same loads, round by round."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import orjson

from benchmarks.serving.figures import Measured, Summary, summarise
from benchmarks.serving.load import Case, answers, measure
from benchmarks.serving.processes import HOST, Server, free_port, running
from benchmarks.serving.world import World, make_key, put_all
from workload_forecast.errors import ModelError
from workload_forecast.schemas import CALENDAR_FEATURES, FEATURE_NAMES
from workload_forecast.service.exchange import Exchange

SERVICE, INVOCATIONS = "service /forecast", "service /invocations"
MLFLOW, BARE = "MLflow on Spark", "bare server"

#: Servers of a request, and how many different requests of that kind are sent in turn.
SIZES: Mapping[int, int] = {1: 16, 100: 2}
CONCURRENCIES = (1, 8)
HOURS = 48


@dataclass(frozen=True)
class Rule:
    """How much is measured: rounds of ``seconds`` each, with ``least`` requests; before them ``warm_up_s`` each."""

    rounds: int
    seconds: float
    least: int
    warm_up_s: float


@dataclass(frozen=True)
class Cell:
    """A row of the table."""

    target: str
    servers: int
    concurrency: int
    summary: Summary


class Comparison:
    """The processes of one run, and what is asked of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = world.fresh("comparison")
        self.token = make_key(self.folder / "keys.json", "benchmark")
        put_all(world, Exchange(self.folder / "exchange"))
        history = world.history()
        self._prepared = world.prepared(history)
        self._names = list(history.servers)

    @contextmanager
    def service(self) -> Iterator[Server]:
        """Our service through its command, without a follower: what it serves is there already."""
        port = free_port()
        places = ("--exchange", str(self.folder / "exchange"), "--keys", str(self.folder / "keys.json"))
        arguments = ("workload_forecast", "serve", "--port", str(port), "--follow", "false", *places)
        with running(arguments, port, "/health", self.world.environment, self.folder / "service.log") as server:
            yield server

    @contextmanager
    def mlflow(self) -> Iterator[Server]:
        """``mlflow models serve`` with the Spark flavour of the same model."""
        port = free_port()
        model = ("-m", str(self.world.spark_model), "--env-manager", "local")
        arguments = ("mlflow", "models", "serve", *model, "--host", HOST, "--port", str(port))
        with running(arguments, port, "/ping", self.world.environment, self.folder / "mlflow.log") as server:
            yield server

    @contextmanager
    def bare(self) -> Iterator[Server]:
        """The server that does nothing."""
        port = free_port()
        arguments = ("benchmarks.serving.bare", str(port))
        with running(arguments, port, "/", self.world.environment, self.folder / "bare.log") as server:
            yield server

    def starts(self, number: int) -> list[float]:
        """Return how long the service took from its start to the first 200 of ``/health``, s, each time."""
        times = []
        for _ in range(number):
            with self.service() as server:
                times.append(server.ready_s)
        return times

    def cases(self, service: Server, mlflow: Server, bare: Server) -> dict[tuple[str, int], Case]:
        """Return the requests for each target and number of servers, after a look at whether the answers agree."""
        found: dict[tuple[str, int], Case] = {}
        for size, number in SIZES.items():
            asked = [self._names[at : at + size] for at in _places(len(self._names), size, number)]
            rows = [self._rows(names) for names in asked]
            names = [orjson.dumps({"servers": one} if size > 1 else {"server": one[0]}) for one in asked]
            found[SERVICE, size] = Case(f"{service.url}/forecast", names, self.token)
            found[INVOCATIONS, size] = Case(f"{service.url}/invocations", rows, self.token)
            found[MLFLOW, size] = Case(f"{mlflow.url}/invocations", rows)
            length = len(_agreed({target: case for (target, n), case in found.items() if n == size}))
            found[BARE, size] = Case(f"{bare.url}/{length}", names)
        return found

    def measure(self, rule: Rule) -> list[Cell]:
        """Measure everything; the targets take turns within each round, while the others are up and idle."""
        with self.service() as service, self.mlflow() as mlflow, self.bare() as bare:
            cases = self.cases(service, mlflow, bare)
            rounds: dict[tuple[str, int, int], list[Measured]] = {}
            for number in range(rule.rounds + 1):  # round 0 warms up
                seconds, least = (rule.seconds, rule.least) if number else (rule.warm_up_s, 1)
                for (target, size), case in cases.items():
                    for concurrency in CONCURRENCIES:
                        seen = asyncio.run(measure(case, concurrency, seconds, max(least, concurrency)))
                        if number:
                            rounds.setdefault((target, size, concurrency), []).append(seen)
                print(f"round {number} of {rule.rounds} done", file=sys.stderr, flush=True)
        return [Cell(*key, summarise(seen)) for key, seen in rounds.items()]

    def _rows(self, servers: Sequence[str]) -> bytes:
        """Return the feature rows of the servers' next 48 hours in MLflow's protocol."""
        at = [self._prepared.servers[name] for name in servers]
        rows = self._prepared.features[at, :HOURS].reshape(-1, len(FEATURE_NAMES))
        whole = [name in CALENDAR_FEATURES and name != "trend_days" for name in FEATURE_NAMES]
        data = [
            [_told(value, whole=is_whole) for value, is_whole in zip(row, whole, strict=True)] for row in rows.tolist()
        ]
        return orjson.dumps({"dataframe_split": {"columns": list(FEATURE_NAMES), "data": data}})


def _told(value: float, *, whole: bool) -> float | int | None:
    """Return a feature as MLflow's signature wants it in JSON."""
    return None if math.isnan(value) else int(value) if whole else value


def _places(fleet: int, size: int, number: int) -> list[int]:
    """Return where the requests' servers begin, spread over the fleet."""
    return [round(place) for place in np.linspace(0, fleet - size, number)]


def _agreed(cases: Mapping[str, Case]) -> bytes:
    """Return an answer of ``/forecast``, after every answer was seen to name the same classes as the other targets'."""
    told = {target: asyncio.run(answers(case)) for target, case in cases.items()}
    classes = {target: [_classes(orjson.loads(answer)) for answer in given] for target, given in told.items()}
    for target in (INVOCATIONS, MLFLOW):
        if classes[target] != classes[SERVICE]:
            raise ModelError(
                f"{target} does not give the classes that {SERVICE} gives: the figures would mean nothing."
            )
    return told[SERVICE][0]


def _classes(answer: Mapping[str, list[object]]) -> list[object]:
    if "forecasts" in answer:
        return [hour["class"] for one in answer["forecasts"] for hour in one["hours"]]  # type: ignore[index]
    rows = answer["predictions"]
    return [row["prediction"] if isinstance(row, dict) else row for row in rows]
