"""A real process behind a real socket: its start, its end, slow clients, many clients, and a change of the model."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.service.test_state import break_model
from tests.service.worlds import LENGTH, World, at, constant, eventually, make_world, text
from workload_forecast.errors import EnvironmentProblem
from workload_forecast.service.options import ServiceOptions
from workload_forecast.service.run import run_service

RUN = """
import json, sys
from pathlib import Path
from workload_forecast.service.options import ServiceOptions
from workload_forecast.service.run import run_service
given = json.loads(sys.argv[1])
run_service(ServiceOptions(Path(given.pop("exchange")), Path(given.pop("keys")), **given))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


class Process:
    """The service in a process of its own, on a free port."""

    def __init__(self, world: World, **changes: object) -> None:
        self.world = world
        self.log = world.folder / f"log{time.monotonic_ns()}"
        given = {"exchange": str(world.exchange.folder), "keys": str(world.keys.path), "port": 0, **changes}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, json.dumps(given)], stdout=subprocess.PIPE, stderr=log,
                cwd=Path(__file__).parents[2],
            )  # fmt: skip
        eventually(lambda: self.process.poll() is not None or bool(self._port()))
        self.url = f"http://127.0.0.1:{self._port()}"

    def _port(self) -> int:
        for line in self.log.read_text().splitlines():
            if "listening on http" in line:
                return int(json.loads(line)["message"].rpartition(":")[2])
        return 0

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.world.headers, timeout=60)

    def ready(self) -> None:
        with self.client() as client:
            eventually(lambda: client.get("/health").status_code == 200)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port()), timeout=30)

    def end(self) -> list[str]:
        """End it as an operator does; return the modules that it had imported."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.log.read_text()[-2000:]
        modules: list[str] = json.loads(out)
        return modules


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(make_world(tmp_path_factory.mktemp("process")))
    process.ready()
    yield process
    process.process.kill()
    process.process.wait()


def head(world: World, length: int, path: str = "/forecast") -> bytes:
    key = world.headers["Authorization"]
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Length: {length}\r\n\r\n".encode()


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def test_slow_clients_then_the_end_in_the_middle_of_a_request(tmp_path: Path) -> None:
    process = Process(make_world(tmp_path), request_timeout_s=4.0)
    process.ready()
    body = json.dumps({"server": "a", "start": text(at(LENGTH - 100))}).encode()
    with closing(process.connect()) as silent, closing(process.connect()) as begun, closing(process.connect()) as slow:
        begun.sendall(b"GET /ping HTTP/1.1\r\nHos")
        slow.sendall(head(process.world, 100) + b"{")
        with process.client() as client:
            assert client.get("/ping").status_code == 200
        answer = read_all(slow)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"urn:workload-forecast:problem:body-too-slow" in answer
        assert read_all(silent) == read_all(begun) == b""
    with closing(process.connect()) as connection:
        connection.sendall(head(process.world, len(body)) + body[:5])
        eventually(lambda: "in_flight 1.0" in httpx.get(f"{process.url}/metrics").text)
        with ThreadPoolExecutor(1) as pool:
            modules = pool.submit(process.end)
            eventually(lambda: "Shutting down" in process.log.read_text())
            connection.sendall(body[5:])
            answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"forecasts"' in answer
    heavy = {"mlflow", "pandas", "pyspark", "duckdb", "matplotlib", "sklearn", "azure", "hypothesis"}
    assert heavy & set(modules.result()) == set()
    assert {"uvloop", "httptools", "polars"} <= set(modules.result())
    assert json.loads(process.log.read_text().splitlines()[-1])["message"] == "ended"


def test_a_head_without_an_end_is_cut_off(process: Process) -> None:
    with closing(process.connect()) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nX-Long: ")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(b"x" * 2**26)
    with process.client() as client:
        assert client.get("/ping").status_code == 200


def test_large_bodies_and_many_requests_in_one_go_are_not_taken_for_a_head(process: Process) -> None:
    with process.client() as client:
        for size in (10, 100_000, 4_000_000):
            response = client.post("/score", content=b'{"rows": [' + b" " * size + b"]}")
            assert response.json()["predictions"] == []
    with closing(process.connect()) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n" * 3_000)
        data = b""
        while data.count(b"HTTP/1.1 200 OK") < 3_000:
            part = connection.recv(65536)
            assert part, data[-500:]
            data += part


def test_garbage_is_answered_and_the_service_lives(process: Process) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n",
                    b"POST /forecast HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):  # fmt: skip
        with closing(process.connect()) as connection:
            connection.sendall(garbage)
            assert read_all(connection).startswith(b"HTTP/1.1 400 ")
    with process.client() as client:
        assert client.get("/ping").status_code == 200


def test_an_announced_body_is_refused_before_it_is_sent(process: Process) -> None:
    with closing(process.connect()) as connection:
        connection.sendall(head(process.world, 10**9).replace(b"Host", b"Expect: 100-continue\r\nHost"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_two_thousand_connections_at_once_get_clear_answers(process: Process) -> None:
    body = b'{"server": "a", "hours": 1}'
    request = head(process.world, len(body)) + body

    async def one(start: asyncio.Event) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(process.url.rpartition(":")[2]))
        try:
            await start.wait()
            writer.write(request)
            status = await reader.readline()
            return int(status.split()[1])
        finally:
            writer.close()

    async def all_at_once() -> list[int]:
        start = asyncio.Event()
        tasks = [asyncio.create_task(one(start)) for _ in range(2_000)]
        await asyncio.sleep(0.3)
        start.set()
        return await asyncio.gather(*tasks)

    statuses = asyncio.run(all_at_once())
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > 1_000
    with process.client() as client:
        assert client.post("/forecast", json={"server": "a"}).status_code == 200


def test_a_new_model_is_followed_without_a_failed_request_and_a_broken_one_is_not(process: Process) -> None:
    world = process.world
    seen: list[tuple[str, str]] = []
    failed: list[object] = []
    done = threading.Event()

    def ask() -> None:
        with process.client() as client:
            while not done.is_set():
                try:
                    response = client.post("/forecast", json={"server": "a", "hours": 48})
                    content = response.json()
                    classes = {hour["class"] for hour in content["forecasts"][0]["hours"]}
                    seen.append((content["model"]["version"], "/".join(sorted(classes))))
                except (httpx.HTTPError, KeyError, ValueError) as problem:
                    failed.append(problem)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with process.client() as client:
            for version, name in ((2, "high"), (3, "low")):
                world.put_model(constant(name))
                eventually(lambda v=version: client.get("/version").json()["model"]["version"] == str(v))  # type: ignore[misc]
            world.put_model(constant("high"))
            break_model(world)
            eventually(lambda: "model" in client.get("/health").json()["problems"])
            world.put_history([row for row in world.history if row["hour"] < at(LENGTH - 3)])
            eventually(lambda: client.get("/health").json()["history"]["newest"] < text(at(LENGTH - 3)))
            assert client.get("/health").status_code == 200
            assert client.get("/version").json()["model"]["version"] == "3"
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []
    # every answer is of one model: never the class of one with the version of the other
    assert {pair for pair in seen if pair[0] != "1"} == {("2", "high"), ("3", "low")}
    assert {version for version, _ in seen} == {"1", "2", "3"}


def test_a_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        options = ServiceOptions(tmp_path, tmp_path / "keys", port=port)
        with pytest.raises(EnvironmentProblem, match=rf"cannot listen on 127.0.0.1:{port}: .*Give another --port"):
            run_service(options)
    with pytest.raises(EnvironmentProblem, match=r"no address to listen on|cannot listen"):
        run_service(ServiceOptions(tmp_path, tmp_path / "keys", host="256.1.1.1"))
    assert list(tmp_path.iterdir()) == []
