"""All machines at once, for work by hand: ``python -m tests.targets.machines``, as root; they stop with Ctrl-C."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

from tests.targets.machines.base_image import base_image
from tests.targets.machines.docker import docker_engine
from tests.targets.machines.process import short_folder
from tests.targets.machines.spark import copy_spark, spark_cluster
from tests.targets.machines.ssh import ssh_server
from tests.targets.machines.tracking import tracking_server

T = TypeVar("T")
IMAGE = "python:3.11-slim-bookworm"


class Clock:
    """Prints what is there, with the seconds since the line before."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def line(self, text: str) -> None:
        now = time.monotonic()
        print(f"{now - self.last:6.1f} s  {text}", flush=True)
        self.last = now


def main() -> None:
    clock = Clock()
    with ExitStack() as stack:

        def enter(machine: AbstractContextManager[T]) -> T:
            return stack.enter_context(machine)

        engine = enter(docker_engine(enter(short_folder("docker"))))
        clock.line(f"engine: DOCKER_HOST={engine.host}")
        clock.line(f"image: {base_image(engine, IMAGE)}")
        spark_folder = enter(short_folder("spark"))
        home = copy_spark(spark_folder)
        clock.line(f"Spark: SPARK_HOME={home}")
        ssh = enter(ssh_server(enter(short_folder("ssh")), [engine.group], {"DOCKER_HOST": engine.host}))
        clock.line(f"SSH: ssh -F {ssh.config_file} {ssh.alias}")
        cluster = enter(spark_cluster(spark_folder, ssh.user, home))
        clock.line(f"cluster: {cluster.master_url}, {cluster.status_url}")
        tracking = enter(tracking_server(enter(short_folder("tracking"))))
        clock.line(f"tracking: MLFLOW_TRACKING_URI={tracking.uri}")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            clock.line("stopping")
    clock.line("stopped")


if __name__ == "__main__":
    main()
