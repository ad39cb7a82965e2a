"""The way from a target to the tracking server: what is asked, what is refused, and the tunnel's life."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import requests

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.targets import tracking
from workload_forecast.targets.contract import Check
from workload_forecast.targets.hosts import Completed, LocalHost, SshHost
from workload_forecast.targets.tracking import (
    Tunnel,
    as_seen_from_anywhere,
    check_reachable_from_here,
    check_tracking,
    credentials,
    endpoint,
    local_store,
    login,
    needs_tunnel,
    uri_through,
    without_password,
)

# --- what a URI says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "store"),
    [
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:////srv/a folder/mlflow.db", "/srv/a folder/mlflow.db"),
        ("sqlite:////srv/a%20folder/50%25.db", "/srv/a folder/50%.db"),
        ("sqlite:////srv/mlflow.db?timeout=5", "/srv/mlflow.db"),
        ("file:///srv/runs", "/srv/runs"),
        ("file:///srv/my%20runs", "/srv/my runs"),
        ("/srv/my runs", "/srv/my runs"),
        ("mlruns", "mlruns"),
        ("http://host:5000", None),
        ("https://host", None),
        ("databricks://profile", None),
        ("postgresql://host/base", None),
        ("mlflow-artifacts:/1/artifacts", None),
        ("wasbs://container@account.blob.core.windows.net/x", None),
    ],
)
def test_stores_that_are_files(uri: str, store: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_store(uri) == (None if store is None else tmp_path / store)


@pytest.mark.parametrize("uri", ["databricks", "databricks://profile"])
def test_databricks_is_no_folder(uri: str) -> None:
    assert local_store(uri) is None


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://box:5000/", ("box", 5000)),
        ("http://user:p%40ss@box:5000", ("box", 5000)),
        ("http://box", ("box", 80)),
        ("https://box/base", ("box", 443)),
        ("http://[::1]:5000", ("::1", 5000)),
        ("sqlite:///mlflow.db", None),
        ("databricks", None),
        ("http://", None),
    ],
)
def test_endpoint(uri: str, expected: tuple[str, int] | None) -> None:
    assert endpoint(uri) == expected


def test_a_tunnel_changes_the_place_and_takes_the_login_out() -> None:
    assert uri_through("http://user:secret@box:5000/base", 40123) == "http://127.0.0.1:40123/base"
    assert uri_through("http://[::1]:5000", 1) == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("uri", "public", "named"),
    [
        ("http://box:5000", "http://box:5000", {}),
        ("http://me@box/x", "http://box/x", {"MLFLOW_TRACKING_USERNAME": "me"}),
        (
            "https://me:p%40s%3As%2F@box:1/x",
            "https://box:1/x",
            {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p@s:s/"},
        ),
        (
            "http://me:a@b@[::1]:5",
            "http://[::1]:5",
            {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "a@b"},
        ),
    ],
)
def test_the_login_of_a_uri_travels_apart(uri: str, public: str, named: dict[str, str]) -> None:
    assert (without_password(uri), login(uri)) == (public, named)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{here}/mlflow.db"),
        ("sqlite:///a folder/50%25.db", "sqlite:///{here}/a%20folder/50%25.db"),
        ("sqlite:////srv/a%20b.db", "sqlite:////srv/a%20b.db"),
        ("sqlite:////srv/x.db?timeout=60", "sqlite:////srv/x.db?timeout=60"),
        ("mlruns", "file://{here}/mlruns"),
        ("file:///srv/my%20runs", "file:///srv/my%20runs"),
        ("http://box:5000", "http://box:5000"),
    ],
)
def test_a_store_is_named_so_that_any_folder_will_do(
    uri: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = as_seen_from_anywhere(uri)
    assert seen == expected.format(here=tmp_path)
    store = local_store(uri)
    monkeypatch.chdir("/")
    assert local_store(seen) == store


def test_credentials_are_those_that_are_set_and_no_others() -> None:
    environment = {"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_USERNAME": "", "HOME": "/root", "MY_TOKEN": "x"}
    assert credentials(environment) == {"MLFLOW_TRACKING_TOKEN": "t"}


# --- what a target reaches -------------------------------------------------------------------------------------------


class Elsewhere:
    """Another machine, which only remembers what it is asked, and answers with one exit code."""

    label = "anna@box"
    local = False

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.asked: list[list[str]] = []

    def argv(self, command: Sequence[str]) -> list[str]:
        raise AssertionError(command)

    def run(self, command: Sequence[str], *, given: bytes = b"", seconds: float = 60) -> Completed:  # noqa: ARG002
        self.asked.append(list(command))
        return Completed(self.code, b"", "")

    def put(self, folder: Path, files: Iterable[str], target: str, *, links: bool = True) -> None:
        raise AssertionError((folder, files, target, links))

    def get(self, source: str, files: Iterable[str], target: Path) -> None:
        raise AssertionError((source, files, target))


@pytest.mark.parametrize(
    "uri", ["http://localhost:5000", "http://127.0.0.1:5000", "http://[::1]:5000", "http://LOCALHOST"]
)
def test_a_loopback_address_is_never_the_targets(uri: str) -> None:
    host = Elsewhere()
    assert needs_tunnel(uri, host)
    assert host.asked == []


@pytest.mark.parametrize(("code", "expected"), [(0, False), (1, True), (124, True)])
def test_the_target_itself_tries_any_other_address(code: int, expected: bool) -> None:
    host = Elsewhere(code)
    assert needs_tunnel("https://me:secret@box/base", host) is expected
    ((*_, address, port),) = host.asked
    assert (address, port) == ("box", "443")
    assert "secret" not in str(host.asked)


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "databricks://profile", "http://localhost:1", "http://box:1"])
def test_no_tunnel_to_this_machine_and_none_to_a_file(uri: str) -> None:
    assert not needs_tunnel(uri, LocalHost())
    if "http" not in uri:
        assert not needs_tunnel(uri, Elsewhere(1))


def test_the_probe_finds_out_for_real(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other machine is this one, whose loopback is as good as any other address."""
    monkeypatch.setattr(tracking, "_LOOPBACK", ())

    class Loopback(Elsewhere):
        def run(self, command: Sequence[str], *, given: bytes = b"", seconds: float = 60) -> Completed:
            return LocalHost().run(command, given=given, seconds=seconds)

    assert not needs_tunnel(server, Loopback())
    assert needs_tunnel(f"http://127.0.0.1:{closed_port()}", Loopback())


