"""Where the archive of Spark's classes lies, who makes it, and that a JVM really loads its classes from it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workload_forecast.engines import class_archive as module
from workload_forecast.engines.class_archive import ClassArchive
from workload_forecast.engines.java import Java


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ClassArchive | None]:
    """Find the archive of a Java and a Spark that are a few empty files."""
    java, spark = tmp_path / "java", tmp_path / "spark"
    (java / "lib" / "server").mkdir(parents=True)
    (java / "lib" / "server" / "classes.jsa").write_bytes(b"base")
    (spark / "jars").mkdir(parents=True)
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    for name in ("SPARK_CONF_DIR", "HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_DIST_CLASSPATH"):
        monkeypatch.delenv(name, raising=False)
    return lambda version=17: ClassArchive.of(Java(java, version, "test"), spark)


def of(place: Callable[..., ClassArchive | None]) -> ClassArchive:
    archive = place()
    assert archive is not None
    return archive


def draft_of(archive: ClassArchive) -> Path:
    return Path(archive.options().partition("-XX:ArchiveClassesAtExit=")[2])


def test_the_first_jvm_leaves_what_the_next_ones_use(place: Callable[..., ClassArchive | None]) -> None:
    archive = of(place)
    draft = draft_of(archive)
    assert draft.parent == archive.path.parent
    assert str(os.getpid()) in draft.name
    draft.write_bytes(b"\xa8\xba\x0b\xf0 all classes")

    assert of(place).options().endswith(f"-XX:SharedArchiveFile={archive.path}")
    assert archive.path.read_bytes().endswith(b"all classes")
    assert [file.name for file in archive.path.parent.iterdir()] == [archive.path.name]

    assert archive.remove()
    assert not archive.remove()
    assert draft_of(archive) == draft


def test_no_half_of_a_draft_is_used(place: Callable[..., ClassArchive | None]) -> None:
    archive = of(place)
    draft = draft_of(archive)
    for half in (b"", bytes(4096) + b"classes"):  # a JVM writes the first bytes last
        draft.write_bytes(half)
        assert draft_of(archive) == draft
        assert draft.exists()  # its JVM may be at it still

    os.utime(draft, (time.time() - 4000,) * 2)
    assert draft_of(archive) == draft
    assert not draft.exists()


def test_of_several_drafts_one_is_taken(place: Callable[..., ClassArchive | None]) -> None:
    archive = of(place)
    drafts = [archive.path.with_suffix(f".{process}.draft") for process in (7, 8, 9)]
    for draft in drafts:
        draft.write_bytes(draft.name.encode())

    assert "SharedArchiveFile" in archive.options()

    assert archive.path.read_bytes() == drafts[0].name.encode()
    assert not any(draft.exists() for draft in drafts)


def test_another_java_or_spark_has_another_archive(place: Callable[..., ClassArchive | None], tmp_path: Path) -> None:
    first = of(place)
    assert of(place) == first
    os.utime(tmp_path / "spark" / "jars", (1, 1))
    second = of(place)
    (tmp_path / "java" / "lib" / "server" / "classes.jsa").write_bytes(b"newer base")

    assert len({first.path, second.path, of(place).path}) == 3


def test_there_is_none_where_it_cannot_work(
    place: Callable[..., ClassArchive | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place(11) is None
    with monkeypatch.context() as patch:
        patch.setenv("HADOOP_CONF_DIR", "/etc/hadoop")
        assert place() is None
    with monkeypatch.context() as patch:
        (tmp_path / "file").touch()
        patch.setattr(module, "cache_folder", lambda: tmp_path / "file" / "java")
        assert place() is None
    with monkeypatch.context() as patch:
        patch.setattr(module, "cache_folder", _homeless)
        assert place() is None
    (tmp_path / "spark" / "conf").mkdir()
    assert place() is None
    (tmp_path / "spark" / "conf").rmdir()
    (tmp_path / "java" / "lib" / "server" / "classes.jsa").unlink()
    assert place() is None


def _homeless() -> Path:
    raise RuntimeError("could not determine home directory")


START = """
import sys
from pathlib import Path
from workload_forecast.engines import class_archive
class_archive.cache_folder = lambda: Path(sys.argv[1])
from workload_forecast.engines.spark import open_spark
with open_spark({}) as engine:
    print("rows", engine.session.range(7).count())
"""


@pytest.mark.spark
@pytest.mark.slow
def test_a_jvm_loads_sparks_classes_from_the_archive(tmp_path: Path) -> None:
    cache, loaded = tmp_path / "a cache", tmp_path / "loaded.log"
    own = {name: value for name, value in os.environ.items() if name not in module._CLASS_PATH}

    def start(options: str = "") -> None:
        environment = {**own, "SPARK_SUBMIT_OPTS": options}
        command = [sys.executable, "-c", START, str(cache)]
        # the pipe is open until the JVM has left its archive
        ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "rows 7" in ended.stdout, ended.stderr
        assert "[cds" not in ended.stdout + ended.stderr

    def shared() -> int:
        start(f"-Xlog:class+load:file={loaded}")
        return sum("org.apache.spark" in line and "shared objects file" in line for line in loaded.open())

    assert shared() == 0
    assert shared() > 1000
    (archive,) = cache.iterdir()
    archive.chmod(0o600)
    os.truncate(archive, archive.stat().st_size // 2)  # which no JVM survives

    start()

    assert not archive.exists()
