"""The program that ``spark-submit`` starts: runs a module or script of the project as ``python`` would.

Copied into the run folder, it stands alone. The command line is read from the file ``arguments`` there, each part
ended by NUL, because spark-submit's way through bash and Java keeps neither every character nor every encoding.
As soon as the program has a SparkContext, one line tells which application of the cluster it is.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time
from pathlib import Path

POLL_SECONDS = 0.1
TELLS = "workload_forecast: spark application "


def main(folder: str) -> None:
    """Run what ``arguments`` says, with the project's code first on ``sys.path``.

    Args:
        folder: the run folder. Where the cluster runs the driver on another node, what is needed of it lies in the
            working directory instead.
    """
    here = Path.cwd()
    kept = Path(folder) / "arguments"
    given = (kept if kept.exists() else here / "arguments").read_bytes().split(b"\0")[:-1]
    arguments = [_here(os.fsdecode(argument), folder, here) for argument in given]
    for code in (Path(folder) / "code", here / "code"):
        if code.is_dir():
            os.chdir(code)
            break
    threading.Thread(target=_tell, daemon=True).start()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).absolute().parent)
        runpy.run_path(arguments[0], run_name="__main__")


def _here(argument: str, folder: str, here: Path) -> str:
    """Return the argument, or the path in the working directory for a file of the run folder that is not there."""
    path = Path(argument)
    missing = path.parent == Path(folder) and not path.exists()
    return str(here / path.name) if missing and (here / path.name).exists() else argument


def _tell() -> None:
    """Wait for a SparkContext and tell its application."""
    while not (application := _application()):
        time.sleep(POLL_SECONDS)
    sys.stderr.write(f"{TELLS}{application}\n")
    sys.stderr.flush()


def _application() -> str:
    """Return the id of the application whose context this process has, if there is one by now."""
    # looked at, never imported: a program without Spark stays one
    modules = [sys.modules.get(name) for name in ("pyspark.core.context", "pyspark.context")]
    kind = next(
        (vars(module)["SparkContext"] for module in modules if module and hasattr(module, "SparkContext")), None
    )
    context = getattr(kind, "_active_spark_context", None)
    if context is None or getattr(context, "_jsc", None) is None:  # there is none yet, or Java's half is not
        return ""
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]

    try:
        return str(context.applicationId)
    except (Py4JError, OSError, AttributeError):  # it was stopped in this moment
        return ""


if __name__ == "__main__":
    main(sys.argv[1])