@pytest.mark.parametrize("uri", ["sqlite:////srv/x.db", "mlruns", "file:///srv/runs"])
def test_a_store_that_is_a_file_is_for_containers_of_this_machine_alone(uri: str) -> None:
    (good,) = check_tracking(uri, "/srv/artifacts", LocalHost(), contained=True)
    assert (good.passed, good.found) == (True, f"{uri}, mounted into the container")
    for contained in (True, False):
        (bad,) = check_tracking(uri, "", Elsewhere(), contained=contained)
        assert not bad.passed
        assert bad.found == f"{uri} is a file of this machine, which anna@box cannot see"
        assert f"mlflow server --backend-store-uri {uri} --port 5000" in bad.remedy
        assert "MLFLOW_TRACKING_URI=http://127.0.0.1:5000" in bad.remedy


@pytest.mark.parametrize("location", ["", "mlflow-artifacts:/1", "s3://bucket/1"])
def test_a_server_that_serves_artifacts_will_do_for_any_target(location: str) -> None:
    for host in (LocalHost(), Elsewhere()):
        checks = list(check_tracking("http://box:5000", location, host, contained=True))
        assert checks == [Check("artifact store", True, location or "served by the tracking server")]


@pytest.mark.parametrize("location", ["/srv/artifacts/1", "file:///srv/artifacts/1", "./mlartifacts/1"])
def test_artifacts_in_a_folder_of_the_server_are_out_of_reach_of_another_machine(location: str) -> None:
    bad = next(check_tracking("http://box:5000", location, Elsewhere(), contained=True))
    assert (bad.name, bad.passed) == ("artifact store", False)
    assert location in bad.found
    assert "--serve-artifacts" in bad.remedy
    assert all(check.passed for check in check_tracking("http://box:5000", location, LocalHost(), contained=True))


# --- whether the server answers --------------------------------------------------------------------------------------


