"""A Spark standalone cluster of a master and two workers, behind ssh."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mlflow.exceptions import ExecutionException

from tests.targets.bench import Bench
from tests.targets.conformance import TargetConformance
from tests.targets.machines.spark import SparkCluster
from tests.targets.machines.ssh import SshServer
from workload_forecast.targets.inspect import show_target

pytestmark = [pytest.mark.targets, pytest.mark.filterwarnings("ignore::ResourceWarning")]

COUNT = """
import json, os, sys
from pyspark.sql import SparkSession

session = SparkSession.builder.getOrCreate()
context = session.sparkContext
rows = context.parallelize(range(1000), 4)
told = {
    "count": rows.count(),
    "master": context.master,
    "application": context.applicationId,
    "memory": context.getConf().get("spark.executor.memory"),
    "python": rows.map(lambda _: __import__("sys").version_info[:2]).distinct().collect(),
}
print("told " + json.dumps(told), flush=True)
session.stop()
"""


class TestSparkCluster(TargetConformance):
    """The suite's own jobs need no Spark: all but those that say otherwise run as plain Python on the head node."""

    @pytest.fixture
    def bench(self, spark_bench: Bench, request: pytest.FixtureRequest) -> Bench:
        if "spark_submit" not in request.keywords:
            spark_bench.configuration["framework"] = "python"
        return spark_bench

    def destroy(self, bench: Bench, run_id: str) -> None:
        handle = json.loads(bench.run(run_id).data.tags["workload_forecast.job"])["handle"]
        kill = f"kill -KILL -- -{handle['pid']}"
        bench.launcher.host.run(["bash", "-c", kill])

    @pytest.mark.spark_submit
    def test_spark_submit_runs_on_the_cluster_with_the_settings_of_the_configuration(
        self, bench: Bench, cluster: SparkCluster
    ) -> None:
        (bench.project / "probe.py").write_text(COUNT)
        settings = {"configuration": {"spark.executor.memory": "700m"}}

        run_id = bench.submit({"text": "two words, 'quoted' ü"}, spark=settings).run_id

        told = bench.told(run_id)
        assert told["count"] == 1000
        assert told["master"] == cluster.master_url
        assert told["memory"] == "700m"
        tags = bench.run(run_id).data.tags
        assert tags["workload_forecast.spark_application"] == told["application"]
        assert tags["workload_forecast.spark_master"] == cluster.master_url
        assert tags["workload_forecast.engine"].startswith("Spark ")
        assert told["application"] in [app["id"] for app in cluster.status()["completedapps"]]

    @pytest.mark.spark_submit
    def test_odd_parameters_through_spark_submit(self, bench: Bench) -> None:
        text = "two words\n'q' \"qq\" $HOME 日本 \\ {x}"
        assert bench.told(bench.submit({"text": text}).run_id)["text"] == text

    @pytest.mark.spark_submit
    def test_cancel_ends_the_application(self, bench: Bench, cluster: SparkCluster) -> None:
        endless = COUNT.replace(
            "session.stop()", "import time\nfor n in range(600): print('tick', n + 1); time.sleep(1)"
        )
        (bench.project / "probe.py").write_text(endless)
        run = bench.submit(wait=False)
        bench.wait_for_tick(run.run_id)
        assert cluster.active_applications()
        run.cancel()
        assert run.get_status() == "KILLED"
        bench.wait_for(lambda: not cluster.active_applications(), "the end of the application")

    @pytest.mark.spark_submit
    def test_failure_through_spark_submit(self, bench: Bench) -> None:
        with pytest.raises(ExecutionException, match="failed"):
            bench.submit({"code": "3"})
        run = bench.last_run()
        assert run.info.status == "FAILED"
        assert re.fullmatch(r"[1-9]\d*", run.data.tags["workload_forecast.exit_code"])

    @pytest.mark.spark_submit
    def test_a_shell_command_is_refused_with_the_remedy(self, bench: Bench) -> None:
        with pytest.raises(ExecutionException, match="framework"):
            bench.submit(entry_point="shell")

    @pytest.mark.spark_submit
    def test_dependencies_of_another_spark_are_refused_with_the_remedy(self, bench: Bench) -> None:
        (bench.project / "requirements.txt").write_text("pyspark==3.4.4\n")
        with pytest.raises(ExecutionException, match=r"nothing was launched\..*pyspark"):
            bench.submit(dependenciesFile="requirements.txt")

    @pytest.mark.spark_submit
    def test_a_master_that_does_not_answer_is_said_before_the_launch(self, bench: Bench) -> None:
        bench.write_target(**{**bench.fields, "sparkMaster": "spark://127.0.0.1:9"})
        with pytest.raises(ExecutionException, match=r"nothing was launched\. master: "):
            bench.submit()

    def test_cluster_mode_is_for_yarn_alone(self, bench: Bench) -> None:
        bench.write_target(**bench.fields, yarnDeployMode="cluster")
        with pytest.raises(ExecutionException, match="yarnDeployMode cluster needs sparkMaster yarn"):
            bench.submit()

    def test_show_tells_of_the_head_node(self, bench: Bench) -> None:
        shown = dict(show_target(bench.launcher.target))
        assert shown["reachable"] == "yes"
        assert shown["engine"].startswith("Spark 4") or shown["engine"].startswith("Spark 3")
        assert shown["manager"].startswith("spark://")
        assert "17" in shown["java"]

    def test_a_wrong_key_is_one_clear_line(self, bench: Bench, ssh: SshServer) -> None:
        bench.write_target(**{**bench.fields, "address": ssh.wrong_key_alias})
        with pytest.raises(ExecutionException, match=r"cannot be reached .*the key was not accepted"):
            bench.submit()

    def test_a_sqlite_store_is_refused_with_the_remedy(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        local = Bench(bench.type, bench.fields, bench.project, f"sqlite:///{tmp_path / 'mlflow.db'}", monkeypatch)
        with pytest.raises(ExecutionException, match=r"tracking store: .*cannot see; start a server .*mlflow server"):
            local.submit()
