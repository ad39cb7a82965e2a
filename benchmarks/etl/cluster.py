"""``python -m benchmarks.etl.cluster compare``: a job on a standalone cluster of one worker, and of two.

Every worker is held to a core of its own, with all that its JVMs do beside the tasks (compiling, collecting garbage):
else a single worker would use the second core too, and a second worker seem to bring less. Master, workers and driver
are processes of this machine, on the loopback interface. The bare job is the control: what a second worker brings to
plain Spark here, where driver and kernel take their part of the same cores.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path

import click
import pyspark
from pyspark.sql import SparkSession

from benchmarks.command import run as run_command
from benchmarks.etl.data import files_of, make_data, settings_for
from benchmarks.etl.project import reduce_to_hourly
from benchmarks.etl.spark_jobs import hourly_by_text
from benchmarks.etl.task import Task
from benchmarks.machine import machine, machine_line
from benchmarks.measuring import ROOT
from workload_forecast.engines import open_engine
from workload_forecast.errors import EnvironmentProblem
from workload_forecast.steps.generate import FILES

#: What is run, by name: its title in the table.
PROJECT, BARE = "project", "bare"
JOBS = {PROJECT: "project, sessions to hourly load", BARE: "bare Spark, split lines"}

_DEPLOY = "org.apache.spark.deploy"
_START_S = 180.0
_MASTER = re.compile(r"Starting Spark master at (spark://\S+)")


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
    seconds: dict[str, dict[int, list[float]]] = {job: {1: [], 2: []} for job in JOBS}
    for _ in range(runs):
        for job, workers in product(JOBS, (1, 2)):
            seconds[job][workers].append(run_on(workers, job, str(root / FILES), files))
            click.echo(f"{JOBS[job]}, {workers} worker(s): {seconds[job][workers][-1]:.1f} s", err=True)
    medians = {job: {n: statistics.median(found) for n, found in of.items()} for job, of in seconds.items()}
    facts = machine(("pyspark",))
    if output:
        content = {"machine": facts, "bytes": size, "seconds": seconds}
        Path(output).write_text(json.dumps(content, indent=2), encoding="utf-8")
    click.echo(f"| job, {size / 1e9:.2f} GB | one worker, median s | two workers | speed-up |\n|---|--:|--:|--:|")
    for job, (one, two) in ((job, (of[1], of[2])) for job, of in medians.items()):
        click.echo(f"| {JOBS[job]} | {one:.1f} | {two:.1f} | {one / two:.2f} |")
    click.echo("\n" + machine_line(facts))


@cli.command(hidden=True)
@click.argument("job", type=click.Choice([*JOBS]))
@click.argument("task")
@click.argument("master")
def drive(job: str, task: str, master: str) -> None:
    """Do a job on a cluster and print its seconds, from its first line to its last; Spark runs already."""
    options = {"spark.master": master, "spark.executor.memory": "3g", "spark.driver.memory": "2g"}
    with open_engine("spark", options) as engine, open_engine("duckdb") as own:
        begun = time.perf_counter()
        if job == PROJECT:
            reduce_to_hourly(Task.read(Path(task)), engine, own)
        else:
            hourly_by_text(SparkSession.active(), Task.read(Path(task)))
        print(time.perf_counter() - begun)


def run_on(workers: int, job: str, pattern: str, files: Sequence[str]) -> float:
    """Start a cluster, run a job of :data:`JOBS` on it, and return the job's seconds.

    Raises:
        EnvironmentProblem: Spark does not start, or the job fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task.json"
        Task(pattern, files, "sessions17", folder).write(task)
        with _cluster(workers, Path(folder)) as master:
            command = [sys.executable, "-m", "benchmarks.etl.cluster", "drive", job, str(task), master]
            told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if told.returncode:
            raise EnvironmentProblem(f"the job failed: {told.stderr.strip()[-500:]}")
        return float(told.stdout.split()[-1])


@contextmanager
def _cluster(workers: int, folder: Path) -> Iterator[str]:
    """Start a master and workers, each on a port that the kernel gives it; all of them end with the block."""
    shown = ("--host", "127.0.0.1", "--webui-port", "0")
    cores = sorted(os.sched_getaffinity(0))  # a container may have others than the first ones
    with ExitStack() as stack:
        stack.enter_context(_process(folder / "master.log", f"{_DEPLOY}.master.Master", *shown, "--port", "0"))
        _wait_for(folder / "master.log", "I have been elected leader")
        url = _MASTER.findall((folder / "master.log").read_text(encoding="utf-8", errors="replace"))[0]
        for number in range(workers):
            core = cores[number % len(cores)]
            log, own = folder / f"worker-{number}.log", ("--cores", "1", "--memory", "3g", "--work-dir", str(folder))
            stack.enter_context(_process(log, f"{_DEPLOY}.worker.Worker", *shown, *own, url, core=core))
            _wait_for(log, "Successfully registered with master")
        yield url


@contextmanager
def _process(log: Path, *command: str, core: int | None = None) -> Iterator[None]:
    """Run one of Spark's classes while the block runs; with a core, all its threads and children stay on it."""
    spark_home = Path(pyspark.__file__).parent
    environment = {**os.environ, "SPARK_HOME": str(spark_home), "SPARK_LOCAL_IP": "127.0.0.1"}
    held = () if core is None else ("taskset", "--cpu-list", str(core))
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*held, str(spark_home / "bin" / "spark-class"), *command], env=environment, stdout=out, stderr=out
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


if __name__ == "__main__":
    run_command(cli)
