"""Classes that Spark's JVM maps from an archive, instead of reading, checking and linking thousands of them anew.

That is the JVM's own feature (class data sharing, JEP 350): a first JVM, as it exits, writes the classes that it has
loaded; all later ones map that file. The JVM itself refuses an archive of another Java or of other jars, and starts
without it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workload_forecast.engines.java import Java, cache_folder

#: Oldest Java whose archives are used; older ones refuse the option.
LEAST_JAVA = 17

#: Variables by which Spark's launcher takes further folders into the class path.
_CLASS_PATH = {"SPARK_CONF_DIR", "HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_DIST_CLASSPATH"}

#: What is told of classes that cannot be archived is no concern of a run.
_QUIET = "-Xlog:cds*=off"

#: Seconds after which a draft that was never finished (its JVM was killed) is taken away.
_GIVEN_UP = 3600


@dataclass(frozen=True)
class ClassArchive:
    """Where the archive of one Java and one set of jars lies.

    A JVM writes a *draft* of its own, its first bytes last, so that no two of them write the same file, and no JVM maps
    a half of one. The next start makes the first complete draft the archive.
    """

    path: Path

    @classmethod
    def of(cls, java: Java, spark: Path) -> ClassArchive | None:
        """Return the archive's place, another one for a Java or a Spark that was installed anew.

        None: this Java is too old or has no archive of its own classes to build on; Spark has a folder of settings in
        its class path, which no archive may have; or there is no place to write.

        Args:
            java: that Spark is started with.
            spark: SPARK_HOME.
        """
        if java.version < LEAST_JAVA or _CLASS_PATH & os.environ.keys() or (spark / "conf").exists():
            return None
        base, jars = java.home / "lib" / "server" / "classes.jsa", spark / "jars"
        try:
            facts = [(str(one.resolve()), one.stat().st_mtime_ns, one.stat().st_size) for one in (base, jars)]
            folder = cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):  # the latter: there is no home folder
            return None
        if not os.access(folder, os.W_OK):
            return None
        return cls(folder / f"spark-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}.jsa")

    def options(self) -> str:
        """Return the JVM's options: to use the archive or, while there is none, to leave a draft of it at exit."""
        self._adopt()
        if self.path.exists():
            return f"{_QUIET} -XX:SharedArchiveFile={shlex.quote(str(self.path))}"
        return f"{_QUIET} -XX:ArchiveClassesAtExit={shlex.quote(str(self._draft(str(os.getpid()))))}"

    def remove(self) -> bool:
        """Take the archive away, and say whether there was one."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    def _draft(self, process: str) -> Path:
        return self.path.with_suffix(f".{process}.draft")

    def _adopt(self) -> None:
        for draft in sorted(self.path.parent.glob(self._draft("*").name)):
            with suppress(OSError):  # another process was faster
                if _complete(draft) and not self.path.exists():
                    draft.rename(self.path)
                elif _complete(draft) or time.time() - draft.stat().st_mtime > _GIVEN_UP:
                    draft.unlink()


def _complete(draft: Path) -> bool:
    with draft.open("rb") as file:
        return any(file.read(4))
