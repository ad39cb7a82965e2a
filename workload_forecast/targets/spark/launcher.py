"""A Spark cluster behind ssh (YARN or standalone): the head node makes the environment and starts spark-submit.

Nothing has to be installed there for us. The job is a process of the head node that outlives our connection.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.contract import Check, Environment, Job, Launcher, Say, State
from workload_forecast.targets.dependencies import environment_hash, read_dependencies
from workload_forecast.targets.files import RunConfiguration, SparkDependencies, spark_dependencies
from workload_forecast.targets.hosts import Completed, checked, script, told
from workload_forecast.targets.job import as_exports
from workload_forecast.targets.spark.command import DRIVER, application_id, python_command, submit_command
from workload_forecast.targets.spark.environment import Plan, Unfit, Unsuited, choose
from workload_forecast.targets.spark.facts import ClusterFacts, probe
from workload_forecast.targets.tracking import credentials

__all__ = ["SparkLauncher", "application_id"]

_BUILD = Path(__file__).with_name("build.sh")
_PROCESS = Path(__file__).with_name("process.sh")
#: What the build script says of an environment that somebody else has just built.
_THERE = 10

_READY = "[[ -e $1/.ready && -x $1/bin/python ]]"
_PACK = """
import sys, zipfile
from pathlib import Path
root = Path(sys.argv[1])
with zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as packed:
    for path in sorted(root.rglob("*")):
        if path.is_file():
            packed.write(path, path.relative_to(root))