class _Server(BaseHTTPRequestHandler):
    """Answers with the code that the path begins with; ``/slow`` only when it is too late."""

    waits: ClassVar[threading.Event] = threading.Event()
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        first = self.path.split("/")[1]
        if first == "slow":
            self.waits.wait(30)
        self.send_response(int(first) if first.isdigit() else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        _Server.waits.set()
        listening.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize("path", ["", "/", "/base/", "/404"])
def test_a_server_that_answers(server: str, path: str) -> None:
    assert check_reachable_from_here(server + path) == Check("tracking server", True, server + path)
    assert _Server.asked[-1][0] == f"{path.rstrip('/')}/health"


def test_a_server_that_fails(server: str) -> None:
    check = check_reachable_from_here(f"{server}/503")
    assert check == Check("tracking server", False, f"{server}/503 answers 503", "look at the server's log")


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "mlruns", "databricks"])
def test_what_is_no_server_is_not_asked(uri: str) -> None:
    assert check_reachable_from_here(uri) == Check("tracking server", True, uri)


def test_a_port_that_nobody_listens_on() -> None:
    uri = f"http://me:secret@127.0.0.1:{closed_port()}"
    check = check_reachable_from_here(uri)
    assert not check.passed
    assert check.found == f"{without_password(uri)} does not answer (Connection refused)"
    assert "set MLFLOW_TRACKING_URI" in check.remedy


def test_a_name_that_nobody_knows() -> None:
    check = check_reachable_from_here("http://no-such-host.invalid:5000")
    assert not check.passed
    assert check.found.startswith("http://no-such-host.invalid:5000 does not answer (")
    assert len(check.found.splitlines()) == 1


