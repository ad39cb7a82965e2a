"""``python -m benchmarks.etl.cluster compare``: a job on a standalone cluster of one worker, and of two.

Every worker has one core, so that two could be twice as fast. Master, workers and driver are processes of this machine,
on the loopback interface; the driver does little but wait.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import pyspark

from benchmarks.command import run as run_command
from benchmarks.etl.data import files_of, make_data, settings_for
from benchmarks.etl.project import reduce_to_hourly
from benchmarks.etl.task import Task
from benchmarks.machine import machine, machine_line
from benchmarks.measuring import ROOT
from workload_forecast.engines import open_engine
from workload_forecast.errors import EnvironmentProblem
from workload_forecast.steps.generate import FILES

_DEPLOY = "org.apache.spark.deploy"
_START_S = 60.0


@click.group()
def cli() -> None:
    """Measure what a second worker brings."""


@cli.command()
@click.option("--gigabytes", default=2.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1), help="Of each, taking turns.")
@click.option("--workspace", default="outputs/benchmark-etl", show_default=True, help="Folder; the data is kept.")
@click.option("--json", "output", default="", help="File for the figures as JSON.")
def compare(gigabytes: float, runs: int, workspace: str, output: str) -> None:
    """Run the same job with one worker and with two, in turns."""
    root = Path(workspace).absolute() / f"{gigabytes:g}gb-390-sessions17-0"
    size = make_data(settings_for(gigabytes, 390, "sessions17"), root).bytes
    files = files_of(root)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(runs):
        for workers, found in seconds.items():
            found.append(run_on(workers, str(root / FILES), files))
            click.echo(f"{workers} worker(s): {found[-1]:.1f} s", err=True)
    medians = {workers: statistics.median(found) for workers, found in seconds.items()}
    facts = machine(("pyspark",))
    if output:
        content = {"machine": facts, "bytes": size, "seconds": seconds, "speed_up": medians[1] / medians[2]}
        Path(output).write_text(json.dumps(content, indent=2), encoding="utf-8")
    click.echo(f"| workers of one core | {size / 1e9:.2f} GB, median s | speed-up |\n|--:|--:|--:|")
    for workers, median in medians.items():
        click.echo(f"| {workers} | {median:.1f} | {medians[1] / median:.2f} |")
    click.echo("\n" + machine_line(facts))


@cli.command(hidden=True)
@click.argument("task")
@click.argument("master")
def drive(task: str, master: str) -> None:
    """Do the job on a cluster and print its seconds, from the application's first job to its last."""
    options = {"spark.master": master, "spark.executor.memory": "3g", "spark.driver.memory": "2g"}
    with open_engine("spark", options) as engine:
        begun = time.perf_counter()
        reduce_to_hourly(Task.read(Path(task)), engine)
        print(time.perf_counter() - begun)


def run_on(workers: int, pattern: str, files: Sequence[str]) -> float:
    """Start a cluster, run the job on it, and return the job's seconds.

    Raises:
        EnvironmentProblem: Spark does not start, or the job fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task.json"
        Task(pattern, files, "sessions17", folder).write(task)
        with _cluster(workers, Path(folder)) as master:
            command = [sys.executable, "-m", "benchmarks.etl.cluster", "drive", str(task), master]
            told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if told.returncode:
            raise EnvironmentProblem(f"the job failed: {told.stderr.strip()[-500:]}")
        return float(told.stdout.split()[-1])


@contextmanager
def _cluster(workers: int, folder: Path) -> Iterator[str]:
    """Start a master and workers on free ports; all of them end with the block."""
    port = _free_port()
    url = f"spark://127.0.0.1:{port}"
    shown = ("--host", "127.0.0.1", "--webui-port", "0")
    with ExitStack() as stack:
        stack.enter_context(_process(folder / "master.log", f"{_DEPLOY}.master.Master", *shown, "--port", str(port)))
        _wait_for(folder / "master.log", "I have been elected leader")
        for number in range(workers):
            log, own = folder / f"worker-{number}.log", ("--cores", "1", "--memory", "3g", "--work-dir", str(folder))
            stack.enter_context(_process(log, f"{_DEPLOY}.worker.Worker", *shown, *own, url))
            _wait_for(log, "Successfully registered with master")
        yield url


@contextmanager
def _process(log: Path, *command: str) -> Iterator[None]:
    spark_home = Path(pyspark.__file__).parent
    environment = {**os.environ, "SPARK_HOME": str(spark_home), "SPARK_LOCAL_IP": "127.0.0.1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(spark_home / "bin" / "spark-class"), *command], env=environment, stdout=out, stderr=out
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for(log: Path, text: str) -> None:
    limit = time.monotonic() + _START_S
    while text not in log.read_text(encoding="utf-8", errors="replace"):
        if time.monotonic() > limit:
            raise EnvironmentProblem(f"Spark did not start: see {log}.")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    run_command(cli)