"""
_REACHABLE = 'timeout 3 bash -c \'exec 3<>"/dev/tcp/$0/$1"\' "$1" "$2"'
_NODES = 'timeout 20 "$1" node -list 2>/dev/null | sed -n "s/^Total Nodes:\\([0-9]*\\).*/\\1/p"'


class SparkLauncher(Launcher):
    """See :class:`~workload_forecast.targets.contract.Launcher`."""

    contained: ClassVar[bool] = False

    @cached_property
    def _facts(self) -> ClusterFacts:
        return probe(self.host, self.target)

    def facts(self) -> dict[str, str]:
        """Return what the head node has."""
        facts = self._facts
        sparks = [f"{spark.version} ({spark.submit})" for spark in facts.sparks]
        master = self.target.spark_master or next((spark.master for spark in facts.sparks if spark.master), "")
        return {
            "engine": f"Spark {', '.join(sparks) or 'not found'}",
            "manager": master or ("yarn" if facts.yarn else "unknown"),
            "yarn": facts.yarn or "none",
            "java": ", ".join(dict.fromkeys(java.version for java in facts.javas)) or "none",
            "python": ", ".join(dict.fromkeys(python.version for python in facts.pythons)) or "none",
            "cores": facts.cores,
            "memory": f"{int(facts.memory) / 2**20:.1f} GiB",
            "disk": f"{int(facts.disk) / 2**20:.1f} GiB free",
        }

    def checks(self, configuration: RunConfiguration, project: Path) -> Iterator[Check]:
        """Look at Python, Spark, Java, the master and the rules of cluster mode."""
        try:
            plan = self._plan(configuration, project)
        except (Unfit, Unsuited) as problem:
            yield Check("engine", False, problem.found, problem.remedy)
            return
        submission = plan.submission
        if submission is None:
            yield Check("engine", True, plan.interpreter.reason)
            return
        mode = f", {self.target.yarn_deploy_mode} mode" if submission.yarn else ""
        yield Check("engine", True, f"Spark {submission.version} on {submission.master}{mode}")
        yield Check("spark", True, submission.reason)
        yield Check("python", True, plan.interpreter.reason)
        yield Check("java", True, plan.java)
        options = spark_dependencies(configuration, project)
        if submission.yarn:
            yield from self._yarn_checks(configuration, options, own=submission.own)
        elif submission.master.startswith("spark://"):
            yield self._master_check(submission.master)

    def prepared(self, configuration: RunConfiguration, project: Path, base: str) -> Environment | None:
        """Look for the environment's folder."""
        plan = self._plan(configuration, project)
        environment = self._environment(plan, configuration, project, base)
        return environment if script(self.host, _READY, environment.name).code == 0 else None

    def prepare(self, configuration: RunConfiguration, project: Path, base: str, say: Say) -> Environment:
        """Make a virtual environment and install the dependencies.

        The environment's facts tell :meth:`start` what it needs, and are kept with the run: version of ``python``, and
        for Spark ``spark`` (version), ``spark_submit`` and ``spark_home`` (empty: the environment's own),
        ``spark_master``, ``java``, ``java_home``, ``packed`` and ``spark_options`` (JSON).
        """
        plan = self._plan(configuration, project)
        environment = self._environment(plan, configuration, project, base)
        if script(self.host, _READY, environment.name).code == 0:
            return environment
        making = plan.interpreter
        say(f"environment: {environment.name} on {self.host.label}, {making.reason} (minutes the first time)")
        installer = "" if making.maker == "conda" else self._facts.uv
        options = [making.maker, making.program, making.python, installer, "packed" if plan.packed else ""]
        command = ["bash", "-c", _BUILD.read_text(), "workload-forecast", environment.name, *options]
        requirements = read_dependencies(project, configuration.dependencies_file).requirements.encode()
        done = told(self.host, command, lambda line: say(f"  {line}"), requirements)
        if done.code not in {0, _THERE}:
            raise EnvironmentProblem(
                f"the environment could not be made on {self.host.label} (exit code {done.code}): "
                f"{' / '.join(done.output.splitlines()[-3:])}"
            )
        return Environment(environment.name, built=done.code == 0, facts=environment.facts)

    def variables(self, store: str) -> Mapping[str, str]:
        """Return where MLflow saves models on their way: its own place, /tmp/mlflow, is another user's, or each node's.

        On YARN that place lies in the cluster's file system, where it is as good as any.
        """
        master = self.target.spark_master or next((spark.master for spark in self._facts.sparks if spark.master), "")
        standalone = master.startswith(("spark://", "local"))
        return {"MLFLOW_DFS_TMP": f"{store}/models"} if standalone else {}

    def learnt(self, console: str) -> Mapping[str, str]:
        """Return the id of the Spark application."""
        found = application_id(console)
        return {"spark_application": found} if found else {}

    def start(self, job: Job, environment: Environment) -> Mapping[str, str]:
        """Start the job in a session of its own; secrets reach it on standard input and lie in no file."""
        plan, facts = environment.facts, self._facts
        spark = "spark_master" in plan
        yarn = spark and plan["spark_master"] == "yarn"
        cluster = yarn and job.target.yarn_deploy_mode == "cluster"
        if cluster:
            self._refuse_in_cluster_mode(job)
        make = submit_command(job, environment.name, plan, facts) if spark else ""
        self._write(f"{job.folder}/command", make or python_command(job, environment.name, facts))
        if spark:
            self._write(f"{job.folder}/{DRIVER.name}", DRIVER.read_text())
            pack = [f"{environment.name}/bin/python", "-c", _PACK, f"{job.folder}/code", f"{job.folder}/code.zip"]
            checked(self.host.run(pack, seconds=300), "packing the code", self.host.label)
        given = as_exports(job.secrets).encode(errors="surrogateescape")
        begun = checked(self._process("start", job.folder, given=given), "starting the job", self.host.label).split()
        if len(begun) != 2:
            raise EnvironmentProblem(f"the job did not start on {self.host.label}: see {job.folder}/log there.")
        return {
            "pid": begun[0],
            "start": begun[1],
            "yarn": facts.yarn if yarn else "",
            "mode": job.target.yarn_deploy_mode,
        }

    def state(self, job: Job) -> State:
        """Look for the job's process."""
        alive = self._process("alive", job.handle["pid"], job.handle["start"])
        if alive.code == 0:
            return State(True)
        return State(False, None, "the job's process is gone: killed from outside, or its machine was restarted")

    def cancel(self, job: Job) -> None:
        """End the YARN application, then all processes of the job's session: asked at first, killed after ten seconds.

        Raises:
            EnvironmentProblem: a driver on a node of the cluster could not be ended.
        """
        handle = job.handle
        words = [handle["pid"], handle["start"], job.folder, handle["yarn"], job.run_id, handle["mode"]]
        done = self._process("cancel", *words, seconds=180)
        checked(done, "ending the application", self.host.label)

    def _plan(self, configuration: RunConfiguration, project: Path) -> Plan:
        needs = read_dependencies(project, configuration.dependencies_file)
        return choose(self._facts, needs, self.target, configuration.framework_on(self.target.type))

    def _environment(self, plan: Plan, configuration: RunConfiguration, project: Path, base: str) -> Environment:
        """Return name (its folder) and facts of the environment, whether it is there or not."""
        making, submission = plan.interpreter, plan.submission
        requirements = read_dependencies(project, configuration.dependencies_file).requirements
        packed = "packed" if plan.packed else ""
        digest = environment_hash(requirements, making.maker, making.program, making.python, making.version, packed)
        facts = {"python": making.version}
        if submission is not None:
            facts |= {
                "spark": submission.version,
                "spark_submit": submission.submit,
                "spark_home": submission.home,
                "spark_master": submission.master,
                "java": plan.java,
                "java_home": plan.java_home,
                "packed": packed,
                "spark_options": spark_dependencies(configuration, project).model_dump_json(),
            }
        # where the nodes see it too, if there is such a place
        root = re.sub(r"^~(?=/)", lambda _: self._facts.home, self.target.shared_directory) or base
        return Environment(f"{root}/envs/{digest}", facts=facts)

    def _yarn_checks(
        self, configuration: RunConfiguration, options: SparkDependencies, *, own: bool
    ) -> Iterator[Check]:
        facts = self._facts
        if not facts.yarn:
            yield Check("yarn", False, "no command yarn", "install Hadoop's client there, or set sparkMaster")
            return
        nodes = script(self.host, _NODES, facts.yarn).output.strip()
        found = f"{nodes} nodes" if nodes else "its ResourceManager does not answer, or has no nodes"
        yield Check("yarn", nodes not in {"", "0"}, found, "look there: yarn node -list")
        if not facts.hadoop:
            yield Check("hadoop", False, "no yarn-site.xml", "set HADOOP_CONF_DIR in environmentVariables")
        scheme = facts.store.partition("://")[0]
        if own and scheme in {"abfs", "abfss", "wasb", "wasbs"}:
            brought = any("hadoop-azure" in package for package in options.packages)
            remedy = "name org.apache.hadoop:hadoop-azure in spark.packages, of the version that pyspark brings"
            yield Check("storage", brought, f"the cluster's default storage is {scheme}", remedy)
        if self.target.yarn_deploy_mode == "cluster":
            secret = sorted({*configuration.forward_variables, *credentials(os.environ)})
            yield Check(
                "cluster mode",
                not secret,
                f"{', '.join(secret)} would stand in the application's configuration" if secret else "no secrets",
                "set yarnDeployMode to client, or take them out of forwardVariables",
            )

    def _master_check(self, master: str) -> Check:
        addresses = [address.rpartition(":") for address in master.removeprefix("spark://").split(",")]
        up = any(script(self.host, _REACHABLE, host, port).code == 0 for host, _, port in addresses)
        found = f"{master} {'answers' if up else 'does not answer'}"
        return Check("master", up, found, "start it, or correct sparkMaster")

    def _refuse_in_cluster_mode(self, job: Job) -> None:
        if job.secrets:
            raise SettingsError(
                f"{', '.join(sorted(job.secrets))} would stand in the application's configuration, readable by others: "
                "set yarnDeployMode to client."
            )
        if job.remote_port:
            raise SettingsError(
                "the driver runs on a node that the tunnel to the tracking server does not reach: set yarnDeployMode "
                "to client, or use a tracking server that the cluster reaches."
            )

    def _process(self, *words: str, given: bytes = b"", seconds: float = 60) -> Completed:
        return script(self.host, _PROCESS.read_text(), *words, given=given, seconds=seconds)

    def _write(self, path: str, text: str) -> None:
        done = script(self.host, 'umask 077; cat >"$1"', path, given=text.encode("utf-8", "surrogateescape"))
        checked(done, f"writing {shlex.quote(path)}", self.host.label)