def test_a_server_that_takes_its_time_is_not_waited_for(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = requests.get

    def sooner(address: str, *, timeout: float) -> requests.Response:
        assert timeout <= 10
        return ask(address, timeout=0.2)

    monkeypatch.setattr(requests, "get", sooner)
    check = check_reachable_from_here(f"{server}/slow")
    assert not check.passed
    assert "does not answer (" in check.found
    assert "timed out" in check.found.lower()


def test_the_login_is_used_but_not_shown(server: str) -> None:
    check = check_reachable_from_here(server.replace("//", "//me:secret@"))
    assert check == Check("tracking server", True, server)
    assert (_Server.asked[-1][1] or "").startswith("Basic ")


# --- the tunnel ------------------------------------------------------------------------------------------------------

ANNOUNCED = "echo 'Allocated port 40123 for remote forward to box:5000' >&2; exec sleep 60"
REFUSED_PORT = "echo 'Error: remote port forwarding failed for listen port 40123' >&2; exit 255"

Ssh = Callable[[str], None]


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    """Says what ``ssh`` does from now on; each call leaves its arguments in ``calls``."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (tmp_path / "bin").mkdir()

    def does(text: str) -> None:
        command = tmp_path / "bin" / "ssh"
        command.write_text(f'#!/bin/bash\necho "$*" >>{tmp_path}/calls\n{text}\n')
        command.chmod(0o755)

    return does


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    opened = Tunnel(SshHost("box", "anna"), "http://me:secret@tracker:5000/base")
    yield opened
    opened.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a tenth of the time for what ssh says."""

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return super().wait((timeout or 0) / 10)

    monkeypatch.setattr(tracking, "threading", SimpleNamespace(Event=Event, Thread=threading.Thread))


def ends(pid: int) -> bool:
    """Wait until a process is gone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except OSError:
            return True
        time.sleep(0.01)
    return False


def process_of(tunnel: Tunnel) -> int:
    assert tunnel._process is not None
    return tunnel._process.pid


def test_a_tunnel_has_the_port_that_ssh_announces(ssh: Ssh, tunnel: Tunnel, tmp_path: Path) -> None:
    ssh(ANNOUNCED)
    assert not tunnel.alive()
    assert tunnel.open() == tunnel.port == 40123
    assert tunnel.alive()
    assert tunnel.open() == 40123, "an open one is left alone"
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert " -R 127.0.0.1:0:tracker:5000 -- box" in call
    assert "ExitOnForwardFailure=yes" in call
    assert "ControlPath=none" in call
    assert "secret" not in call

    process = process_of(tunnel)
    tunnel.close()
    assert not tunnel.alive()
    assert ends(process)
    tunnel.close()


def test_a_server_with_a_numerical_address_of_the_long_kind(ssh: Ssh, tmp_path: Path) -> None:
    ssh(ANNOUNCED)
    tunnel = Tunnel(SshHost("box"), "https://[fe80::1]")
    tunnel.open()
    tunnel.close()
    assert "-R 127.0.0.1:0:[fe80::1]:443 -- box" in (tmp_path / "calls").read_text()


def test_a_tunnel_that_does_not_come_up_says_what_ssh_says(ssh: Ssh, tunnel: Tunnel) -> None:
    ssh("echo 'anna@box: Permission denied (publickey).' >&2; exit 255")
    with pytest.raises(EnvironmentProblem, match=r"^tunnel to the tracking server: anna@box .*Permission.* ssh-add"):
        tunnel.open()
    assert not tunnel.alive()


@pytest.mark.usefixtures("hurried")
def test_a_tunnel_that_stays_silent_is_given_up_and_ended(ssh: Ssh, tunnel: Tunnel, tmp_path: Path) -> None:
    ssh(f"echo $$ >{tmp_path}/pid; exec sleep 60")
    with pytest.raises(EnvironmentProblem, match=r"from anna@box to the tracking server did not open within 15 s"):
        tunnel.open()
    assert ends(int((tmp_path / "pid").read_text()))


@pytest.mark.usefixtures("hurried")
def test_a_lost_tunnel_is_opened_anew_at_the_same_port(ssh: Ssh, tunnel: Tunnel, tmp_path: Path) -> None:
    ssh(ANNOUNCED)
    tunnel.open()
    process = process_of(tunnel)
    os.kill(process, signal.SIGKILL)
    while tunnel.alive():
        time.sleep(0.01)
    ssh("exec sleep 60")  # ssh announces no port that was asked for by its number
    assert tunnel.open() == 40123
    assert tunnel.alive()
    assert process_of(tunnel) != process
    assert "-R 127.0.0.1:40123:tracker:5000" in (tmp_path / "calls").read_text().splitlines()[-1]


def test_a_port_that_another_follower_holds_is_left_alone_and_asked_for_again(
    ssh: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr(tracking, "time", clock)
    ssh(REFUSED_PORT)
    tunnel = Tunnel(SshHost("box"), "http://tracker:5000", port=40123)
    assert tunnel.open() == 40123
    assert not tunnel.alive()

    ssh(ANNOUNCED)
    clock.monotonic = lambda: 1009.0
    assert tunnel.open() == 40123
    assert len((tmp_path / "calls").read_text().splitlines()) == 1, "not yet"
    clock.monotonic = lambda: 1011.0
    assert tunnel.open() == 40123
    assert tunnel.alive()
    tunnel.close()


def test_a_port_that_was_left_to_ssh_and_refused_is_an_error(ssh: Ssh, tunnel: Tunnel) -> None:
    ssh(REFUSED_PORT)
    with pytest.raises(EnvironmentProblem, match="remote port forwarding failed"):
        tunnel.open()


def test_a_tunnel_is_handed_over_and_ended_by_whoever_takes_it(ssh: Ssh, tunnel: Tunnel) -> None:
    ssh(ANNOUNCED)
    tunnel.open()
    process = tunnel.hand_over()
    tunnel.close()
    adopted = Tunnel(tunnel.host, tunnel.uri, tunnel.port, process)
    assert adopted.alive()
    assert adopted.open() == 40123
    assert adopted.hand_over() == process
    adopted.close()
    assert ends(process)
    assert not adopted.alive()


def test_a_tunnel_that_was_taken_over_and_died_is_opened_anew(ssh: Ssh, tunnel: Tunnel, tmp_path: Path) -> None:
    ssh(ANNOUNCED)
    tunnel.open()
    process = tunnel.hand_over()
    adopted = Tunnel(tunnel.host, tunnel.uri, tunnel.port, process)
    os.kill(process, signal.SIGKILL)
    assert ends(process), "the process that handed it over does not keep it in the process table"
    assert not adopted.alive()
    assert adopted.open() == 40123
    assert adopted.alive()
    assert process_of(adopted) != process
    adopted.close()
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


def test_nothing_to_hand_over(tunnel: Tunnel) -> None:
    assert tunnel.hand_over() == 0
    tunnel.close()
