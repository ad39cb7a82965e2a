"""A Spark standalone cluster of the tests' own on the loopback: a master and one-core workers, run by a plain user."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.targets.machines.process import MachineError, Server, check, fetch, free_port, require

HOST = "127.0.0.1"
CORES = 1
MEMORY = "1500m"


@dataclass(frozen=True)
class SparkCluster:
    """A running cluster.

    Attributes:
        master_url: for ``spark-submit --master``.
        spark_home: holds ``bin/spark-submit``; every user can read it.
        status_url: where the master tells of its workers and applications.
        master: its process.
        worker_servers: the workers' processes.
    """

    master_url: str
    spark_home: Path
    status_url: str
    master: Server
    worker_servers: tuple[Server, ...]

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers that run."""
        return [server.pid for server in self.worker_servers if server.running]

    def kill_worker(self, index: int) -> None:
        """End a worker and its executors at once, as a machine does that loses power."""
        self.worker_servers[index].crash()

    def start_worker(self, index: int) -> None:
        """Bring a killed worker back, and wait until the master knows it."""
        self.worker_servers[index].start(wait=False)
        self.worker_servers[index].wait_until_ready()

    def status(self) -> dict[str, Any]:
        """What the master says of ``workers``, ``activeapps`` and ``completedapps``."""
        answer = fetch(self.status_url)
        if answer is None:
            raise MachineError(f"the Spark master does not answer at {self.status_url}")
        told: dict[str, Any] = json.loads(answer)
        return told

    def active_applications(self) -> list[str]:
        """The ids of the applications that run or wait."""
        return [str(application["id"]) for application in self.status()["activeapps"]]


def copy_spark(folder: Path) -> Path:
    """Give the folder a ``spark`` made of the installed PySpark, and return it: a SPARK_HOME that every user can read.

    A copy, because an interpreter's own folder is often closed to other users.
    """
    import pyspark

    source = Path(pyspark.__file__).parent
    home = folder / "spark"
    shutil.copytree(source, home, copy_function=_link_or_copy, ignore=shutil.ignore_patterns("__pycache__", "examples"))
    check(["chmod", "--recursive", "a+rX", str(home)])
    (home / "conf").mkdir()
    # what the administrator of a cluster would set; whoever submits there needs no settings for its network
    (home / "conf" / "spark-env.sh").write_text(f"SPARK_LOCAL_IP={HOST}\nSPARK_PUBLIC_DNS={HOST}\n")
    return home


def _link_or_copy(source: str, target: str) -> str:
    """The jars are half a gigabyte: a second name where the file system allows it."""
    if Path(source).stat().st_mode & 0o004:
        try:
            os.link(source, target)
        except OSError:  # another file system
            return shutil.copy2(source, target)
        return target
    return shutil.copy2(source, target)


@contextmanager
def spark_cluster(folder: Path, user: str, spark_home: Path, workers: int = 2) -> Iterator[SparkCluster]:
    """Run a cluster until the block ends.

    Args:
        folder: where logs and the workers' files go; the user can enter it (``short_folder``).
        user: who runs it.
        spark_home: a Spark that the user can read, from :func:`copy_spark`.
        workers: how many, each with one core and 1.5 GB.

    Raises:
        MachineError: not root, no Java, or a part does not start; with the end of its log.
    """
    require("java", "setpriv", "/usr/bin/python3")
    for name in ("logs", "work", "local"):
        (folder / name).mkdir()
        shutil.chown(folder / name, user, user)
    port, ui = free_port(), free_port()
    status = f"http://{HOST}:{ui}/json/"
    start = [str(spark_home / "bin" / "spark-class")]
    at = ["--host", HOST, "--port"]
    environment = _environment(folder, spark_home)
    master = Server(
        "the Spark master",
        [*start, "org.apache.spark.deploy.master.Master", *at, str(port), "--webui-port", str(ui)],
        folder / "logs" / "master.log",
        lambda: fetch(status) is not None,
        environment,
        user,
    )
    parts = []
    for number in range(workers):
        own = free_port()
        options = ["--webui-port", "0", "--cores", str(CORES), "--memory", MEMORY, "--work-dir", str(folder / "work")]
        parts.append(
            Server(
                f"Spark worker {number}",
                [*start, "org.apache.spark.deploy.worker.Worker", *at, str(own), *options, f"spark://{HOST}:{port}"],
                folder / "logs" / f"worker-{number}.log",
                partial(_is_registered, status, own),
                environment,
                user,
            )
        )
    cluster = SparkCluster(f"spark://{HOST}:{port}", spark_home, status, master, tuple(parts))
    with ExitStack() as stack:
        stack.callback(master.stop)
        master.start()
        for worker in parts:
            stack.callback(worker.stop)
            worker.start(wait=False)
        for worker in parts:
            worker.wait_until_ready()
        yield cluster


def _environment(folder: Path, spark_home: Path) -> dict[str, str]:
    """Only what the daemons need: nothing of the caller's Spark or Java settings."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "SPARK_HOME": str(spark_home),
        "SPARK_DAEMON_MEMORY": "384m",
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "PYSPARK_PYTHON": "/usr/bin/python3",
    }


def _is_registered(status_url: str, port: int) -> bool:
    """Whether the master counts on the worker of this port."""
    answer = fetch(status_url)
    known = json.loads(answer)["workers"] if answer else []
    return any(worker["port"] == port and worker["state"] == "ALIVE" for worker in known)
