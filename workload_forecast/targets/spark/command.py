"""The shell text that a job on a Spark cluster runs, made of MLproject's own command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from workload_forecast.errors import SettingsError
from workload_forecast.targets.contract import Job
from workload_forecast.targets.data import SETTINGS
from workload_forecast.targets.files import SparkDependencies
from workload_forecast.targets.spark.environment import PACKAGED_JAVA
from workload_forecast.targets.spark.facts import ClusterFacts

DRIVER = Path(__file__).with_name("driver.py")

#: ``python``'s own options but for these have no place in a spark-submit.
_PYTHON = re.compile(r"python3?(?:\s+-u)*\s+(?=-m\s|[^-\s])")
_QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.", re.DOTALL)
_COMPOUND = re.compile(r"[;&|<>()`\n]")

#: Name of the packed environment on a cluster's nodes.
_UNPACKED = "environment"

_UTF8 = "[[ $(locale charmap 2>/dev/null) == UTF-8 ]] || export LC_ALL=C.UTF-8  # or Java loses letters of file names\n"

# the driver writes on its node, and the cluster hands its console over when it has ended
_CLUSTER_LOG = """code=$?
id=$(grep -o 'application_[0-9]*_[0-9]*' {log} | tail -n 1)
[[ -z $id ]] || {yarn} logs -applicationId "$id" -am ALL
exit "$code"
"""


def spark_arguments(command: str) -> str:
    """Return the shell text after ``python``, which says module or script and its arguments.

    Raises:
        SettingsError: spark-submit cannot run such a command.
    """
    text = command.strip()
    start = _PYTHON.match(text)
    if start is None:
        raise SettingsError(
            f"spark-submit runs `python -m MODULE …` or `python SCRIPT …`, and the entry point's command is "
            f"`{shlex.join(text.split()[:3])} …`: set framework to python in the run configuration."
        )
    if _COMPOUND.search(_QUOTED.sub("", text)):
        raise SettingsError(
            "the entry point's command is more than one program or has redirections, which spark-submit cannot run: "
            "make it one `python -m MODULE …`, or set framework to python in the run configuration."
        )
    return text[start.end() :]


def python_command(job: Job, environment: str, facts: ClusterFacts) -> str:
    """Return the text that runs the job's command as it is, in the environment."""
    return f"{_UTF8}{_path(environment, facts)}{job.command}\n"


def submit_command(job: Job, environment: str, plan: Mapping[str, str], facts: ClusterFacts) -> str:
    """Return the text that hands the job to spark-submit.

    Args:
        job: its ``command`` is that of MLproject.
        environment: folder of the Python environment.
        plan: the environment's facts, see ``SparkLauncher.prepare``.
        facts: of the head node.

    Raises:
        SettingsError: spark-submit cannot run the command.
    """
    own = not plan["spark_submit"]
    submit = f"{environment}/bin/spark-submit" if own else plan["spark_submit"]
    arguments = spark_arguments(job.command)
    variables = _variables(job, environment, plan, facts)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    if own:  # the cluster's settings belong to another Spark
        home = f"homes=({shlex.quote(environment)}/lib/python3*/site-packages/pyspark)\n"
        exports += f"unset SPARK_CONF_DIR\n{home}export SPARK_HOME=${{homes[0]}}\n"
    words = [submit, *_options(job, environment, plan), f"{job.folder}/{DRIVER.name}", job.folder]
    cluster = job.target.yarn_deploy_mode == "cluster"
    return "".join(
        [
            _UTF8,
            _path(environment, facts),
            exports,
            f"set -- {arguments}\n",
            f"printf '%s\\0' \"$@\" >{shlex.quote(job.folder + '/arguments')}\n",
            f"{'' if cluster else 'exec '}{shlex.join(words)}\n",
            _CLUSTER_LOG.format(log=shlex.quote(f"{job.folder}/log"), yarn=shlex.quote(facts.yarn)) if cluster else "",
        ]
    )


def application_id(log: str) -> str | None:
    """Return the id of the last Spark application that a console tells of, or None.

    Our driver tells it in a line of its own; without that (the driver has not come so far, or runs on another node)
    it is looked for in what Spark writes.
    """
    told = re.findall(r"^workload_forecast: spark application (\S+)$", log, re.MULTILINE)
    found = told or re.findall(r"\b(application_\d+_\d+|app-\d{14}-\d{4})\b", log)
    return found[-1] if found else None


def _path(environment: str, facts: ClusterFacts) -> str:
    return f"export PATH={shlex.quote(environment + '/bin')}:$PATH:{shlex.quote(facts.path)}\n"


def _variables(job: Job, environment: str, plan: Mapping[str, str], facts: ClusterFacts) -> dict[str, str]:
    """Return what spark-submit has to find in its environment; the run configuration's own words win."""
    java = plan["java_home"]
    found = {
        **facts.variables,
        "SPARK_HOME": plan["spark_home"],
        "JAVA_HOME": f"{environment}/java" if java == PACKAGED_JAVA else java,
        "HADOOP_CONF_DIR": facts.variables.get("HADOOP_CONF_DIR", facts.hadoop),
        "PYSPARK_PYTHON": "" if plan["packed"] else f"{environment}/bin/python",
    }
    return {name: value for name, value in found.items() if value and name not in job.variables}


def _options(job: Job, environment: str, plan: Mapping[str, str]) -> Iterator[str]:
    asked = SparkDependencies.model_validate_json(plan["spark_options"])
    yarn, cluster = plan["spark_master"] == "yarn", job.target.yarn_deploy_mode == "cluster"
    python = f"{environment}/bin/python"
    remote = f"./{_UNPACKED}/bin/python" if plan["packed"] else python
    configuration = {
        "spark.pyspark.python": remote,
        "spark.pyspark.driver.python": remote if cluster else python,
        **({"spark.yarn.tags": f"workload_forecast,{job.run_id}"} if yarn else {}),
        **(dict(_cluster_settings(job, remote)) if cluster else {}),
        **asked.configuration,
    }
    archives = [f"{environment}/environment.tar.gz#{_UNPACKED}"] if plan["packed"] else []
    if cluster:
        archives.append(f"{job.folder}/code.zip#code")
        yield from ("--files", ",".join(_files(job)))
    yield from ("--master", plan["spark_master"], "--deploy-mode", "cluster" if cluster else "client")
    yield from ("--name", f"workload-forecast-{job.run_id}")
    for name, value in configuration.items():
        yield from ("--conf", f"{name}={value}")
    yield from ("--py-files", f"{job.folder}/code.zip")
    for option, values in (("--packages", asked.packages), ("--repositories", asked.repositories)):
        if values:
            yield from (option, ",".join(values))
    if archives:
        yield from ("--archives", ",".join(archives))


def _cluster_settings(job: Job, python: str) -> Iterator[tuple[str, str]]:
    """Yield what a driver on a node of the cluster needs to be told; nothing of it is secret."""
    yield ("spark.yarn.maxAppAttempts", "1")  # a run is one attempt
    for name, value in {**job.variables, "PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python}.items():
        yield (f"spark.yarn.appMasterEnv.{name}", value)


def _files(job: Job) -> Iterator[str]:
    yield f"{job.folder}/arguments"
    settings = str(PurePosixPath(job.folder) / SETTINGS)
    if settings in job.command:
        yield settings
