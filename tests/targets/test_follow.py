"""Following a job from its log to its end: on a run folder of this machine, with a clock that does not wait."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.targets import follow
from workload_forecast.targets.contract import Check, Environment, Job, Launcher, Say, State
from workload_forecast.targets.files import ComputeTarget, RunConfiguration
from workload_forecast.targets.follow import CHUNK_BYTES, Follower, Outcome
from workload_forecast.targets.hosts import Completed, Host, LocalHost
from workload_forecast.targets.tracking import Tunnel

TAG = "workload_forecast."
LOST = EnvironmentProblem("box cannot be reached (Connection timed out); check the VPN.")


class Clock:
    """Time that passes only by sleeping; what is due happens while someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.due: list[tuple[float, Callable[[], object]]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 100_000, "it never ends"
        for entry in [entry for entry in self.due if entry[0] <= self.now]:
            self.due.remove(entry)
            entry[1]()

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        self.due.append((self.now + seconds, action))


class Client:
    """The part of MLflow's client that a follower uses; remembers what was done to the run, in order."""

    tracking_uri = "http://tracker:5000"

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.status = "RUNNING"
        self.children: list[str] = []
        self.consoles: list[bytes] = []
        self.done: list[str] = []

    def get_run(self, run_id: str) -> Any:
        info = SimpleNamespace(run_id=run_id, status=self.status, experiment_id="7", start_time=1000, end_time=3500)
        return SimpleNamespace(info=info, data=SimpleNamespace(tags=dict(self.tags)))

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        assert run_id == "r1"
        self.tags[name] = value
        self.done.append(f"tag {name.removeprefix(TAG)}")

    def log_artifact(self, run_id: str, path: str) -> None:
        assert run_id == "r1"
        assert Path(path).name == "console.log"
        self.consoles.append(Path(path).read_bytes())
        self.done.append("console")

    def search_runs(self, experiments: list[str], query: str) -> list[Any]:
        assert experiments == ["7"]
        if "tags.`mlflow.parentRunId` = 'r1'" not in query:
            return []  # nothing is nested in the children
        infos = [SimpleNamespace(run_id=child, status="RUNNING", experiment_id="7") for child in self.children]
        return [SimpleNamespace(info=info) for info in infos]

    def delete_tag(self, run_id: str, name: str) -> None:
        assert run_id == "r1"
        del self.tags[name]

    def set_terminated(self, run_id: str, status: str) -> None:
        if run_id == "r1":
            self.status = status
        self.done.append(f"{run_id} {status}")


class Elsewhere:
    """This machine in the part of another one, whose connection can be cut."""

    label = "box"
    local = False

    def __init__(self) -> None:
        self.cut = False
        self.fetched: list[str] = []

    def argv(self, command: Sequence[str]) -> list[str]:
        return list(command)

    def run(self, command: Sequence[str], *, given: bytes = b"", seconds: float = 60) -> Completed:
        if self.cut:
            raise LOST
        return LocalHost().run(command, given=given, seconds=seconds)

    def put(self, folder: Path, files: Iterable[str], target: str, *, links: bool = True) -> None:
        raise AssertionError((folder, files, target, links))

    def get(self, source: str, files: Iterable[str], target: Path) -> None:
        self.fetched = sorted(files)
        LocalHost().get(source, self.fetched, target)


class FakeLauncher(Launcher):
    contained = True

    def __init__(self, target: ComputeTarget, host: Host) -> None:
        super().__init__(target, host)
        self.answer: Callable[[], State] = lambda: State(True)
        self.asked = 0
        self.on_cancel: Callable[[], object] = lambda: None
        self.cleaned = 0

    def facts(self) -> dict[str, str]:
        return {}

    def checks(self, configuration: RunConfiguration, project: Path) -> Iterator[Check]:
        raise AssertionError((configuration, project))

    def prepare(self, configuration: RunConfiguration, project: Path, base: str, say: Say) -> Environment:
        raise AssertionError((configuration, project, base, say))

    def prepared(self, configuration: RunConfiguration, project: Path, base: str) -> Environment | None:
        raise AssertionError((configuration, project, base))

    def start(self, job: Job, environment: Environment) -> Mapping[str, str]:
        raise AssertionError((job, environment))

    def state(self, job: Job) -> State:
        assert job.run_id == "r1"
        self.asked += 1
        return self.answer()

    def cancel(self, job: Job) -> None:
        assert job.run_id == "r1"
        self.on_cancel()

    def learnt(self, console: str) -> Mapping[str, str]:
        first, _, name = console.partition("\n")[0].partition(" ")
        return {"application": name} if first == "application" else {}

    def clean(self, job: Job) -> None:
        assert job.run_id == "r1"
        self.cleaned += 1


class Bench:
    """A job in a run folder, and a follower of it."""

    def __init__(self, folder: Path, host: Host, clock: Clock, **configuration: object) -> None:
        self.run, self.home, self.local_home = folder / "runs" / "r 1", folder / "their home", folder / "my home"
        self.run.mkdir(parents=True)
        self.home.mkdir()
        (self.run / "runner.sh").touch()
        target = ComputeTarget(name="t", type="remote-docker", address="box")
        job = Job(
            run_id="r1",
            target=target,
            configuration=RunConfiguration.model_validate({"target": "t", **configuration}),
            folder=str(self.run),
            command="",
            variables={},
            home=str(self.home),
            home_source=str(self.home),
            local_home=str(self.local_home),
        )
        self.client, self.launcher, self.clock = Client(), FakeLauncher(target, host), clock
        self.heard: list[bytes] = []
        self.told: list[str] = []
        self.follower = Follower(cast("Any", self.client), job, self.launcher, self.heard.append, self.told.append)

    def end(self, text: bytes, code: int) -> None:
        self.log(text)
        self.exit(code)

    def log(self, text: bytes) -> None:
        with (self.run / "log").open("ab") as log:
            log.write(text)

    def exit(self, code: int) -> None:
        (self.run / "exit").write_text(f"{code}\n")

    @property
    def console(self) -> bytes:
        return b"".join(self.heard)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    passing = Clock()
    monkeypatch.setattr(follow, "time", passing)
    return passing


@pytest.fixture
def bench(tmp_path: Path, clock: Clock) -> Bench:
    return Bench(tmp_path, LocalHost(), clock)


@pytest.fixture
def remote(tmp_path: Path, clock: Clock) -> Bench:
    return Bench(tmp_path, Elsewhere(), clock)


def connection(bench: Bench) -> Elsewhere:
    assert isinstance(bench.launcher.host, Elsewhere)
    return bench.launcher.host


def cut(bench: Bench, *, lost: bool) -> None:
    connection(bench).cut = lost


# --- the console -----------------------------------------------------------------------------------------------------


def test_a_job_that_has_ended(bench: Bench) -> None:
    bench.log(b"one\ntwo")
    bench.exit(0)
    assert bench.follower.follow() == Outcome("FINISHED", 0, "finished")
    assert bench.console == b"one\ntwo"
    assert bench.client.consoles == [b"one\ntwo"]
    assert bench.client.status == "FINISHED"
    assert bench.client.tags == {
        f"{TAG}exit_code": "0",
        f"{TAG}seconds": "2.5",
        f"{TAG}exit_reason": "finished",
    }
    assert bench.client.done[0] == "console"
    assert bench.client.done[-1] == "tag exit_reason", "it says that all is done"
    assert bench.launcher.cleaned == 1
    assert not bench.run.exists()


def test_the_console_is_live(bench: Bench, clock: Clock) -> None:
    heard_at: list[tuple[float, bytes]] = []
    bench.follower.write = lambda text: heard_at.append((clock.now - 1000, text))
    bench.log(b"begun\n")
    clock.after(3, lambda: bench.log(b"half\n"))
    clock.after(6, lambda: bench.end(b"over\n", 3))
    assert bench.follower.follow() == Outcome("FAILED", 3, "exit code 3")
    assert heard_at == [(0, b"begun\n"), (3, b"half\n"), (6, b"over\n")]


def test_nothing_is_lost_of_a_long_console_whose_characters_are_cut_in_two(bench: Bench) -> None:
    text = b"x" + "é".encode() * CHUNK_BYTES + b"the end"
    bench.log(text)
    bench.exit(5)
    assert bench.follower.follow() == Outcome("FAILED", 5, "exit code 5")
    assert [len(part) for part in bench.heard] == [CHUNK_BYTES, CHUNK_BYTES, 8]
    assert bench.console == text
    assert bench.client.consoles[-1] == text


def test_a_console_of_exactly_one_piece(bench: Bench) -> None:
    bench.log(b"x" * CHUNK_BYTES)
    bench.exit(0)
    assert bench.follower.follow().status == "FINISHED"
    assert len(bench.console) == CHUNK_BYTES


def test_a_console_with_bytes_that_are_no_text_and_no_line(bench: Bench) -> None:
    bench.log(b"\n\n\xff\0exit 9\nrunning")
    bench.exit(0)
    bench.follower.follow()
    assert bench.console == b"\n\n\xff\0exit 9\nrunning"


def test_a_job_that_writes_nothing_has_no_console(bench: Bench, clock: Clock) -> None:
    clock.after(40, lambda: bench.exit(0))
    assert bench.follower.follow().status == "FINISHED"
    assert bench.client.consoles == []


def test_the_run_shows_the_console_so_far_and_what_it_tells(bench: Bench, clock: Clock) -> None:
    bench.log(b"application application_1_2\n")
    seen: list[Any] = []
    clock.after(35, lambda: seen.append((list(bench.client.consoles), dict(bench.client.tags))))
    clock.after(70, lambda: bench.exit(0))
    bench.follower.follow()
    assert seen == [([b"application application_1_2\n"], {f"{TAG}application": "application_1_2"})]


def test_a_follower_begins_with_the_whole_log_though_another_has_seen_it(bench: Bench) -> None:
    bench.log(b"one\n")
    assert bench.follower.poll() is None
    bench.log(b"two\n")
    bench.exit(0)
    again = dataclasses.replace(bench.follower, _offset=0)
    bench.heard.clear()
    again.follow()
    assert bench.console == b"one\ntwo\n"


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_job_that_disappears(bench: Bench) -> None:
    bench.log(b"begun\n")
    bench.launcher.answer = lambda: State(False)
    assert bench.follower.follow() == Outcome("FAILED", None, "the job disappeared")
    assert bench.client.tags[f"{TAG}exit_code"] == "unknown"
    assert bench.client.consoles == [b"begun\n"]


def test_a_job_whose_target_knows_why_it_ended(bench: Bench) -> None:
    bench.launcher.answer = lambda: State(False, 137, "out of memory: raise memory")
    assert bench.follower.follow() == Outcome("FAILED", 137, "out of memory: raise memory")


def test_a_job_whose_folder_is_gone(bench: Bench) -> None:
    (bench.run / "runner.sh").unlink()
    bench.run.rmdir()
    bench.launcher.answer = lambda: State(False, None, "the container is gone")
    assert bench.follower.follow() == Outcome("FAILED", None, "the container is gone")


@pytest.mark.parametrize("impatient", [False, True])
def test_a_job_that_ends_between_the_two_questions(bench: Bench, *, impatient: bool) -> None:
    def ends() -> State:
        bench.log(b"y" * (CHUNK_BYTES + 10))
        bench.exit(6)
        return State(False, 1, "the container ended")

    bench.launcher.answer = ends
    if impatient:
        outcome = bench.follower.finish_if_ended()
        assert bench.client.consoles == [b"y" * (CHUNK_BYTES + 10)]
    else:
        outcome = bench.follower.follow()
        assert len(bench.console) == CHUNK_BYTES + 10
    assert outcome == Outcome("FAILED", 6, "exit code 6")


def test_an_exit_code_that_is_about_to_be_written(bench: Bench, clock: Clock) -> None:
    bench.log(b"one")
    (bench.run / "exit").touch()
    clock.after(2, lambda: bench.exit(3))
    assert bench.follower.follow() == Outcome("FAILED", 3, "exit code 3")


def test_a_job_that_writes_is_not_asked_after(bench: Bench, clock: Clock) -> None:
    bench.log(b"begun\n")
    for second in range(60):
        clock.after(second, lambda: bench.log(b"tick\n"))
    clock.after(59.5, lambda: bench.exit(0))
    bench.follower.follow()
    assert bench.launcher.asked == 0


def test_a_silent_job_is_asked_after_every_few_seconds(bench: Bench, clock: Clock) -> None:
    clock.after(59.5, lambda: bench.exit(0))
    bench.follower.follow()
    assert bench.launcher.asked == 12


def test_a_program_that_ended_its_run_as_failed_is_believed(bench: Bench) -> None:
    bench.client.status = "FAILED"
    bench.exit(0)
    assert bench.follower.follow() == Outcome("FAILED", 0, "the program ended its run as failed")
    assert bench.client.status == "FAILED"


def test_a_program_that_ended_its_run_as_finished_and_failed_afterwards(bench: Bench) -> None:
    bench.client.status = "FINISHED"
    bench.exit(1)
    assert bench.follower.follow() == Outcome("FAILED", 1, "exit code 1")
    assert bench.client.status == "FAILED"


def test_what_is_nested_ends_too(bench: Bench) -> None:
    bench.client.children = ["c1", "c2"]
    bench.exit(1)
    bench.follower.follow()
    assert {"c1 FAILED", "c2 FAILED", "r1 FAILED"} <= set(bench.client.done)


def test_a_run_that_somebody_else_has_followed_to_its_end(bench: Bench) -> None:
    bench.exit(0)
    bench.client.status = "FAILED"
    bench.client.tags = {f"{TAG}exit_reason": "exit code 9", f"{TAG}exit_code": "9"}
    assert bench.follower.follow() == Outcome("FAILED", 9, "exit code 9")
    assert bench.client.done == []
    assert bench.launcher.cleaned == 0
    bench.client.tags[f"{TAG}exit_code"] = "unknown"
    assert bench.follower.follow() == Outcome("FAILED", None, "exit code 9")


def test_sweeping_leaves_a_job_alone_that_goes_on(bench: Bench) -> None:
    bench.log(b"x" * (2 * CHUNK_BYTES + 5))
    assert bench.follower.finish_if_ended() is None
    assert bench.client.done == []
    assert bench.run.exists()


def test_sweeping_ends_what_is_over_with_its_whole_console(bench: Bench) -> None:
    text = b"x" * (2 * CHUNK_BYTES + 5)
    bench.log(text)
    bench.exit(4)
    assert bench.follower.finish_if_ended() == Outcome("FAILED", 4, "exit code 4")
    assert bench.client.consoles == [text]
    assert bench.heard == []


# --- cancelled -------------------------------------------------------------------------------------------------------


def test_a_job_that_is_cancelled(bench: Bench) -> None:
    bench.log(b"begun\n")
    bench.launcher.on_cancel = lambda: bench.exit(143)
    outcome = bench.follower.cancel()
    assert (outcome.status, outcome.code) == ("KILLED", 143)
    assert outcome.reason.startswith("cancelled by ")
    assert "@" in outcome.reason
    assert bench.client.status == "KILLED"
    assert bench.client.consoles == [b"begun\n"]


def test_children_of_a_cancelled_run_are_killed_like_it(bench: Bench) -> None:
    bench.client.children = ["c1"]
    bench.launcher.on_cancel = lambda: bench.exit(143)
    bench.follower.cancel()
    assert "c1 KILLED" in bench.client.done


def test_a_cancel_that_reached_nobody_does_not_change_how_the_job_ends(remote: Bench) -> None:
    def refuse() -> None:
        raise LOST

    remote.launcher.on_cancel = refuse
    with pytest.raises(EnvironmentProblem, match="cannot be reached"):
        remote.follower.cancel()
    remote.exit(0)
    assert remote.follower.follow() == Outcome("FINISHED", 0, "finished")


# --- the connection --------------------------------------------------------------------------------------------------


def test_a_connection_that_is_lost_and_comes_back(remote: Bench, clock: Clock) -> None:
    remote.log(b"one\n")
    clock.after(2, lambda: cut(remote, lost=True))
    clock.after(30, lambda: remote.log(b"two\n"))
    clock.after(590, lambda: cut(remote, lost=False))
    clock.after(600, lambda: cut(remote, lost=True))
    clock.after(1190, lambda: cut(remote, lost=False))
    clock.after(1195, lambda: remote.exit(0))
    assert remote.follower.follow() == Outcome("FINISHED", 0, "finished")
    assert remote.console == b"one\ntwo\n"
    assert remote.told == [f"connection lost, trying again: {LOST}", "connected again"] * 2


def test_patience_ends_and_says_how_to_go_on(remote: Bench, clock: Clock) -> None:
    clock.after(10, lambda: cut(remote, lost=True))
    with pytest.raises(EnvironmentProblem) as problem:
        remote.follower.follow()
    assert str(problem.value) == f"{LOST} The job may go on there: workload-forecast logs -f r1"
    assert 600 <= clock.now - 1010 <= 605
    assert remote.client.status == "RUNNING"
    assert remote.client.done == []
    assert remote.run.exists()

    cut(remote, lost=False)
    remote.log(b"late\n")
    remote.exit(0)
    again = Follower(remote.follower.client, remote.follower.job, remote.launcher, remote.heard.append, print)
    assert again.follow().status == "FINISHED"
    assert remote.console == b"late\n"


def test_a_job_is_not_taken_for_lost_because_the_connection_is(remote: Bench) -> None:
    cut(remote, lost=True)
    with pytest.raises(EnvironmentProblem):
        remote.follower.finish_if_ended()
    assert remote.client.done == []


def test_a_connection_that_is_lost_on_the_way_home_leaves_the_run_to_the_next_follower(
    remote: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise LOST

    leave_results(remote)
    with monkeypatch.context() as broken:
        broken.setattr(connection(remote), "get", lose)
        with pytest.raises(EnvironmentProblem, match="cannot be reached"):
            remote.follower.follow()
    assert remote.client.status == "RUNNING"
    assert f"{TAG}exit_reason" not in remote.client.tags
    assert dataclasses.replace(remote.follower, _offset=0).follow().status == "FINISHED"
    assert len(connection(remote).fetched) == 2


class CountingTunnel:
    def __init__(self) -> None:
        self.opened, self.closed, self.fails = 0, 0, False

    def open(self) -> int:
        self.opened += 1
        if self.fails:
            raise LOST
        return 40123

    def close(self) -> None:
        self.closed += 1


def test_the_tunnel_is_kept_open_while_the_job_runs_and_closed_after_it(remote: Bench, clock: Clock) -> None:
    tunnel = CountingTunnel()
    remote.follower.tunnel = cast("Tunnel", tunnel)
    clock.after(10, lambda: setattr(tunnel, "fails", True))
    clock.after(20, lambda: setattr(tunnel, "fails", False))
    clock.after(30, lambda: remote.exit(0))
    assert remote.follower.follow().status == "FINISHED"
    assert remote.told[0].startswith("connection lost")
    assert (tunnel.opened, tunnel.closed) == (31, 1)


# --- results ---------------------------------------------------------------------------------------------------------


def leave_results(bench: Bench) -> None:
    """Two new results, one that was there before the job, and what is nobody's business."""
    for name, age in (("old", -100), ("deep/new ü", 100), ("line\nbreak", 100), (".hidden", 100), ("a/.part/x", 100)):
        path = bench.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        began = (bench.run / "runner.sh").stat().st_mtime
        os.utime(path, (began + age, began + age))
    bench.exit(0)


def test_what_is_new_comes_home(remote: Bench) -> None:
    leave_results(remote)
    remote.follower.follow()
    there = {str(path.relative_to(remote.local_home)) for path in remote.local_home.rglob("*") if path.is_file()}
    assert there == {"deep/new ü", "line\nbreak"}
    assert (remote.local_home / "deep" / "new ü").read_text() == "deep/new ü"
    assert remote.told == [f"results: 2 files from box to {remote.local_home}"]


def test_results_of_a_job_that_failed_come_home_too(remote: Bench) -> None:
    leave_results(remote)
    remote.exit(1)
    remote.follower.follow()
    assert len(connection(remote).fetched) == 2


def test_no_results_are_no_news(remote: Bench) -> None:
    remote.exit(0)
    remote.follower.follow()
    assert remote.told == []
    assert not remote.local_home.exists()


@pytest.mark.parametrize(
    ("wanted", "contained", "expected"), [(False, True, 0), ("auto", False, 0), (True, False, 2), ("auto", True, 2)]
)
def test_results_come_where_they_are_wanted(
    tmp_path: Path,
    clock: Clock,
    wanted: object,
    contained: bool,
    expected: int,
) -> None:
    bench = Bench(tmp_path, Elsewhere(), clock, fetchResults=wanted)
    cast("Any", bench.launcher).contained = contained
    leave_results(bench)
    bench.follower.follow()
    assert len(connection(bench).fetched) == expected


def test_results_of_this_machine_are_at_home(bench: Bench) -> None:
    leave_results(bench)
    bench.follower.follow()
    assert not bench.local_home.exists()
