"""What a Spark cluster's head node has: its Pythons, Javas and Sparks, YARN, told by one script."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.targets.files import ComputeTarget
from workload_forecast.targets.hosts import Host, script

_PROBE = Path(__file__).with_name("probe.sh")


@dataclass(frozen=True)
class Python:
    """An interpreter of the head node."""

    path: str
    version: str
    makes_venv: bool


@dataclass(frozen=True)
class Java:
    """A Java of the head node; ``source`` says where it was found, a ``spark-submit`` meaning its spark-env.sh."""

    source: str
    home: str
    version: str


@dataclass(frozen=True)
class Spark:
    """A Spark of the cluster; ``home`` is empty where spark-submit is a script that alone knows it."""

    submit: str
    home: str
    version: str
    master: str = ""


@dataclass(frozen=True)
class ClusterFacts:
    """What the probe found. Sizes in KiB; ``store`` is Hadoop's default file system."""

    home: str = ""
    path: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    cores: str = ""
    memory: str = ""
    disk: str = ""
    pythons: tuple[Python, ...] = ()
    uv: str = ""
    conda: str = ""
    yarn: str = ""
    javas: tuple[Java, ...] = ()
    sparks: tuple[Spark, ...] = ()
    hadoop: str = ""
    store: str = ""


def probe(host: Host, target: ComputeTarget) -> ClusterFacts:
    """Look at the head node.

    Raises:
        EnvironmentProblem: it cannot be reached, or is no machine with bash and the usual tools.
    """
    done = script(host, _PROBE.read_text(), target.python_location, target.spark_submit_location, seconds=120)
    return parse(done.output, f"{host.label} ({done.last_line})" if done.error else host.label)


def parse(text: str, label: str) -> ClusterFacts:
    """Return the facts in what the probe wrote.

    Raises:
        EnvironmentProblem: it did not come to its end.
    """
    rows: dict[str, list[list[str]]] = defaultdict(list)
    for line in text.splitlines():
        name, *values = line.split("\t")
        rows[name].append(values)
    if "end" not in rows:
        raise EnvironmentProblem(f"{label} did not tell what it has: it must be a Linux machine with bash.")
    tools = dict(rows["tool"])
    single = {name: rows[name][0] for name in ("home", "path", "machine", "hadoop") if rows[name]}
    pythons = {path: Python(path, version, made == "True") for path, version, made in rows["python"]}
    return ClusterFacts(
        home=single["home"][0],
        path=single["path"][0],
        variables=dict(rows["variable"]),
        **dict(zip(("cores", "memory", "disk"), single["machine"], strict=True)),
        pythons=tuple(pythons.values()),
        **tools,
        javas=tuple(Java(*values) for values in rows["java"]),
        sparks=tuple(Spark(*values) for values in rows["spark"]),
        **dict(zip(("hadoop", "store"), single.get("hadoop", ()), strict=False)),
    )


def series(version: str) -> tuple[int, int]:
    """Return major and minor version; vendors append parts of their own, as in ``3.3.1.5.0-1``."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def java_series(version: str) -> int:
    """Return 8 for ``1.8.0_392`` and 17 for ``17.0.15``."""
    numbers = re.match(r"(?:1\.)?(\d+)", version)
    return int(numbers[1]) if numbers else 0
